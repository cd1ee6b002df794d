#include "mount/translate.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/stat_fields.h"

namespace cachefs::mount {
namespace {

/// Beside the flags of open(2): the kernel opens the file to run it (execve, uselib).
constexpr int kForExecution = 0x20;

std::vector<uint32_t> supplementary_groups(fuse_req_t req) {
  std::vector<gid_t> groups(64);
  int count = fuse_req_getgroups(req, static_cast<int>(groups.size()), groups.data());
  if (count > static_cast<int>(groups.size())) {
    groups.resize(static_cast<size_t>(count));
    count = fuse_req_getgroups(req, static_cast<int>(groups.size()), groups.data());
  }
  if (count < 0) return {};  // fewer rights, never more
  if (static_cast<size_t>(count) < groups.size()) groups.resize(static_cast<size_t>(count));
  return groups;
}

}  // namespace

struct stat to_stat(const Attributes& attributes, MountNode& node) {
  constexpr uint32_t kSetIdBits = 06000;
  const bool sets_id = attributes.kind == FileKind::regular && (attributes.mode & kSetIdBits) != 0;
  if (sets_id != node.shown_set_id.load(std::memory_order_relaxed)) node.shown_set_id = sets_id;
  struct stat result{};
  result.st_ino = attributes.identity.inode != 0 ? attributes.identity.inode : node.fallback_inode;
  result.st_mode = type_bits(attributes.kind) | (attributes.mode & 07777);
  result.st_nlink = attributes.nlink;
  result.st_uid = attributes.uid;
  result.st_gid = attributes.gid;
  result.st_rdev = attributes.rdev;
  result.st_size = static_cast<off_t>(attributes.size);
  result.st_blocks = static_cast<blkcnt_t>(attributes.blocks);
  result.st_blksize = static_cast<blksize_t>(attributes.block_size);
  result.st_atim = timespec_of(attributes.atime);
  result.st_mtim = timespec_of(attributes.mtime);
  result.st_ctim = timespec_of(attributes.ctime);
  return result;
}

double seconds(std::chrono::nanoseconds duration) {
  return duration.count() <= 0 ? 0.0 : std::chrono::duration<double>(duration).count();
}

Caller caller_without_groups(fuse_req_t req) {
  const fuse_ctx* context = fuse_req_ctx(req);
  return {.uid = context->uid, .gid = context->gid, .groups = {}, .umask = context->umask};
}

Caller caller_of(fuse_req_t req) {
  Caller caller = caller_without_groups(req);
  if (caller.uid != 0 && geteuid() == 0) caller.groups = supplementary_groups(req);
  return caller;
}

OpenFlags open_flags(int flags) {
  const int access = flags & O_ACCMODE;
  // O_DIRECT is not passed on: the kernel has already kept its own cache out of the way, and a source that
  // sees both direct and mapped access to one file fails mmap and msync.
  return {.read = access != O_WRONLY,
          .write = access != O_RDONLY,
          .truncate = (flags & O_TRUNC) != 0,
          .append = (flags & O_APPEND) != 0,
          .direct = false,
          .no_atime = (flags & O_NOATIME) != 0,
          .execute = (flags & kForExecution) != 0};
}

std::optional<SyncKind> sync_wanted(int flags) {
  if ((flags & O_DSYNC) == 0) return std::nullopt;
  return (flags & O_SYNC) == O_SYNC ? SyncKind::all : SyncKind::data;
}

void reply_error(fuse_req_t req, const Error& error) {
  const int value = error.to_errno();
  fuse_reply_err(req, value == ENOSYS ? EOPNOTSUPP : value);
}

double attribute_timeout(const MountState& mount, const MountNode& node) {
  return mount.kernel_caches ? seconds(mount.view->validity(*node.node()).attributes) : 0.0;
}

double name_timeout(const MountState& mount, const MountNode& directory, const std::string& name,
                    const Node* file) {
  return mount.kernel_caches ? seconds(mount.view->name_validity(*directory.node(), name, file)) : 0.0;
}

/// What may be told of a file now, and for how long: what the cache relies on, for a change of ours may have
/// overtaken the answer.
struct Telling {
  Attributes attributes;
  double timeout = 0;
};
Telling telling(const MountState& mount, MountNode& node, const Attributes& answered) {
  if (!mount.kernel_caches) return {answered, 0.0};
  const Validity validity = mount.view->validity(*node.node());  // before the attributes: no newer than these
  if (validity.attributes.count() > 0) {
    if (const auto kept = mount.view->try_attributes(*node.node())) {
      node.told_generation = validity.data_generation;
      return {*kept, seconds(validity.attributes)};
    }
  }
  node.told_generation = MountNode::kNothingKept;
  return {answered, 0.0};
}

void reply_attributes(MountState& mount, fuse_req_t req, MountNode& node, const Attributes& attributes) {
  const Telling now = telling(mount, node, attributes);
  const struct stat stat = to_stat(now.attributes, node);
  fuse_reply_attr(req, &stat, now.timeout);
}

void forget_set_id(MountState& mount, const MountNode& node) {
  if (node.shown_set_id.load()) mount.notifier.void_attributes(node);
}

/// Of a node that was just entered.
fuse_entry_param param_of(MountState& mount, MountNode& node, const Attributes& attributes) {
  if (mount.nodes.is_crowded()) mount.notifier.make_room();
  fuse_entry_param param{};
  param.ino = NodeTable::number_of(node);
  param.generation = mount.nodes.generation_of(node);
  const Telling now = telling(mount, node, attributes);
  param.attr = to_stat(now.attributes, node);
  param.attr_timeout = now.timeout;
  return param;
}

EntryAnswer enter(MountState& mount, MountNode& directory, const std::string& name, const Entry& entry) {
  EntryAnswer answer{.param = {}, .node = mount.nodes.enter(directory, name, entry)};
  answer.param = param_of(mount, *answer.node, entry.attributes);
  answer.param.entry_timeout = name_timeout(mount, directory, name, entry.node.get());
  return answer;
}

void reply_entry(MountState& mount, fuse_req_t req, MountNode& directory, const std::string& name,
                 const Entry& entry) {
  const EntryAnswer answer = enter(mount, directory, name, entry);
  // Refused if the request was aborted: then the kernel has not learned of the node.
  if (fuse_reply_entry(req, &answer.param) != 0) mount.nodes.forget(answer.param.ino, 1);
}

void reply_known(MountState& mount, fuse_req_t req, MountNode& node, const Attributes& attributes) {
  const fuse_entry_param param = param_of(mount, node, attributes);
  if (fuse_reply_entry(req, &param) != 0) mount.nodes.forget(param.ino, 1);
}

void reply_no_entry(MountState& mount, fuse_req_t req, const MountNode& directory, const std::string& name) {
  fuse_entry_param param{};
  param.entry_timeout = name_timeout(mount, directory, name, nullptr);
  if (param.entry_timeout > 0) {
    fuse_reply_entry(req, &param);
  } else {
    fuse_reply_err(req, ENOENT);
  }
}

}  // namespace cachefs::mount
