#include "core/cache_locks.h"

namespace cachefs {
namespace {

class CacheLocks final : public LockStore {
 public:
  explicit CacheLocks(CacheFs::Impl& cache) : cache_(cache), source_(*cache.source->locks()) {}

  Result<void> set(Node& node, const LockRequest& request, const Caller& caller) override {
    CacheNode& cached = CacheFs::Impl::node_of(node);
    // What was written is at the source already: others may have the lock at once. It is given back at the
    // file that it was taken of, though that may be replaced by now. Who has less than before has kept others
    // out: there is nothing new to see.
    if (request.mode == LockMode::none || request.downgrade)
      return source_.set(*cached.source(), request, caller);
    if (const auto out = cache_.outage()) return std::unexpected(*out);
    const Result<NodeRef> on_source = cache_.on_source(cached);
    if (!on_source) return std::unexpected(on_source.error());
    const Result<void> locked = source_.set(**on_source, request, caller);
    if (locked) cache_.check_after_lock(cached, caller);
    return locked;
  }
  Result<std::optional<HeldLock>> test(Node& node, const LockRequest& request,
                                       const Caller& caller) override {
    const Result<NodeRef> on_source = cache_.on_source(CacheFs::Impl::node_of(node));
    return on_source ? source_.test(**on_source, request, caller) : std::unexpected(on_source.error());
  }
  Result<void> release(Node& node, const LockOwner& owner) override {
    return source_.release(*CacheFs::Impl::node_of(node).source(), owner);
  }

 private:
  CacheFs::Impl& cache_;
  LockStore& source_;
};

}  // namespace

/// Whoever held the lock before has ended his writes by now. They show in the version, unless that moves in
/// steps and they came soon after what is known: content that is not settled goes. So does what is being
/// fetched, for its request may have been answered before the writes.
void CacheFs::Impl::check_after_lock(CacheNode& node, const Caller& caller) {
  if (options.coherence.mode == CoherenceMode::immutable) return;
  std::shared_ptr<File> reader;  // an unlinked file is reached through whoever has it open
  {
    MutexLock lock(node.mutex);
    node.state.expire(next_sequence());
    reader = node.state.reader;
  }
  const Result<Attributes> now = ask_and_check(node, reader.get(), caller, true);
  if (!now) return distrust(node);  // what cannot be checked is asked for anew by who reads
  {
    MutexLock lock(node.mutex);
    if (!node.state.unsettled) return;
    node.state.bump_generation();
  }
  forget_content(node, Cause::own);
}

std::unique_ptr<LockStore> make_cache_locks(CacheFs::Impl& cache) {
  return std::make_unique<CacheLocks>(cache);
}

}  // namespace cachefs
