// Locks of a GuardedFs: what takes one ends in time; what gives one back happens in any case.
#include <fmt/format.h>

#include "vfs/guarded_file.h"

namespace cachefs {
namespace {

using Kind = Guard::Kind;

/// The requests of one owner for one file must not overtake each other.
Guard::Extents extents_of(Node& node, const LockOwner& owner) {
  return {{.node = NodeRef(&node),
           .name = fmt::format("lock/{}/{}", static_cast<int>(owner.family), owner.number)}};
}

/// However many of them hang, the file's data and attributes are still asked for.
RequestSubject subject_of(Node& node) { return {.node = &node, .name = "lock"}; }

class GuardedLocks final : public LockStore {
 public:
  explicit GuardedLocks(std::shared_ptr<Guard> guard) : guard_(std::move(guard)) {}

  Result<void> set(Node& node, const LockRequest& request, const Caller& caller) override {
    const auto run = [&source = source(), node = NodeRef(&node), request, caller] {
      return source.set(*node, request, caller);
    };
    if (request.mode == LockMode::none || request.downgrade)
      return give_back(node, extents_of(node, request.owner), run);
    return guard_->call(Kind::metadata, subject_of(node), extents_of(node, request.owner), run);
  }
  Result<std::optional<HeldLock>> test(Node& node, const LockRequest& request,
                                       const Caller& caller) override {
    return guard_->call(Kind::metadata, subject_of(node), {},
                        [&source = source(), node = NodeRef(&node), request, caller] {
                          return source.test(*node, request, caller);
                        });
  }
  Result<void> release(Node& node, const LockOwner& owner) override {
    return give_back(node, extents_of(node, owner), [&source = source(), node = NodeRef(&node), owner] {
      return source.release(*node, owner);
    });
  }

 private:
  LockStore& source() { return *guard_->source().locks(); }

  /// Done when this returns, or, where the source does not answer, after all that is still under way. Once
  /// more is as good as once.
  template <typename Run>
  Result<void> give_back(Node& node, const Guard::Extents& extents, Run run) {
    if (!guard_->is_late(extents)) {
      const Result<void> done = guard_->call(Kind::metadata, subject_of(node), extents, run);
      if (done || !is_unreachable(done.error())) return done;
    }
    guard_->run_later(extents, [run = std::move(run)]() mutable {
      ignore(run(), "the descriptor is closed, or was lost with the source");
    });
    return {};
  }

  const std::shared_ptr<Guard> guard_;
};

}  // namespace

std::unique_ptr<LockStore> make_guarded_locks(std::shared_ptr<Guard> guard) {
  return std::make_unique<GuardedLocks>(std::move(guard));
}

}  // namespace cachefs
