// Look-up, and all that makes, removes or moves names.
#include <fcntl.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <cerrno>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/stat_fields.h"
#include "mount/wake.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1U
#define RENAME_EXCHANGE 2U
#endif

namespace cachefs::mount {
namespace {

/// Answers with what a creation gave.
void answer_made(MountState& mount, Request& request, MountNode& directory, const std::string& name,
                 const Result<Entry>& entry) {
  answer_change(
      request, entry,
      [&](fuse_req_t to, const Entry& made) { reply_entry(mount, to, directory, name, made); },
      [&] {
        mount.notifier.on_name_changed(directory.node(), name);
        if (entry) mount.notifier.on_attributes_changed(entry->node);  // of a link: it has one more name
      });
}

void reply_lookup(MountState& mount, fuse_req_t req, MountNode& directory, const std::string& name,
                  const Result<Entry>& entry) {
  if (entry) {
    reply_entry(mount, req, directory, name, *entry);
  } else if (entry.error().is(std::errc::no_such_file_or_directory)) {
    reply_no_entry(mount, req, directory, name);
  } else {
    reply_error(req, entry.error());
  }
}

/// The node that a look-up of "." or ".." asks for. The number of the former may be anything. Null: none.
MountNodeRef asked_for(MountState& mount, fuse_ino_t number, std::string_view name) {
  MountNodeRef node = mount.nodes.find_number(number);
  if (!node || name == ".") return node;
  const std::optional<NodePlace> place = mount.nodes.place_of(*node);
  return place ? place->directory : nullptr;
}

/// How the kernel asks for the node of a file handle that it has forgotten ("."), and for what is above a
/// directory that it found in this way (".."). It compares the generation itself.
void look_up_by_number(MountState& mount, fuse_req_t req, fuse_ino_t number, std::string_view name) {
  MountNodeRef node = asked_for(mount, number, name);
  if (!node) {
    fuse_reply_err(req, ESTALE);
    return;
  }
  const uint64_t about = NodeTable::number_of(*node);
  submit(req, about, OperationClass::metadata,
         [&mount, node = std::move(node), caller = caller_of(req)](Request& request) {
           const Result<Attributes> found = enter_again(mount, node, caller);
           answer_change(
               request, found,
               [&](fuse_req_t to, const Attributes& now) { reply_known(mount, to, *node, now); },
               [&] {
                 if (found) mount.nodes.forget(NodeTable::number_of(*node), 1);
               });
         });
}

bool is_number_alone(std::string_view name) { return name == "." || name == ".."; }

void on_lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  MountState& mount = mount_of(req);
  if (is_number_alone(name)) return look_up_by_number(mount, req, parent, name);
  if (mount.view != nullptr) {
    if (const MountNodeRef directory = awake_at(mount, parent)) {
      if (const auto known = mount.view->try_lookup(*directory->node(), name))
        return reply_lookup(mount, req, *directory, name, *known);
    }
  }
  submit_about(
      req, OperationClass::metadata,
      [&mount, name = std::string(name)](Request& request, const Caller& caller,
                                         const MountNodeRef& directory) {
        const Result<Entry> entry = mount.fs.lookup(*directory->node(), name, caller);
        if (fuse_req_t answer = request.claim(); answer != nullptr)
          reply_lookup(mount, answer, *directory, name, entry);
      },
      parent);
}

/// The memory of small things that were freed stays with the process until somebody gives it back.
void note_forgotten(MountState& mount, size_t count) {
  constexpr size_t kMany = 100'000;
  if (mount.forgotten.fetch_add(count, std::memory_order_relaxed) + count < kMany) return;
  mount.forgotten.store(0, std::memory_order_relaxed);
#ifdef __GLIBC__
  mount.executor.submit(OperationClass::metadata, [] { malloc_trim(0); });
#endif
}

void on_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count) {
  mount_of(req).nodes.forget(ino, count);
  note_forgotten(mount_of(req), 1);
  fuse_reply_none(req);
}

void on_forget_multi(fuse_req_t req, size_t count, fuse_forget_data* forgets) {
  NodeTable& nodes = mount_of(req).nodes;
  for (size_t i = 0; i < count; ++i) nodes.forget(forgets[i].ino, forgets[i].nlookup);
  note_forgotten(mount_of(req), count);
  fuse_reply_none(req);
}

