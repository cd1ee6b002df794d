// Between the kernel's language and ours.
#pragma once

#include <fuse_lowlevel.h>
#include <sys/stat.h>

#include <chrono>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "cachefs/file_system.h"
#include "mount/mount_state.h"

namespace cachefs::mount {

/// What the kernel is to be told of the node.
[[nodiscard]] struct stat to_stat(const Attributes& attributes, MountNode& node);
/// Timeouts in seconds, as libfuse takes them.
[[nodiscard]] double seconds(std::chrono::nanoseconds duration);

/// On whose behalf the request is made. Reads the supplementary groups, where they can matter: to be called
/// before the request can be answered, and only where the answer will come from the file system.
[[nodiscard]] Caller caller_of(fuse_req_t req);
/// The same without supplementary groups: for answers at once, which the kernel's own check of permissions
/// allowed.
[[nodiscard]] Caller caller_without_groups(fuse_req_t req);

[[nodiscard]] OpenFlags open_flags(int flags);
/// What O_SYNC and O_DSYNC among the flags of an open or a write ask for.
[[nodiscard]] std::optional<SyncKind> sync_wanted(int flags);

/// Never ENOSYS, which would make the kernel give the operation up for good.
void reply_error(fuse_req_t req, const Error& error);

/// An answer's remaining life in the kernel, in seconds; 0 where it keeps nothing.
[[nodiscard]] double attribute_timeout(const MountState& mount, const MountNode& node);
/// Of the answer that the name leads to `file`, or to nothing (null).
[[nodiscard]] double name_timeout(const MountState& mount, const MountNode& directory,
                                  const std::string& name, const Node* file);

void reply_attributes(MountState& mount, fuse_req_t req, MountNode& node, const Attributes& attributes);

/// To be called between a change of a file's content and its answer. The source has dropped the set-id bits,
/// of which the kernel only knows what it was told (HANDLE_KILLPRIV_V2): it must not run the file with them.
/// This alone it is told from where the answer comes from: without pages the kernel waits for nothing.
void forget_set_id(MountState& mount, const MountNode& node);

/// The answer to a look-up or a creation of `name`. Its node is entered in the table.
struct EntryAnswer {
  fuse_entry_param param{};
  MountNodeRef node;
};
[[nodiscard]] EntryAnswer enter(MountState& mount, MountNode& directory, const std::string& name,
                                const Entry& entry);
void reply_entry(MountState& mount, fuse_req_t req, MountNode& directory, const std::string& name,
                 const Entry& entry);
/// The answer to a look-up by number, after enter_again().
void reply_known(MountState& mount, fuse_req_t req, MountNode& node, const Attributes& attributes);
/// "There is no such name", which the kernel may remember.
void reply_no_entry(MountState& mount, fuse_req_t req, const MountNode& directory, const std::string& name);

/// Answers with what a task's work gave: by `reply(fuse_req_t, value)` (without a value if there is none), or
/// with the error. If nobody waits for the answer any more, `unheard()` is called in place of both: the
/// kernel may still believe what was true before a change. Exactly one of the three happens, whenever the
/// asking thread is killed.
template <typename Outcome, typename Reply, typename Unheard>
void answer_change(Request& request, Outcome&& outcome, Reply reply, Unheard unheard) {
  fuse_req_t req = request.claim();
  if (req == nullptr) {
    unheard();
  } else if (!outcome) {
    reply_error(req, outcome.error());
  } else if constexpr (std::is_void_v<typename std::remove_cvref_t<Outcome>::value_type>) {
    reply(req);
  } else {
    reply(req, *std::forward<Outcome>(outcome));
  }
}

/// The same for a question, whose answer nobody misses.
template <typename Outcome, typename Reply>
void answer(Request& request, Outcome&& outcome, Reply reply) {
  answer_change(request, std::forward<Outcome>(outcome), reply, [] {});
}

inline void reply_done(fuse_req_t req) { fuse_reply_err(req, 0); }

}  // namespace cachefs::mount
