#include "mount/session_setup.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <string_view>
#include <utility>
#include <vector>

namespace cachefs::mount {
namespace {

thread_local std::string* captured_log = nullptr;

void take_log(fuse_log_level level, const char* format, va_list arguments) {
  char line[512];
  std::vsnprintf(line, sizeof line, format, arguments);
  std::string_view text(line);
  while (text.ends_with('\n')) text.remove_suffix(1);
  if (captured_log != nullptr) {
    if (!captured_log->ends_with('\n')) *captured_log += line;  // the first line, which may come in pieces
  } else if (level <= FUSE_LOG_WARNING) {
    spdlog::warn("{}", text);
  }
}

void on_init(void* user_data, fuse_conn_info* connection) {
  MountState& mount = *static_cast<MountState*>(user_data);
  if (!mount.fs.capabilities().drops_set_id) mount.kernel.give_up(KernelFeature::killpriv_v2);
  // By its place a handle could lead to another file.
  if (!mount.fs.capabilities().stable_identity) mount.kernel.give_up(KernelFeature::export_support);
  mount.direct_writes_drop_pages = connection->proto_minor >= 39;  // Linux 6.6
  // Not wanted: AUTO_INVAL_DATA drops a file's pages after each write of our own, EXPLICIT_INVAL_DATA keeps a
  // partial last page when the file grows elsewhere (zeros in place of data). With neither, a change of size
  // drops the pages, and the rest is done at open and by the notifier. With WRITEBACK_CACHE the kernel would
  // own size and times of open files.
  const unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_ATOMIC_O_TRUNC |
                          (mount.kernel_caches ? FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO : 0U);
  // The kernel then evaluates access control lists itself, and leaves the umask to the source.
  const bool acls = mount.view != nullptr && mount.fs.capabilities().acls && mount.fs.xattrs() != nullptr;
  // Without these the kernel keeps locks by itself.
  const unsigned locks = mount.locks ? FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS : 0U;
  connection->want =
      connection->capable & (wanted | locks | (acls ? FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK : 0U));
  connection->max_write = std::min(connection->max_write, kMaxRequestBytes);
  // Requests that no program waits for itself, such as read-ahead: hung ones must not use up the kernel's
  // small default.
  connection->max_background = static_cast<unsigned>(2 * mount.executor.capacity());
  connection->congestion_threshold = connection->max_background * 3 / 4;
}

fuse_lowlevel_ops operations_for(const MountState& mount) {
  fuse_lowlevel_ops operations{};
  operations.init = on_init;
  add_namespace_operations(operations);
  add_attribute_operations(operations);
  add_open_operations(operations);
  add_data_operations(operations);
  add_directory_operations(operations, mount.kernel_caches);
  add_xattr_operations(operations);
  if (mount.locks) add_lock_operations(operations);
  return operations;
}

/// libfuse splits options at commas.
std::string escape_option(std::string_view value) {
  std::string escaped;
  for (const char c : value) {
    if (c == ',' || c == '\\') escaped.push_back('\\');
    escaped.push_back(c);
  }
  return escaped;
}

std::vector<std::string> arguments_for(const SessionOptions& options) {
  std::vector<std::string> arguments{"cachefs"};
  const auto add = [&arguments](std::string option) {
    arguments.emplace_back("-o");
    arguments.push_back(std::move(option));
  };
  add("default_permissions");
  add("fsname=" + escape_option(options.source));
  add("subtype=" + escape_option(options.subtype));
  for (const std::string& option : options.fuse_options) add(option);
  return arguments;
}

}  // namespace

LogCapture::LogCapture() {
  fuse_set_log_func(take_log);
  captured_log = &text_;
}

LogCapture::~LogCapture() { captured_log = nullptr; }

std::unexpected<Error> LogCapture::error(int value, const std::string& doing) const {
  const std::string_view said = std::string_view(text_).substr(0, text_.find('\n'));
  return fail_errno(value, said.empty() ? doing : fmt::format("{}: {}", doing, said));
}

fuse_session* new_session(const SessionOptions& options, MountState& mount) {
  std::vector<std::string> arguments = arguments_for(options);
  fuse_args args = FUSE_ARGS_INIT(0, nullptr);
  for (const std::string& argument : arguments) fuse_opt_add_arg(&args, argument.c_str());
  const fuse_lowlevel_ops operations = operations_for(mount);
  fuse_session* const session = fuse_session_new(&args, &operations, sizeof operations, &mount);
  fuse_opt_free_args(&args);
  return session;
}

}  // namespace cachefs::mount
