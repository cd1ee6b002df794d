// PosixFs: making one, and what it does with single nodes.
#include "cachefs/posix_fs.h"

#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "vfs/posix_change.h"
#include "vfs/posix_directory_stream.h"
#include "vfs/posix_file.h"
#include "vfs/posix_file_system.h"
#include "vfs/posix_probe.h"

namespace cachefs {
namespace posix {

Result<Entry> PosixFs::lookup(Node& directory, std::string_view name, const Caller& caller) {
  const Result<void> good = check_name(name, capabilities().name_max);
  if (!good) return std::unexpected(good.error());
  const Result<SharedFd> fd = source_->descriptor(as_posix(directory), caller);
  if (!fd) return std::unexpected(fd.error());
  const ActAs acting(source_->credentials(), caller);
  if (!acting.result()) return std::unexpected(acting.result().error());
  return source_->enter(as_posix(directory), **fd, name);
}

Result<Attributes> PosixFs::attributes(Node& node, const Caller& caller) {
  const Result<SharedFd> fd = source_->descriptor(as_posix(node), caller);
  if (!fd) return std::unexpected(fd.error());
  return source_->attributes(as_posix(node), **fd);
}

Result<Attributes> PosixFs::set_attributes(Node& node, const AttributeChange& change, const Caller& caller) {
  PosixNode& changed = as_posix(node);
  const Result<SharedFd> fd = source_->descriptor(changed, caller);
  if (!fd) return std::unexpected(fd.error());
  {
    const ActAs acting(source_->credentials(), caller);
    if (!acting.result()) return std::unexpected(acting.result().error());
    const Result<void> applied = apply(
        change, {.path = (*fd)->get(), .kind = changed.kind(), .drops_set_id = capabilities().drops_set_id});
    if (!applied) return std::unexpected(applied.error());
  }
  return source_->attributes(changed, **fd);
}

namespace {

/// Whether the source lets the caller for whom this thread acts run a file. The C library's faccessat would
/// ask for the process's own rights where the kernel has no faccessat2.
bool may_execute(const UniqueFd& path) {
  return syscall(SYS_faccessat2, path.get(), "", X_OK, AT_EACCESS | AT_EMPTY_PATH) == 0;
}

}  // namespace

Result<OpenedFile> PosixFs::open(Node& node, const OpenFlags& flags, const Caller& caller) {
  const Result<SharedFd> fd = source_->descriptor(as_posix(node), caller);
  if (!fd) return std::unexpected(fd.error());
  {
    const ActAs acting(source_->credentials(), caller);
    if (!acting.result()) return std::unexpected(acting.result().error());
    Result<OpenedFile> opened = open_as_caller(as_posix(node), **fd, flags, caller);
    const bool unreadable = !opened && opened.error().is(std::errc::permission_denied);
    if (!unreadable || !flags.execute || !may_execute(**fd)) return opened;
  }
  // He may run it, but not read it: no call opens a file on these terms, but this process may read it for
  // him.
  return open_as_caller(as_posix(node), **fd, flags, source_->credentials().own());
}

Result<OpenedFile> PosixFs::open_as_caller(PosixNode& node, const UniqueFd& path, const OpenFlags& flags,
                                           const Caller& caller) {
  switch (node.kind()) {
    case FileKind::regular:
      break;
    case FileKind::directory:
      return fail(std::errc::is_a_directory);
    case FileKind::symlink:
      return fail(std::errc::too_many_symbolic_link_levels);
    default:
      return fail(std::errc::no_such_device_or_address);
  }
  if ((!flags.read && !flags.write) || (flags.truncate && !flags.write))
    return fail(std::errc::invalid_argument);
  Result<UniqueFd> content = [&] {
    const ContentRights rights(flags.truncate && capabilities().drops_set_id);
    return source_->open_content(node, path, open_flags(flags));
  }();
  if (!content) return std::unexpected(content.error());
  const Result<Attributes> attributes = source_->attributes(node, *content);
  if (!attributes) return std::unexpected(attributes.error());
  auto file = std::make_unique<PosixFile>(*source_, NodeRef(&node), std::move(*content), flags, caller);
  return OpenedFile{.file = std::move(file), .attributes = *attributes};
}

Result<std::string> PosixFs::read_link(Node& node, const Caller& caller) {
  if (as_posix(node).kind() != FileKind::symlink) return fail(std::errc::invalid_argument);
  const Result<SharedFd> fd = source_->descriptor(as_posix(node), caller);
  if (!fd) return std::unexpected(fd.error());
  std::string target(256, '\0');
  for (;;) {
    const ssize_t size = readlinkat((*fd)->get(), "", target.data(), target.size());
    if (size < 0) return failed(errno, "read a symlink");
    if (static_cast<size_t>(size) < target.size()) {
      target.resize(static_cast<size_t>(size));
      return target;
    }
    target.resize(target.size() * 4);
  }
}

Result<std::unique_ptr<DirectoryStream>> PosixFs::open_directory(Node& node, const Caller& caller) {
  if (as_posix(node).kind() != FileKind::directory) return fail(std::errc::not_a_directory);
  const Result<SharedFd> path = source_->descriptor(as_posix(node), caller);
  if (!path) return std::unexpected(path.error());
  const ActAs acting(source_->credentials(), caller);
  if (!acting.result()) return std::unexpected(acting.result().error());
  Result<UniqueFd> fd = source_->open_content(as_posix(node), **path, O_RDONLY | O_DIRECTORY);
  if (!fd) return std::unexpected(fd.error());
  return make_directory_stream(std::move(*fd), source_->inode_numbers(), as_posix(node).identity().device);
}

Result<void> PosixFs::sync_directory(Node& node) {
  if (as_posix(node).kind() != FileKind::directory) return fail(std::errc::not_a_directory);
  const Result<SharedFd> path = source_->descriptor(as_posix(node), source_->credentials().own());
  if (!path) return std::unexpected(path.error());
  const Result<UniqueFd> fd = source_->open_content(as_posix(node), **path, O_RDONLY | O_DIRECTORY);
  if (!fd) return std::unexpected(fd.error());
  // Some file systems sync only as a whole, and say so by EINVAL.
  if (fsync(fd->get()) != 0 && (errno != EINVAL || syncfs(fd->get()) != 0))
    return failed(errno, "sync a directory");
  return {};
}

Result<FileSystemStatistics> PosixFs::statistics(Node& node) {
  const Result<SharedFd> fd = source_->descriptor(as_posix(node), source_->credentials().own());
  if (!fd) return std::unexpected(fd.error());
  struct statvfs status{};
  if (fstatvfs((*fd)->get(), &status) != 0) return failed(errno, "read the file system's statistics");
  return FileSystemStatistics{
      .block_size = status.f_frsize > 0 ? status.f_frsize : status.f_bsize,
      .blocks = status.f_blocks,
      .blocks_free = status.f_bfree,
      .blocks_available = status.f_bavail,
      .files = status.f_files,
      .files_free = status.f_ffree,
      .name_max = static_cast<uint32_t>(status.f_namemax),
  };
}

namespace {

/// Empty where it has none, so that it is never looked for.
std::string absolute(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> whole(realpath(path.c_str(), nullptr), &std::free);
  return whole ? whole.get() : "";
}

size_t descriptors_allowed(const PosixFsOptions& options) {
  if (options.max_cached_descriptors > 0) return options.max_cached_descriptors;
  constexpr size_t kFallback = 256;  // a quarter of the usual 1,024
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kFallback;
  return limit.rlim_cur / 4;
}

}  // namespace
}  // namespace posix

Result<std::unique_ptr<FileSystem>> make_posix_fs(const std::string& path, const PosixFsOptions& options) {
  using namespace posix;
  const std::string doing = "open the directory '" + path + "'";
  UniqueFd root(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root.valid()) return fail_errno(errno, doing);
  // O_PATH asks for no right to read: this does, so that an unreadable source is told of here.
  if (faccessat(root.get(), ".", R_OK | X_OK, AT_EACCESS) != 0) return fail_errno(errno, doing);
  const MountInfo mount = mount_of(root.get());
  Result<Capabilities> capabilities = probe(root.get(), mount, options);
  if (!capabilities) return std::unexpected(capabilities.error().during(doing));
  SourceSetup setup{.capabilities = std::move(*capabilities),
                    .generation = traits_of(mount).generation,
                    .max_cached_descriptors = descriptors_allowed(options),
                    .switch_caller = options.switch_caller,
                    .is_own_mount = options.is_own_mount,
                    .path = absolute(path)};
  Result<std::unique_ptr<PosixSource>> source = PosixSource::create(std::move(root), std::move(setup));
  if (!source) return std::unexpected(source.error().during(doing));
  return std::make_unique<PosixFs>(std::move(*source));
}

}  // namespace cachefs
