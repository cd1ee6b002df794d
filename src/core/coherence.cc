// How old an answer may be, and what a newer one means for what is cached.
#include "core/cache_impl.h"

namespace cachefs {

Ticket CacheFs::Impl::begin_request() {
  return {.sequence = sequence.fetch_add(1, std::memory_order_acq_rel) + 1,
          .time = options.clock->now(),
          .wall_time = options.clock->wall_time()};
}

std::chrono::nanoseconds CacheFs::Impl::remaining(MonotonicTime asked_at,
                                                  std::chrono::nanoseconds ttl) const {
  if (asked_at == MonotonicTime::min() || asked_at < trusted_since.load(std::memory_order_relaxed)) return {};
  const std::chrono::nanoseconds age = options.clock->now() - asked_at;
  return age >= ttl ? std::chrono::nanoseconds(0) : ttl - age;
}

bool CacheFs::Impl::fresh(const NodeState& state) const {
  return state.known && remaining(state.checked_at, options.coherence.metadata_ttl()).count() > 0;
}

bool CacheFs::Impl::fresh(const CachedName& name) const {
  return remaining(name.asked_at, name_ttl()).count() > 0;
}

Observed CacheFs::Impl::observe(CacheNode& node, const Attributes& attributes, const Ticket& ticket,
                                Purpose purpose) {
  settling.learn(attributes.ctime, options.clock->now());
  const Observed observed = node.observe(attributes, ticket, purpose, settling);
  if (observed == Observed::changed) forget_content(node);
  return observed;
}

/// After the generation was bumped: the blocks of the old one go, and layers above are told.
void CacheFs::Impl::forget_content(CacheNode& node) {
  uint64_t generation = 0;
  {
    MutexLock lock(node.mutex);
    generation = node.state.generation;
  }
  blocks.drop(node.id, generation);
  counters.add(Counter::invalidations);
  tell_listener([&](CacheListener& listener) { listener.on_data_changed(NodeRef(&node)); });
}

void CacheFs::Impl::mark_gone(CacheNode& node) {
  {
    MutexLock lock(node.mutex);
    node.state.expire(next_sequence());
    node.state.bump_generation();
  }
  forget_content(node);
}

std::optional<Attributes> CacheFs::Impl::fresh_attributes(CacheNode& node) {
  MutexLock lock(node.mutex);
  if (!fresh(node.state)) return std::nullopt;
  return node.state.attributes;
}

Result<Attributes> CacheFs::Impl::checked_attributes(CacheNode& node, File* file, const Caller& caller,
                                                     bool always) {
  uint64_t last_change = 0;
  NodeRef source_node;
  {
    MutexLock lock(node.mutex);
    if (!always && fresh(node.state)) {
      counters.add(Counter::metadata_hits);
      return node.state.attributes;
    }
    last_change = node.state.last_change;
    source_node = node.state.source;
  }
  counters.add(Counter::metadata_misses);
  const auto ask = [&]() -> Result<Attributes> {
    const Ticket ticket = begin_request();
    Result<Attributes> answer =
        file != nullptr ? file->attributes() : source->attributes(*source_node, caller);
    if (answer) {
      const Observed observed = observe(node, *answer, ticket, Purpose::check);
      if (always && observed == Observed::overlapped) return check_after_change(node, file, caller);
    } else if (answer.error().is(std::errc::no_such_file_or_directory) ||
               answer.error().to_errno() == ESTALE) {
      mark_gone(node);
    }
    return answer;
  };
  // A check that must be of now cannot share an answer to a question asked before.
  if (always || file != nullptr) return ask();
  const NameFlightKey key{node.id, last_change, {}};
  const auto place = attribute_flights.join(key);
  if (!place.leads) {
    const auto answer = place.flight->wait();
    return answer ? *answer : ask();
  }
  Result<Attributes> answer = ask();
  attribute_flights.end(key, answer);
  return answer;
}

Result<Attributes> CacheFs::Impl::check_after_change(CacheNode& node, File* file, const Caller& caller) {
  const NodeRef source_node = node.source();
  MutexLock no_change(node.change_mutex);
  const Ticket ticket = begin_request();
  Result<Attributes> answer = file != nullptr ? file->attributes() : source->attributes(*source_node, caller);
  if (answer) observe(node, *answer, ticket, Purpose::check);
  return answer;
}

bool CacheFs::Impl::surely_allowed(const Attributes& attributes, const Caller& caller,
                                   uint32_t wanted) const {
  if (caller.uid == 0 && (wanted & 1U) == 0) return true;
  const uint32_t mode = attributes.mode;
  if (caller.uid == 0) return attributes.kind == FileKind::directory || (mode & 0111U) != 0;
  if (caller.uid == attributes.uid) return (mode >> 6 & wanted) == wanted;
  if (own_capabilities.acls) return false;
  const bool member = caller.gid == attributes.gid || std::find(caller.groups.begin(), caller.groups.end(),
                                                                attributes.gid) != caller.groups.end();
  return ((member ? mode >> 3 : mode) & wanted) == wanted;
}

}  // namespace cachefs
