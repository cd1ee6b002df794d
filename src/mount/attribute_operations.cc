// Attributes of files and of the file system, and the targets of symlinks.
#include <sys/statvfs.h>

#include <cerrno>
#include <string>
#include <utility>

#include "base/stat_fields.h"
#include "mount/wake.h"

namespace cachefs::mount {
namespace {

/// Whether the file may still be reached through an open handle: it has lost its last name.
bool lost_its_name(const Error& error) {
  return error.is(std::errc::no_such_file_or_directory) || error.to_errno() == ESTALE;
}

/// fstat() comes here without its handle.
Result<Attributes> attributes_of(MountState& mount, const MountNode& node, const OpenFileRef& file,
                                 const Caller& caller) {
  if (file) return file->file->attributes();
  Result<Attributes> attributes = mount.fs.attributes(*node.node(), caller);
  if (attributes || !lost_its_name(attributes.error())) return attributes;
  const OpenFileRef open = mount.files.any_of(node);
  return open ? open->file->attributes() : attributes;
}

void on_getattr(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info) {
  MountState& mount = mount_of(req);
  if (mount.view != nullptr) {
    if (const MountNodeRef node = awake_at(mount, ino)) {
      if (const auto known = mount.view->try_attributes(*node->node()))
        return reply_attributes(mount, req, *node, *known);
    }
  }
  submit_about(
      req, OperationClass::metadata,
      [&mount, file = info != nullptr ? OpenFiles::at(info->fh) : nullptr](
          Request& request, const Caller& caller, const MountNodeRef& node) {
        answer(request, attributes_of(mount, *node, file, caller),
               [&](fuse_req_t to, const Attributes& attributes) {
                 reply_attributes(mount, to, *node, attributes);
               });
      },
      ino);
}

TimeChange time_change(const timespec& time) {
  return {.now = false, .time = timestamp_of(time.tv_sec, time.tv_nsec)};
}

AttributeChange change_of(const struct stat& wanted, int fields) {
  AttributeChange change;
  if ((fields & FUSE_SET_ATTR_MODE) != 0) change.mode = wanted.st_mode & 07777;
  if ((fields & FUSE_SET_ATTR_UID) != 0) change.uid = wanted.st_uid;
  if ((fields & FUSE_SET_ATTR_GID) != 0) change.gid = wanted.st_gid;
  if ((fields & FUSE_SET_ATTR_SIZE) != 0) change.size = static_cast<uint64_t>(wanted.st_size);
  if ((fields & FUSE_SET_ATTR_ATIME) != 0) change.atime = time_change(wanted.st_atim);
  if ((fields & FUSE_SET_ATTR_MTIME) != 0) change.mtime = time_change(wanted.st_mtim);
  if ((fields & FUSE_SET_ATTR_ATIME_NOW) != 0) change.atime = {.now = true, .time = {}};
  if ((fields & FUSE_SET_ATTR_MTIME_NOW) != 0) change.mtime = {.now = true, .time = {}};
  return change;
}

/// Whether the mode of a change that was refused only takes set-id bits away. The kernel asks that in the
/// name of whoever writes to a file or truncates it, who need not own it; a chmod(2) by a stranger it has
/// refused itself.
bool only_drops_set_id_bits(MountState& mount, const MountNode& node, const AttributeChange& change) {
  constexpr uint32_t kSetIdBits = 06000;
  if (!change.mode || change.uid || change.gid) return false;
  const Result<Attributes> now = mount.fs.attributes(*node.node(), Caller::self());
  return now && (*change.mode | kSetIdBits) == (now->mode | kSetIdBits) && (*change.mode & ~now->mode) == 0;
}

Result<Attributes> set_attributes_once(MountState& mount, const MountNode& node, const OpenFileRef& file,
                                       const AttributeChange& change, const Caller& caller) {
  if (file) return file->file->set_attributes(change, caller);
  Result<Attributes> changed = mount.fs.set_attributes(*node.node(), change, caller);
  if (changed || !lost_its_name(changed.error())) return changed;
  const OpenFileRef open = mount.files.any_of(node);
  return open ? open->file->set_attributes(change, caller) : changed;
}

Result<Attributes> set_attributes(MountState& mount, const MountNode& node, const OpenFileRef& file,
                                  const AttributeChange& change, const Caller& caller) {
  Result<Attributes> changed = set_attributes_once(mount, node, file, change, caller);
  const bool refused = !changed && changed.error().is(std::errc::operation_not_permitted);
  if (!refused || !only_drops_set_id_bits(mount, node, change)) return changed;
  const AttributeChange mode{.mode = change.mode};
  AttributeChange rest = change;
  rest.mode = std::nullopt;
  if (!rest.empty()) {
    changed = set_attributes_once(mount, node, file, rest, caller);
    if (!changed) return changed;
  }
  return set_attributes_once(mount, node, file, mode, Caller::self());
}

void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat* wanted, int fields, fuse_file_info* info) {
  MountState& mount = mount_of(req);
  const AttributeChange change = change_of(*wanted, fields);
  submit_about(
      req, change.size ? OperationClass::write : OperationClass::name_change,
      [&mount, file = info != nullptr ? OpenFiles::at(info->fh) : nullptr, change](
          Request& request, const Caller& caller, const MountNodeRef& node) {
        const Result<Attributes> changed =
            change.empty() ? attributes_of(mount, *node, file,
                                           caller)  // the change time alone is the source's to set
                           : set_attributes(mount, *node, file, change, caller);
        answer_change(
            request, changed,
            [&](fuse_req_t to, const Attributes& now) { reply_attributes(mount, to, *node, now); },
            [&] { mount.notifier.on_data_changed(node->node()); });
      },
      ino);
}

void on_readlink(fuse_req_t req, fuse_ino_t ino) {
  MountState& mount = mount_of(req);
  if (mount.view != nullptr) {
    const MountNodeRef node = awake_at(mount, ino);
    const auto known = node ? mount.view->try_read_link(*node->node()) : std::nullopt;
    if (known) {
      fuse_reply_readlink(req, known->c_str());
      return;
    }
  }
  submit_about(
      req, OperationClass::metadata,
      [&mount](Request& request, const Caller& caller, const MountNodeRef& node) {
        answer(request, mount.fs.read_link(*node->node(), caller),
               [](fuse_req_t to, const std::string& target) { fuse_reply_readlink(to, target.c_str()); });
      },
      ino);
}

void reply_statistics(fuse_req_t req, const FileSystemStatistics& statistics) {
  struct statvfs result{};
  result.f_bsize = result.f_frsize = statistics.block_size;
  result.f_blocks = statistics.blocks;
  result.f_bfree = statistics.blocks_free;
  result.f_bavail = statistics.blocks_available;
  result.f_files = statistics.files;
  result.f_ffree = result.f_favail = statistics.files_free;
  result.f_namemax = statistics.name_max;
  fuse_reply_statfs(req, &result);
}

void on_statfs(fuse_req_t req, fuse_ino_t ino) {
  MountState& mount = mount_of(req);
  submit_about(
      req, OperationClass::metadata,
      [&mount](Request& request, const Caller& /*caller*/, const MountNodeRef& node) {
        answer(request, mount.fs.statistics(*node->node()), reply_statistics);
      },
      ino);
}

}  // namespace

void add_attribute_operations(fuse_lowlevel_ops& operations) {
  operations.getattr = on_getattr;
  operations.setattr = on_setattr;
  operations.readlink = on_readlink;
  operations.statfs = on_statfs;
}

}  // namespace cachefs::mount
