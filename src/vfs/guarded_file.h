// Files, listings, extended attributes and locks of a GuardedFs.
#pragma once

#include <memory>

#include "cachefs/lock_store.h"
#include "vfs/guard.h"

namespace cachefs {

/// A handle that goes before the source that it is of.
template <typename Handle>
struct LastUse {
  std::shared_ptr<Guard> guard;
  std::unique_ptr<Handle> handle;
};

/// A handle of the source, of `node`, that goes away on a thread of the guard's, since a close may hang.
template <typename Handle>
std::shared_ptr<Handle> guarded_handle(const std::shared_ptr<Guard>& guard, const Node* node,
                                       std::unique_ptr<Handle> handle) {
  return {handle.release(), [guard, node](Handle* last) {
            guard->hand_over(node, [use = LastUse<Handle>{guard, std::unique_ptr<Handle>(last)}]() mutable {
              use.handle.reset();
            });
          }};
}

std::unique_ptr<File> make_guarded_file(std::shared_ptr<Guard> guard, NodeRef node,
                                        std::unique_ptr<File> file);
std::unique_ptr<DirectoryStream> make_guarded_stream(std::shared_ptr<Guard> guard, NodeRef node,
                                                     std::unique_ptr<DirectoryStream> stream);
std::unique_ptr<XattrStore> make_guarded_xattrs(std::shared_ptr<Guard> guard);
std::unique_ptr<LockStore> make_guarded_locks(std::shared_ptr<Guard> guard);

}  // namespace cachefs
