#include "vfs/posix_xattrs.h"

#include <sys/xattr.h>

#include <functional>

namespace cachefs::posix {
namespace {

/// What the kernel lets a value, or a list of names, take.
constexpr size_t kSizeMax = 64 * 1024;

bool is_hidden_from(std::string_view name, const Caller& caller) {
  return caller.uid != 0 && name.starts_with("trusted.");
}

bool may_change(std::string_view name, const Caller& caller) {
  return caller.uid == 0 || !(name.starts_with("trusted.") || name.starts_with("security."));
}

/// Runs `call` on the path of `node` as `caller`; it returns a size or -1.
Result<ssize_t> run(PosixSource& source, Node& node, const Caller& caller, std::string_view doing,
                    const std::function<ssize_t(const char*)>& call) {
  const Result<SharedFd> fd = source.descriptor(as_posix(node), caller);
  if (!fd) return std::unexpected(fd.error());
  const ActAs acting(source.credentials(), caller);
  if (!acting.result()) return std::unexpected(acting.result().error());
  const ProcPath path((*fd)->get());
  const ssize_t result = call(path.c_str());
  if (result < 0 && errno == ENODATA) return fail_errno(ENODATA);  // an everyday answer
  if (result < 0) return failed(errno, doing);
  return result;
}

/// Asks with a small buffer, then with one of the size that it takes, until it stays so.
Result<std::string> read_all(PosixSource& source, Node& node, const Caller& caller, std::string_view doing,
                             const std::function<ssize_t(const char*, std::string&)>& call) {
  std::string value(256, '\0');
  for (;;) {
    const Result<ssize_t> size =
        run(source, node, caller, doing, [&](const char* path) { return call(path, value); });
    if (size) {
      value.resize(static_cast<size_t>(*size));
      return value;
    }
    if (size.error().to_errno() != ERANGE || value.size() >= kSizeMax) return std::unexpected(size.error());
    value.resize(value.size() * 16);
  }
}

}  // namespace

Result<std::string> PosixXattrs::get(Node& node, std::string_view name, const Caller& caller) {
  if (is_hidden_from(name, caller)) return fail_errno(ENODATA);
  const std::string text(name);
  return read_all(source_, node, caller, "get an extended attribute",
                  [&](const char* path, std::string& value) {
                    return getxattr(path, text.c_str(), value.data(), value.size());
                  });
}

Result<std::vector<std::string>> PosixXattrs::list(Node& node, const Caller& caller) {
  const Result<std::string> all = read_all(
      source_, node, caller, "list extended attributes",
      [](const char* path, std::string& value) { return listxattr(path, value.data(), value.size()); });
  if (!all) return std::unexpected(all.error());
  std::vector<std::string> names;
  for (size_t at = 0; at < all->size();) {
    std::string name(all->c_str() + at);
    at += name.size() + 1;
    if (!is_hidden_from(name, caller)) names.push_back(std::move(name));
  }
  return names;
}

Result<void> PosixXattrs::set(Node& node, std::string_view name, std::string_view value, XattrMode mode,
                              const Caller& caller) {
  if (!may_change(name, caller)) return fail(std::errc::operation_not_permitted);
  const std::string text(name);
  const int flags = mode == XattrMode::create ? XATTR_CREATE : mode == XattrMode::replace ? XATTR_REPLACE : 0;
  const Result<ssize_t> done = run(source_, node, caller, "set an extended attribute", [&](const char* path) {
    return setxattr(path, text.c_str(), value.data(), value.size(), flags);
  });
  if (!done) return std::unexpected(done.error());
  return {};
}

Result<void> PosixXattrs::remove(Node& node, std::string_view name, const Caller& caller) {
  if (!may_change(name, caller)) return fail(std::errc::operation_not_permitted);
  const std::string text(name);
  const Result<ssize_t> done = run(source_, node, caller, "remove an extended attribute",
                                   [&](const char* path) { return removexattr(path, text.c_str()); });
  if (!done) return std::unexpected(done.error());
  return {};
}

}  // namespace cachefs::posix
