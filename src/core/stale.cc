// What is served while the source cannot be reached. "Cannot reach" is never "does not exist".
#include "cachefs/time_limits.h"
#include "core/cache_impl.h"

namespace cachefs {

std::optional<Error> CacheFs::Impl::outage() const {
  const Reachability* known = source->reachability();
  return known != nullptr ? known->outage() : std::nullopt;
}

bool CacheFs::Impl::presentable(MonotonicTime asked_at, std::chrono::nanoseconds ttl) const {
  if (!serves_stale() || asked_at == MonotonicTime::min() ||
      asked_at < trusted_since.load(std::memory_order_relaxed)) {
    return false;
  }
  const std::chrono::nanoseconds age = options.clock->now() - asked_at;
  return age < ttl || age - ttl < options.stale_if_error;
}

std::optional<Attributes> CacheFs::Impl::stale_attributes(CacheNode& node, const Error& why) {
  if (!serves_stale() || !is_unreachable(why)) return std::nullopt;
  MutexLock lock(node.mutex);
  NodeState& state = node.state;
  if (!state.known || !presentable(state.seen_at, options.coherence.metadata_ttl())) return std::nullopt;
  counters.add(Counter::stale_answers);
  return state.attributes;
}

std::optional<Attributes> CacheFs::Impl::attributes_of_outage(CacheNode& node) {
  if (!serves_stale()) return std::nullopt;
  {
    MutexLock lock(node.mutex);
    if (!puts_off_checks(node.state)) return std::nullopt;
  }
  return stale_attributes(node, Error(std::errc::timed_out));
}

/// Not beyond a revalidation.
bool CacheFs::Impl::puts_off_checks(const NodeState& state) const {
  return options.clock->now() < state.retry_at && state.failed_at >= trusted_since.load() &&
         state.failed_at >= checked_since.load();
}

void CacheFs::Impl::put_off_checks(CacheNode& node, MonotonicTime begun) const {
  const MonotonicTime now = options.clock->now();
  MutexLock lock(node.mutex);
  node.state.failed_at = now;
  node.state.retry_at = std::max(node.state.retry_at, now + (now - begun));
}

std::optional<Entry> CacheFs::Impl::stale_lookup(CacheNode& directory, std::string_view name,
                                                 const Caller& caller, const Error& why) {
  if (!serves_stale() || !is_unreachable(why)) return std::nullopt;
  const auto known = names.find(directory.id, name);
  if (!known || known->file == kNoFile || !presentable(known->asked_at, name_ttl())) return std::nullopt;
  if (caller.uid != 0 || source_decides()) {
    const auto above = stale_attributes(directory, why);
    if (!above || !surely_allowed(directory.id, *above, caller, 1)) return std::nullopt;
  }
  NodeRef node = nodes.find(known->file);
  if (!node) return std::nullopt;
  const auto attributes = stale_attributes(node_of(*node), why);
  return attributes ? std::optional(Entry{std::move(node), *attributes}) : std::nullopt;
}

std::optional<Entry> CacheFs::Impl::lookup_of_outage(CacheNode& directory, std::string_view name,
                                                     const Caller& caller) {
  if (!serves_stale()) return std::nullopt;
  const auto known = names.find(directory.id, name);
  if (!known || known->file == kNoFile) return std::nullopt;
  const NodeRef node = nodes.find(known->file);
  if (!node) return std::nullopt;
  {
    MutexLock lock(node_of(*node).mutex);
    if (!puts_off_checks(node_of(*node).state)) return std::nullopt;
  }
  return stale_lookup(directory, name, caller, Error(std::errc::timed_out));
}

ContentRef CacheFs::Impl::stale_content(CacheNode& node, const Error& why) {
  if (!stale_attributes(node, why)) return nullptr;
  uint64_t generation = 0;
  {
    MutexLock lock(node.mutex);
    generation = node.state.generation;
  }
  return contents.find(node.id, generation);
}

}  // namespace cachefs
