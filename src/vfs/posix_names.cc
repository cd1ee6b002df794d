// PosixFs: making, removing and moving names.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <optional>

#include "base/stat_fields.h"
#include "vfs/posix_file.h"
#include "vfs/posix_file_system.h"

namespace cachefs::posix {
namespace {

/// How often a create may find its name now there and now gone, before it gives up.
constexpr int kCreateAttemptsMax = 64;

/// One that was reached before the source was lost, and one after it was taken up again, have nothing to do
/// with each other: the system calls would say EXDEV, and mv(1) would copy.
Result<void> check_same_root(const UniqueFd& one, const UniqueFd& other) {
  if (one.epoch() == other.epoch()) return {};
  return fail_errno(ENOTCONN, "the source was lost meanwhile");
}

}  // namespace

Result<CreatedFile> PosixFs::create(Place place, const CreateOptions& options, const Caller& caller) {
  const Result<void> good = check_name(place.name, capabilities().name_max);
  if (!good) return std::unexpected(good.error());
  const Result<SharedFd> directory = source_->descriptor(as_posix(place.directory), caller);
  if (!directory) return std::unexpected(directory.error());
  const ActAs acting(source_->credentials(), caller);
  if (!acting.result()) return std::unexpected(acting.result().error());
  for (int attempt = 1;; ++attempt) {
    Result<CreatedFile> created = create_new(**directory, place, options, caller);
    if (created || options.exclusive || !created.error().is(std::errc::file_exists)) return created;
    Result<CreatedFile> opened = open_existing(**directory, place, options, caller);
    const bool gone = !opened && opened.error().is(std::errc::no_such_file_or_directory);
    if (!gone || attempt == kCreateAttemptsMax) return opened;
  }
}

// O_EXCL always: only so it is certain who made the file.
Result<CreatedFile> PosixFs::create_new(const UniqueFd& directory, Place place, const CreateOptions& options,
                                        const Caller& caller) {
  PosixNode& parent = as_posix(place.directory);
  const std::string name(place.name);
  OpenFlags flags = options.open;
  flags.truncate = false;  // it is empty
  const NameChange change(source_->table(), directory.epoch(), place);
  if (const Result<void> begun = change.result(); !begun) return std::unexpected(begun.error());
  UniqueFd content = source_->open_name(directory, name, open_flags(flags) | O_CREAT | O_EXCL,
                                        mode_of_new(directory, options.mode, caller));
  if (!content.valid()) return failed(errno, "create", place.name);
  source_->table().name_made(parent);
  const Result<Seen> seen = source_->look(content);
  if (!seen) return std::unexpected(seen.error());
  NodeRef node = source_->table().intern(
      {.parent = parent, .name = place.name, .identity = seen->identity(), .kind = seen->kind()});
  if (UniqueFd path = source_->path_of(content); path.valid()) {
    source_->cache().put(as_posix(*node), share(std::move(path)));
  }
  CreatedFile created;
  created.file = std::make_unique<PosixFile>(*source_, node, std::move(content), flags, caller);
  created.entry = Entry{.node = std::move(node), .attributes = seen->attributes()};
  return created;
}

Result<CreatedFile> PosixFs::open_existing(const UniqueFd& directory, Place place,
                                           const CreateOptions& options, const Caller& caller) {
  Result<Entry> entry = source_->enter(as_posix(place.directory), directory, place.name);
  if (!entry) return std::unexpected(entry.error());
  PosixNode& node = as_posix(*entry->node);
  const Result<SharedFd> path = source_->kept_or_reopened(node);
  if (!path) return std::unexpected(path.error());
  Result<OpenedFile> opened = open_as_caller(node, **path, options.open, caller);
  if (!opened) return std::unexpected(opened.error());
  entry->attributes = opened->attributes;
  return CreatedFile{.entry = std::move(*entry), .file = std::move(opened->file), .created = false};
}

Result<Entry> PosixFs::make(Place place, const NewNode& spec, const Caller& caller) {
  const Result<void> good = check_name(place.name, capabilities().name_max);
  if (!good) return std::unexpected(good.error());
  const Result<SharedFd> directory = source_->descriptor(as_posix(place.directory), caller);
  if (!directory) return std::unexpected(directory.error());
  const ActAs acting(source_->credentials(), caller);
  if (!acting.result()) return std::unexpected(acting.result().error());
  const NameChange change(source_->table(), (*directory)->epoch(), place);
  if (const Result<void> begun = change.result(); !begun) return std::unexpected(begun.error());
  const Result<void> made = make_name(**directory, std::string(place.name), spec, caller);
  if (!made) return std::unexpected(made.error());
  source_->table().name_made(as_posix(place.directory));
  return source_->enter_within_change(as_posix(place.directory), **directory, place.name);
}

/// The umask takes bits off unless the directory's default access control list decides instead.
mode_t PosixFs::mode_of_new(const UniqueFd& directory, uint32_t mode, const Caller& caller) const {
  const bool list_decides = capabilities().acls && getxattr(ProcPath(directory.get()).c_str(),
                                                            "system.posix_acl_default", nullptr, 0) > 0;
  return (list_decides ? mode : mode & ~caller.umask) & 07777U;
}

Result<void> PosixFs::make_name(const UniqueFd& directory, const std::string& name, const NewNode& spec,
                                const Caller& caller) {
  const mode_t mode = mode_of_new(directory, spec.mode, caller);
  int result = 0;
  if (spec.kind == FileKind::directory) {
    result = mkdirat(directory.get(), name.c_str(), mode);
  } else if (spec.kind == FileKind::symlink) {
    if (!capabilities().symlinks) return fail(std::errc::operation_not_supported);
    if (spec.target.find('\0') != std::string_view::npos) return fail(std::errc::invalid_argument);
    result = symlinkat(std::string(spec.target).c_str(), directory.get(), name.c_str());
  } else {
    if (!capabilities().special_files && spec.kind != FileKind::regular)
      return fail(std::errc::operation_not_supported);
    result = mknodat(directory.get(), name.c_str(), type_bits(spec.kind) | mode, spec.rdev);
  }
  if (result != 0) return failed(errno, "make", name);
  return {};
}

Result<Entry> PosixFs::link(Node& node, Place place, const Caller& caller) {
  const Result<void> good = check_name(place.name, capabilities().name_max);
  if (!good) return std::unexpected(good.error());
  if (!capabilities().hard_links) return fail(std::errc::operation_not_supported);
  const Result<SharedFd> file = source_->descriptor(as_posix(node), caller);
  if (!file) return std::unexpected(file.error());
  const Result<SharedFd> directory = source_->descriptor(as_posix(place.directory), caller);
  if (!directory) return std::unexpected(directory.error());
  if (auto same = check_same_root(**file, **directory); !same) return std::unexpected(same.error());
  const ActAs acting(source_->credentials(), caller);
  if (!acting.result()) return std::unexpected(acting.result().error());
  const NameChange change(source_->table(), (*directory)->epoch(), place);
  if (const Result<void> begun = change.result(); !begun) return std::unexpected(begun.error());
  // AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH, which the caller has not. The followed link is that of
  // /proc alone.
  const std::string name(place.name);
  if (linkat(AT_FDCWD, ProcPath((*file)->get()).c_str(), (*directory)->get(), name.c_str(),
             AT_SYMLINK_FOLLOW) != 0) {
    return failed(errno, "link", place.name);
  }
  source_->table().name_made(as_posix(place.directory));
  return source_->enter_within_change(as_posix(place.directory), **directory, place.name);
}

PosixFs::Victim PosixFs::hold(Place place, const Caller& caller) {
  Victim victim{.node = source_->table().find(as_posix(place.directory), place.name), .fd = nullptr};
  if (!victim.node || !source_->table().has_one_name(as_posix(*victim.node))) return victim;
  Result<SharedFd> fd = source_->descriptor(as_posix(*victim.node), caller);
  if (fd) victim.fd = std::move(*fd);  // else the node is stale once its name is gone, as it would be anyway
  return victim;
}

void PosixFs::keep_if_nameless(const Victim& victim) {
  if (!victim.fd || !source_->table().names_of(as_posix(*victim.node)).empty()) return;
  source_->cache().put(as_posix(*victim.node), victim.fd);
  source_->cache().keep(as_posix(*victim.node));
}

Result<void> PosixFs::remove(Place place, RemoveKind kind, const Caller& caller) {
  const Result<void> good = check_name(place.name, capabilities().name_max);
  if (!good) return good;
  const Result<SharedFd> directory = source_->descriptor(as_posix(place.directory), caller);
  if (!directory) return std::unexpected(directory.error());
  const NameChange change(source_->table(), (*directory)->epoch(), place);
  if (const Result<void> begun = change.result(); !begun) return std::unexpected(begun.error());
  const Victim victim = hold(place, caller);
  const ActAs acting(source_->credentials(), caller);
  if (!acting.result()) return acting.result();
  const std::string name(place.name);
  if (unlinkat((*directory)->get(), name.c_str(), kind == RemoveKind::directory ? AT_REMOVEDIR : 0) != 0) {
    return failed(errno, "remove", place.name);
  }
  source_->table().name_removed(as_posix(place.directory), place.name);
  keep_if_nameless(victim);
  return {};
}

namespace {

unsigned rename_flags(RenameMode mode) {
  switch (mode) {
    case RenameMode::no_replace:
      return RENAME_NOREPLACE;
    case RenameMode::exchange:
      return RENAME_EXCHANGE;
    case RenameMode::replace:
      break;
  }
  return 0;
}

struct NameAt {
  const UniqueFd& directory;
  std::string name;
};

/// Returns 0 or the errno.
int rename_name(const NameAt& from, const NameAt& to, RenameMode mode) {
  const unsigned flags = rename_flags(mode);
  const auto call = [&](unsigned with) {
    return renameat2(from.directory.get(), from.name.c_str(), to.directory.get(), to.name.c_str(), with) == 0
               ? 0
               : errno;
  };
  const int error = call(flags);
  if (mode != RenameMode::no_replace || (error != EINVAL && error != ENOSYS)) return error;
  // The file system knows no flags (NFS): look first. Names made by this process cannot come between; those
  // made elsewhere can, and would be replaced.
  struct stat status{};
  if (fstatat(to.directory.get(), to.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) return EEXIST;
  return errno == ENOENT ? call(0) : errno;
}

}  // namespace

Result<void> PosixFs::rename(Place from, Place to, RenameMode mode, const Caller& caller) {
  for (const Place& place : {from, to}) {
    Result<void> good = check_name(place.name, capabilities().name_max);
    if (!good) return good;
  }
  if (mode == RenameMode::exchange && !capabilities().rename_exchange)
    return fail(std::errc::operation_not_supported);
  const Result<SharedFd> source = source_->descriptor(as_posix(from.directory), caller);
  if (!source) return std::unexpected(source.error());
  const Result<SharedFd> target = source_->descriptor(as_posix(to.directory), caller);
  if (!target) return std::unexpected(target.error());
  if (const Result<void> same = check_same_root(**source, **target); !same) return same;
  const NameChange change(source_->table(), (*source)->epoch(), from, to);
  if (const Result<void> begun = change.result(); !begun) return std::unexpected(begun.error());
  const Victim victim = mode == RenameMode::replace ? hold(to, caller) : Victim{};
  const ActAs acting(source_->credentials(), caller);
  if (!acting.result()) return acting.result();
  const int error = rename_name({**source, std::string(from.name)}, {**target, std::string(to.name)}, mode);
  if (error != 0) return failed(error, "rename", from.name);
  if (mode == RenameMode::exchange) {
    source_->table().names_exchanged(from, to);
  } else {
    source_->table().name_moved(from, to);
  }
  if (victim.node) keep_if_nameless(victim);
  return {};
}

}  // namespace cachefs::posix
