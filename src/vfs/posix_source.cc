#include "vfs/posix_source.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "base/request_deadline.h"

namespace cachefs::posix {
namespace {

/// Look-ups beside changes of names in the same directory, before one keeps such changes waiting.
constexpr int kFreeAttempts = 3;

/// Whether a name that fails so may only have gone, so that another one is worth a try.
bool is_gone(const Error& error) {
  return error.is(std::errc::no_such_file_or_directory) || error.is(std::errc::not_a_directory) ||
         error.is(std::errc::too_many_symbolic_link_levels) || error.to_errno() == ESTALE;
}

std::unexpected<Error> not_connected() { return fail_errno(ENOTCONN, "the source is not there"); }
std::unexpected<Error> stale() { return fail_errno(ESTALE, "no known name leads to the file any more"); }

}  // namespace

PosixSource::PosixSource(UniqueFd root, uint64_t root_device, RootSignature signature, SourceSetup setup)
    : setup_(std::move(setup)),
      inode_numbers_(root_device),
      credentials_(setup_.switch_caller),
      has_proc_(ProcPath::available()),
      root_directory_(setup_.path, std::move(root), root_device, std::move(signature), setup_.is_own_mount),
      cache_(setup_.max_cached_descriptors),
      table_(setup_.capabilities.stable_identity, cache_) {}

Result<std::unique_ptr<PosixSource>> PosixSource::create(UniqueFd root, SourceSetup setup) {
  const Result<struct statx> status = read_status(root.get());
  if (!status) return std::unexpected(status.error());
  RootSignature signature = signature_of(root.get(), setup.capabilities.stable_identity);
  std::unique_ptr<PosixSource> source(
      new PosixSource(std::move(root), device_of(*status), std::move(signature), std::move(setup)));
  const Result<Seen> seen = source->look(*source->root_directory_.fd());
  if (!seen) return std::unexpected(seen.error());
  source->root_ = source->table_.make_root(seen->identity());
  return source;
}

Result<struct statx> PosixSource::status_of(const UniqueFd& fd) const {
  Result<struct statx> status = read_status(fd.get());
  if (!status) return status;
  const uint64_t device = root_directory_.lasting_device(device_of(*status));
  status->stx_dev_major = major(device);
  status->stx_dev_minor = minor(device);
  status->stx_ino = inode_numbers_.shown(device, status->stx_ino);
  return status;
}

Result<void> PosixSource::check() {
  const Result<void> reachable = root_directory_.check();
  cache_.begin(root_directory_.epoch_to_come());  // what is kept of one that was lost must go
  return reachable;
}

Result<Seen> PosixSource::look(const UniqueFd& fd) const {
  Result<struct statx> status = status_of(fd);
  if (!status) return std::unexpected(status.error());
  uint64_t generation = read_generation(fd.get(), *status, setup_.generation);
  generation ^= appearance_of(*status, root_directory_.mount());
  return Seen{.status = *status, .generation = generation};
}

Result<Attributes> PosixSource::attributes(const PosixNode& node, const UniqueFd& fd) const {
  Result<struct statx> status = status_of(fd);
  if (!status) return std::unexpected(status.error());
  return attributes_of(*status, node.identity().generation);
}

bool PosixSource::leads_to(const Seen& seen, const PosixNode& node) const {
  if (seen.kind() != node.kind()) return false;
  return !capabilities().stable_identity || seen.identity() == node.identity();
}

template <typename Open>
UniqueFd PosixSource::open_with_room(const UniqueFd& from, Open open) {
  UniqueFd fd(open(), from.epoch());
  while (!fd.valid() && (errno == EMFILE || errno == ENFILE)) {
    const int reason = errno;
    if (!cache_.shrink()) {
      errno = reason;
      break;
    }
    fd = UniqueFd(open(), from.epoch());
  }
  return fd;
}

UniqueFd PosixSource::open_name(const UniqueFd& directory, const std::string& name, int flags, mode_t mode) {
  if (setup_.is_own_mount) {
    UniqueFd fd = open_with_room(
        directory, [&] { return open_beneath(directory.get(), name, flags, mode, Crossing::refused); });
    if (fd.valid() || errno != EXDEV) return fd;
  }
  UniqueFd fd = open_with_room(directory, [&] { return open_beneath(directory.get(), name, flags, mode); });
  if (!fd.valid() || !is_own_mount(fd)) return fd;
  errno = ELOOP;
  return {};
}

bool PosixSource::is_own_mount(const UniqueFd& fd) const {
  return setup_.is_own_mount && setup_.is_own_mount(read_device(fd.get()));
}

SharedFd PosixSource::kept_descriptor(PosixNode& node) {
  return &node == root_.get() ? root_directory_.fd_to_use() : cache_.get(node);
}

Result<SharedFd> PosixSource::descriptor(PosixNode& node, const Caller& caller) {
  if (SharedFd kept = kept_descriptor(node)) return kept;
  Result<SharedFd> opened = reopen(node);
  if (opened || !opened.error().is(std::errc::permission_denied)) return opened;
  const ActAs acting(credentials_, caller);
  if (!acting.result()) return opened;
  return reopen(node);
}

Result<SharedFd> PosixSource::descriptor_of_open(PosixNode& node, const Caller& caller) {
  Result<SharedFd> by_name = descriptor(node, caller);
  if (by_name || by_name.error().to_errno() != ESTALE || !capabilities().stable_identity) return by_name;
  const UniqueFd content = open_files_.duplicate(node, root_directory_.epoch());
  UniqueFd path = content.valid() ? path_of(content) : UniqueFd();
  return path.valid() ? Result<SharedFd>(share(std::move(path))) : by_name;
}

Result<SharedFd> PosixSource::kept_or_reopened(PosixNode& node) {
  if (SharedFd kept = kept_descriptor(node)) return kept;
  return reopen(node);
}

UniqueFd PosixSource::path_of(const UniqueFd& content) {
  if (!has_proc_) return {};
  const ProcPath self(content.get());
  return open_with_room(content, [&] { return open(self.c_str(), O_PATH | O_CLOEXEC); });
}

Result<SharedFd> PosixSource::reopen(PosixNode& node) {
  if (&node == root_.get()) return not_connected();
  std::optional<Error> reason;
  for (const NodeName& name : table_.names_of(node)) {
    Result<SharedFd> fd = reopen_directory(as_posix(*name.parent));
    if (fd) fd = reopen_by(**fd, name.name, node);
    if (fd) return fd;
    if (!is_gone(fd.error())) reason = fd.error();
  }
  if (reason) return std::unexpected(*reason);
  return stale();
}

// Up to the nearest directory with a descriptor, and down again: a loop, for trees may be deeper than a
// stack.
Result<SharedFd> PosixSource::reopen_directory(PosixNode& directory) {
  std::vector<std::pair<NodeRef, std::string>> below;
  NodeRef at(&directory);
  SharedFd fd;
  while (!(fd = kept_descriptor(as_posix(*at)))) {
    if (at == root_) return not_connected();
    std::vector<NodeName> names = table_.names_of(as_posix(*at));
    if (names.empty()) return stale();
    below.emplace_back(at, std::move(names.front().name));
    at = names.front().parent;
  }
  for (; !below.empty(); below.pop_back()) {
    const auto& [node, name] = below.back();
    Result<SharedFd> next = reopen_by(*fd, name, as_posix(*node));
    if (!next) return next;
    fd = std::move(*next);
  }
  return fd;
}

Result<SharedFd> PosixSource::reopen_by(const UniqueFd& parent, const std::string& name, PosixNode& node) {
  UniqueFd fd = open_name(parent, name, O_PATH);
  if (!fd.valid()) return failed(errno, "open again", name);
  const Result<Seen> seen = look(fd);
  if (!seen) return std::unexpected(seen.error());
  if (!leads_to(*seen, node)) return stale();
  SharedFd shared = share(std::move(fd));
  cache_.put(node, shared);
  return shared;
}

Result<UniqueFd> PosixSource::open_content(PosixNode& node, const UniqueFd& path, int flags) {
  if (!has_proc_ && node.kind() == FileKind::directory) {
    UniqueFd fd = open_with_room(path, [&] { return openat(path.get(), ".", flags | O_CLOEXEC); });
    if (!fd.valid()) return failed(errno, "open a directory");
    return fd;
  }
  if (!has_proc_) return open_content_by_name(node, flags);
  const ProcPath self(path.get());
  UniqueFd fd = open_with_room(path, [&] { return open(self.c_str(), flags | O_CLOEXEC | O_NOCTTY); });
  if (!fd.valid() && errno == EPERM && (flags & O_NOATIME) != 0)
    return open_content(node, path, flags & ~O_NOATIME);
  if (!fd.valid()) return failed(errno, "open");
  return fd;
}

// Without /proc. O_NONBLOCK, for a fifo that took the name's place must not stop us; regular files do not
// heed it. A file of that name that is not ours is not truncated: O_TRUNC waits for the check.
Result<UniqueFd> PosixSource::open_content_by_name(PosixNode& node, int flags) {
  const bool truncate = (flags & O_TRUNC) != 0;
  for (const NodeName& name : table_.names_of(node)) {
    const Result<SharedFd> parent = reopen_directory(as_posix(*name.parent));
    if (!parent) continue;
    UniqueFd fd = open_name(**parent, name.name, (flags & ~(O_TRUNC | O_NOATIME)) | O_NONBLOCK | O_NOCTTY);
    if (!fd.valid() && !is_gone(Error::from_errno(errno))) return failed(errno, "open", name.name);
    if (!fd.valid()) continue;
    const Result<Seen> seen = look(fd);
    if (!seen || !leads_to(*seen, node)) continue;
    if (truncate && ftruncate(fd.get(), 0) != 0) return failed(errno, "truncate", name.name);
    return fd;
  }
  return stale();
}

Result<Entry> PosixSource::enter(PosixNode& directory, const UniqueFd& directory_fd, std::string_view name) {
  for (int attempt = 0; attempt < kFreeAttempts; ++attempt) {
    Result<Entry> entry = try_enter(directory, directory_fd, name, table_.name_changes(directory));
    if (!entry || entry->node) return entry;
  }
  const std::shared_ptr<NamesMutex> names = directory.names_mutex(directory_fd.epoch());
  if (!names->mutex.try_lock_until(RequestDeadline::clamp(RequestDeadline::Time::max())))
    return fail(std::errc::timed_out, "a change in the directory has not ended yet");
  Result<Entry> entry = try_enter(directory, directory_fd, name, std::nullopt);
  names->mutex.unlock();
  return entry;
}

Result<Entry> PosixSource::enter_within_change(PosixNode& directory, const UniqueFd& directory_fd,
                                               std::string_view name) {
  return try_enter(directory, directory_fd, name, std::nullopt);
}

Result<Entry> PosixSource::try_enter(PosixNode& directory, const UniqueFd& directory_fd,
                                     std::string_view name, std::optional<uint64_t> unchanged_since) {
  // What was here before: if it is gone, its descriptor must not keep it on its disk.
  const NodeRef before = table_.find(directory, name);
  UniqueFd fd = open_name(directory_fd, std::string(name), O_PATH);
  if (!fd.valid()) {
    const int reason = errno;
    if (reason == ENOENT && before && table_.has_one_name(as_posix(*before)))
      cache_.forget(as_posix(*before));
    return failed(reason, "look up", name);
  }
  const Result<Seen> seen = look(fd);
  if (!seen) return std::unexpected(seen.error());
  // Names of an earlier root say nothing of this one's.
  if (fd.epoch() != epoch()) return fail_errno(ENOTCONN, "the source was lost meanwhile");
  NodeRef node =
      table_.intern({.parent = directory, .name = name, .identity = seen->identity(), .kind = seen->kind()},
                    unchanged_since);
  if (node && before && before != node && table_.names_of(as_posix(*before)).empty())
    cache_.forget(as_posix(*before));
  if (node && node != root_) cache_.put(as_posix(*node), share(std::move(fd)));
  return Entry{.node = std::move(node), .attributes = seen->attributes()};
}

}  // namespace cachefs::posix
