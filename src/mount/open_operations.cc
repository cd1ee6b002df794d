// Opening, creating and closing files.
#include <fcntl.h>

#include <cerrno>
#include <string>
#include <utility>

#include "mount/protocol.h"
#include "mount/wake.h"

namespace cachefs::mount {
namespace {

bool writes_in_parallel(const MountState& mount) {
  return mount.kernel.has(KernelFeature::parallel_direct_writes);
}

/// Answers an open, or the creation of a file, with what libfuse does not know of.
template <typename Reply>
int reply_amended(const MountState& mount, const fuse_file_info& info, Reply reply) {
  if (!info.direct_io || !writes_in_parallel(mount)) return reply();
  const KernelRoom::AmendedOpen amended(protocol::kOpenParallelDirectWrites);
  return reply();
}

/// Says what the kernel may keep of the file's data. Called after the file was opened: an open may find that
/// the file has changed. The kernel puts what is appended into its page at the end that it knows, which may
/// be old: who appends reads past its pages, else he would not find his own bytes. Where the content is
/// another than the kernel's attributes are of, these go before the open ends: by an old size, reads would
/// end too early or run into zeros.
///
/// Who writes with O_DIRECT has no use for pages either. Past them several writes can be under way at once.
void decide_caching(MountState& mount, OpenFile& file, fuse_file_info& info) {
  const bool appends = file.for_writing && (info.flags & O_APPEND) != 0;
  const bool direct = file.for_writing && (info.flags & O_DIRECT) != 0 && writes_in_parallel(mount);
  info.direct_io = !mount.kernel_caches || appends || direct;
  file.past_pages = info.direct_io;
  file.syncs = sync_wanted(info.flags);
  if (!mount.kernel_caches) return;
  const uint64_t generation = mount.view->validity(*file.node->node()).data_generation;
  info.keep_cache = file.node->kept_data == generation;
  const bool drops_pages = !info.keep_cache && !info.direct_io;
  if (drops_pages) file.expect_pages_dropped(generation);
  if (file.node->told_generation == generation) return;
  // What is queued for it would make the kernel ignore the answer when it asks for the attributes next.
  if (drops_pages) mount.notifier.forget(*file.node);
  mount.notifier.void_attributes(*file.node);
}

/// The number of a new handle, with what the kernel may keep decided.
uint64_t add_file(MountState& mount, const MountNodeRef& node, std::unique_ptr<File> opened,
                  fuse_file_info& info) {
  const bool for_writing = (info.flags & O_ACCMODE) != O_RDONLY;
  // A kernel that does not know this asks at each close. Whoever may hold locks tells of each.
  info.noflush = !for_writing && !mount.locks;
  auto file = std::make_shared<OpenFile>(node, std::move(opened), for_writing);
  file->for_reading = (info.flags & O_ACCMODE) != O_WRONLY;
  decide_caching(mount, *file, info);
  return mount.files.add(std::move(file));
}

/// Drops the kernel's reference to a file; closing may wait for the source.
void let_go(MountState& mount, uint64_t number) {
  OpenFileRef file = mount.files.remove(number);
  if (file == nullptr) return;
  run(mount, OperationClass::write, [file = std::move(file)]() mutable { file.reset(); });
}

void reply_open(MountState& mount, fuse_req_t req, const MountNodeRef& node, fuse_file_info& info,
                OpenedFile opened) {
  info.fh = add_file(mount, node, std::move(opened.file), info);
  if ((info.flags & O_TRUNC) != 0) forget_set_id(mount, *node);
  if (reply_amended(mount, info, [&] { return fuse_reply_open(req, &info); }) == 0) return;
  if (!info.keep_cache) mount.notifier.on_data_changed(node->node());  // it has dropped no pages
  let_go(mount, info.fh);
}

/// open(2) lets O_TRUNC go with O_RDONLY; a FileSystem truncates through a handle that writes.
bool is_truncated_apart(const OpenFlags& flags) { return flags.truncate && !flags.write; }

OpenFlags without_truncation(OpenFlags flags) {
  flags.truncate = false;
  return flags;
}

Result<OpenedFile> open_file(FileSystem& fs, Node& node, const OpenFlags& flags, const Caller& caller) {
  if (!is_truncated_apart(flags)) return fs.open(node, flags, caller);
  Result<OpenedFile> opened = fs.open(node, without_truncation(flags), caller);
  if (!opened) return opened;
  const Result<Attributes> truncated = fs.set_attributes(node, {.size = 0}, caller);
  if (!truncated) return std::unexpected(truncated.error());
  opened->attributes = *truncated;
  return opened;
}

Result<CreatedFile> create_file(FileSystem& fs, Place place, CreateOptions options, const Caller& caller) {
  if (!is_truncated_apart(options.open)) return fs.create(place, options, caller);
  options.open = without_truncation(options.open);
  Result<CreatedFile> created = fs.create(place, options, caller);
  if (!created || created->created) return created;
  const Result<Attributes> truncated = fs.set_attributes(*created->entry.node, {.size = 0}, caller);
  if (!truncated) return std::unexpected(truncated.error());
  created->entry.attributes = *truncated;
  return created;
}

void on_open(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info) {
  MountState& mount = mount_of(req);
  const OpenFlags flags = open_flags(info->flags);
  if (mount.view != nullptr) {
    if (const MountNodeRef node = awake_at(mount, ino)) {
      if (auto known = mount.view->try_open(*node->node(), flags, caller_without_groups(req)))
        return reply_open(mount, req, node, *info, std::move(*known));
    }
  }
  submit_about(
      req, OperationClass::metadata,
      [&mount, flags, info = *info](Request& request, const Caller& caller,
                                    const MountNodeRef& node) mutable {
        Result<OpenedFile> opened = open_file(mount.fs, *node->node(), flags, caller);
        answer_change(
            request, std::move(opened),
            [&](fuse_req_t to, OpenedFile file) { reply_open(mount, to, node, info, std::move(file)); },
            [&] {
              if (flags.truncate) mount.notifier.on_data_changed(node->node());
              if (opened) OpenFile(node, std::move(opened->file), flags.write);  // closes it
            });
      },
      ino);
}

void reply_create(MountState& mount, fuse_req_t req, MountNode& directory, const std::string& name,
                  fuse_file_info& info, CreatedFile created) {
  const EntryAnswer answer = enter(mount, directory, name, created.entry);
  info.fh = add_file(mount, answer.node, std::move(created.file), info);
  if (reply_amended(mount, info, [&] { return fuse_reply_create(req, &answer.param, &info); }) == 0) return;
  let_go(mount, info.fh);
  mount.nodes.forget(answer.param.ino, 1);
}

void on_create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* info) {
  MountState& mount = mount_of(req);
  const CreateOptions options{
      .open = open_flags(info->flags), .mode = mode & 07777, .exclusive = (info->flags & O_EXCL) != 0};
  submit_about(
      req, OperationClass::name_change,
      [&mount, name = std::string(name), options, info = *info](Request& request, const Caller& caller,
                                                                const MountNodeRef& directory) mutable {
        Result<CreatedFile> created = create_file(mount.fs, {*directory->node(), name}, options, caller);
        answer_change(
            request, std::move(created),
            [&](fuse_req_t to, CreatedFile file) {
              reply_create(mount, to, *directory, name, info, std::move(file));
            },
            [&] {
              mount.notifier.on_name_changed(directory->node(), name);
              if (!created) return;
              if (options.open.truncate) mount.notifier.on_data_changed(created->entry.node);
              OpenFile(nullptr, std::move(created->file), options.open.write);  // closes it
            });
      },
      parent);
}

/// close(2), of each descriptor. Each write was passed on before it was answered, but some sources tell an
/// error only now. Of other handles there is nothing to tell, and closing them stays cheap.
///
/// Whatever the descriptor, the process that closes it gives back its locks of the file (see fcntl(2)), also
/// if it is being killed.
void on_flush(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info) {
  MountState& mount = mount_of(req);
  OpenFile& closing = OpenFiles::peek(info->fh);
  closing.uses();
  const LockOwner owner{.family = LockFamily::record, .number = info->lock_owner};
  const bool has_locks = mount.locks && mount.locks->knows(*closing.node, owner);
  if (!closing.for_writing && !has_locks) {
    reply_done(req);
    return;
  }
  submit(
      req, ino, OperationClass::write,
      [&mount, file = OpenFiles::at(info->fh), owner, has_locks](Request& request) {
        const Result<void> flushed = file->for_writing ? file->file->flush() : Result<void>();
        if (has_locks) mount.locks->release(*file->node, owner);
        answer(request, flushed, reply_done);
      },
      Span::open_ended, has_locks ? WhenKilled::runs_too : WhenKilled::dropped);
}

void on_release(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* info) {
  MountState& mount = mount_of(req);
  if (mount.locks) {
    const LockOwner owner{.family = LockFamily::whole, .number = info->lock_owner};
    mount.locks->let_go(OpenFiles::peek(info->fh).node, info->fh,
                        info->flock_release ? std::optional(owner) : std::nullopt);
  }
  let_go(mount, info->fh);
  fuse_reply_err(req, 0);
}

}  // namespace

void add_open_operations(fuse_lowlevel_ops& operations) {
  operations.open = on_open;
  operations.create = on_create;
  operations.flush = on_flush;
  operations.release = on_release;
}

}  // namespace cachefs::mount
