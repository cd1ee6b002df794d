// Requests about files of which the mount keeps no more than a name and an identity.
#pragma once

#include <array>
#include <string>
#include <tuple>
#include <utility>

#include "mount/translate.h"

namespace cachefs::mount {

/// Looks a node that sleeps up again, and what leads to it. Asks the file system; does nothing if it is
/// awake. Errors: estale (its name leads elsewhere, or to nothing), those of the look-up.
[[nodiscard]] Result<void> wake(MountState& mount, const MountNodeRef& node, const Caller& caller);

/// The node at a place of which a name is about to be changed, awake: it stays so for as long as it is held.
/// Null if the kernel knows none, or it leads nowhere any more.
[[nodiscard]] MountNodeRef wake_at(MountState& mount, const MountNode& directory, const std::string& name,
                                   const Caller& caller);

/// Wakes a node for which the kernel asks by its number alone, and tells its attributes. Its look-up count is
/// raised: to be followed by telling the kernel, or forget(). Errors: those of wake(), and of the question.
[[nodiscard]] Result<Attributes> enter_again(MountState& mount, const MountNodeRef& node,
                                             const Caller& caller);

/// The node of a request, awake, if that needs no waiting; else null. Only where there is a view.
[[nodiscard]] MountNodeRef awake_at(MountState& mount, fuse_ino_t number);

/// submit() for a request about the nodes of `numbers`: `work(Request&, const Caller&, const
/// MountNodeRef&...)` gets them awake.
template <typename Work, typename... Numbers>
void submit_about(fuse_req_t req, OperationClass operation_class, Span span, Work work, Numbers... numbers) {
  MountState& mount = mount_of(req);
  submit(
      req, std::get<0>(std::tuple(numbers...)), operation_class,
      [&mount, nodes = std::array<MountNodeRef, sizeof...(Numbers)>{mount.nodes.at(numbers)...},
       caller = caller_of(req), work = std::move(work)](Request& request) mutable {
        for (const MountNodeRef& node : nodes) {
          const Result<void> awake = wake(mount, node, caller);
          if (awake) continue;
          if (fuse_req_t answer = request.claim(); answer != nullptr) reply_error(answer, awake.error());
          return;
        }
        std::apply([&](const auto&... awake) { work(request, caller, awake...); }, nodes);
      },
      span);
}

template <typename Work, typename... Numbers>
void submit_about(fuse_req_t req, OperationClass operation_class, Work work, Numbers... numbers) {
  submit_about(req, operation_class, Span::limited, std::move(work), numbers...);
}

}  // namespace cachefs::mount