void make(fuse_req_t req, fuse_ino_t parent, const char* name, const NewNode& spec) {
  MountState& mount = mount_of(req);
  submit_about(
      req, OperationClass::name_change,
      [&mount, name = std::string(name), spec = NewNode(spec), target = std::string(spec.target)](
          Request& request, const Caller& caller, const MountNodeRef& directory) mutable {
        spec.target = target;
        answer_made(mount, request, *directory, name,
                    mount.fs.make({*directory->node(), name}, spec, caller));
      },
      parent);
}

void on_mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
  make(req, parent, name, {.kind = kind_of(mode), .mode = mode & 07777, .rdev = rdev});
}

void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  make(req, parent, name, {.kind = FileKind::directory, .mode = mode & 07777});
}

void on_symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
  make(req, parent, name, {.kind = FileKind::symlink, .target = target});
}

void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char* name) {
  MountState& mount = mount_of(req);
  submit_about(
      req, OperationClass::name_change,
      [&mount, name = std::string(name)](Request& request, const Caller& caller, const MountNodeRef& node,
                                         const MountNodeRef& directory) {
        answer_made(mount, request, *directory, name,
                    mount.fs.link(*node->node(), {*directory->node(), name}, caller));
      },
      ino, parent);
}

void remove(fuse_req_t req, fuse_ino_t parent, const char* name, RemoveKind kind) {
  MountState& mount = mount_of(req);
  submit_about(
      req, OperationClass::name_change,
      [&mount, name = std::string(name), kind](Request& request, const Caller& caller,
                                               const MountNodeRef& directory) {
        // What loses its last name can only be reached through what is held of it.
        const MountNodeRef victim = wake_at(mount, *directory, name, caller);
        const Result<void> removed = mount.fs.remove({*directory->node(), name}, kind, caller);
        if (removed) mount.nodes.name_removed(*directory, name);
        answer_change(request, removed, reply_done,
                      [&] { mount.notifier.on_name_changed(directory->node(), name); });
      },
      parent);
}

void on_unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  remove(req, parent, name, RemoveKind::file);
}

void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) {
  remove(req, parent, name, RemoveKind::directory);
}

std::optional<RenameMode> rename_mode(unsigned flags) {
  switch (flags) {
    case 0:
      return RenameMode::replace;
    case RENAME_NOREPLACE:
      return RenameMode::no_replace;
    case RENAME_EXCHANGE:
      return RenameMode::exchange;
    default:
      return std::nullopt;
  }
}

void note_rename(MountState& mount, MountNode& from, const std::string& from_name, MountNode& to,
                 const std::string& to_name, RenameMode mode) {
  if (mode == RenameMode::exchange) {
    mount.nodes.names_exchanged(from, from_name, to, to_name);
  } else {
    mount.nodes.name_moved(from, from_name, to, to_name);
  }
}

void on_rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
               const char* new_name, unsigned flags) {
  MountState& mount = mount_of(req);
  const std::optional<RenameMode> mode = rename_mode(flags);
  // What a file system cannot do renameat2(2) reports as EINVAL.
  if (!mode || (*mode == RenameMode::exchange && !mount.fs.capabilities().rename_exchange)) {
    fuse_reply_err(req, EINVAL);
    return;
  }
  submit_about(
      req, OperationClass::name_change,
      [&mount, from_name = std::string(name), to_name = std::string(new_name), mode = *mode](
          Request& request, const Caller& caller, const MountNodeRef& from, const MountNodeRef& to) {
        // Awake, nobody looks for them by a name that is just changing.
        const MountNodeRef moved = wake_at(mount, *from, from_name, caller);
        const MountNodeRef victim = wake_at(mount, *to, to_name, caller);
        const Result<void> renamed =
            mount.fs.rename({*from->node(), from_name}, {*to->node(), to_name}, mode, caller);
        if (renamed) note_rename(mount, *from, from_name, *to, to_name, mode);
        answer_change(request, renamed, reply_done, [&] {
          mount.notifier.on_name_changed(from->node(), from_name);
          mount.notifier.on_name_changed(to->node(), to_name);
        });
      },
      parent, new_parent);
}

}  // namespace

void add_namespace_operations(fuse_lowlevel_ops& operations) {
  operations.lookup = on_lookup;
  operations.forget = on_forget;
  operations.forget_multi = on_forget_multi;
  operations.mknod = on_mknod;
  operations.mkdir = on_mkdir;
  operations.symlink = on_symlink;
  operations.link = on_link;
  operations.unlink = on_unlink;
  operations.rmdir = on_rmdir;
  operations.rename = on_rename;
}

}  // namespace cachefs::mount
