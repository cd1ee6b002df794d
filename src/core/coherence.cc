// How old an answer may be, and what a newer one means for what is cached.
#include <cerrno>

#include "core/cache_impl.h"
#include "core/file_turn.h"

namespace cachefs {

Ticket CacheFs::Impl::begin_request() {
  return {.sequence = sequence.fetch_add(1, std::memory_order_acq_rel) + 1,
          .time = options.clock->now(),
          .wall_time = options.clock->wall_time()};
}

std::chrono::nanoseconds CacheFs::Impl::remaining(MonotonicTime asked_at,
                                                  std::chrono::nanoseconds ttl) const {
  if (asked_at == MonotonicTime::min() || asked_at < trusted_since.load(std::memory_order_relaxed) ||
      asked_at < checked_since.load(std::memory_order_relaxed)) {
    return {};
  }
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
  const MonotonicTime received = options.clock->now();
  settling.learn(attributes.ctime, received);
  const Observed observed = node.observe(attributes, ticket, received, purpose, settling);
  if (observed == Observed::changed) forget_content(node, Cause::foreign);
  return observed;
}

/// After the generation was bumped: what is cached of the old one goes, and layers above are told.
void CacheFs::Impl::forget_content(CacheNode& node, Cause cause) {
  uint64_t generation = 0;
  {
    MutexLock lock(node.mutex);
    generation = node.state.generation;
  }
  const bool had_blocks = blocks.drop(node.id, generation) != 0;
  const bool had_contents = contents.erase(node.id, generation);
  if (cause == Cause::foreign && (had_blocks || had_contents)) counters.add(Counter::invalidations);
  tell_listener([&](CacheListener& listener) { listener.on_data_changed(NodeRef(&node)); });
}

void CacheFs::Impl::distrust(CacheNode& node) {
  {
    MutexLock lock(node.mutex);
    node.state.forget(next_sequence());
    node.state.bump_generation();
  }
  forget_content(node, Cause::own);
}

std::optional<Attributes> CacheFs::Impl::fresh_attributes(CacheNode& node) const {
  MutexLock lock(node.mutex);
  if (!fresh(node.state)) return std::nullopt;
  return node.state.attributes;
}

Result<NodeRef> CacheFs::Impl::on_source(CacheNode& node) {
  MutexLock lock(node.mutex);
  if (node.state.replaced) return fail_errno(ESTALE);
  return node.state.source;
}

Result<Attributes> CacheFs::Impl::ask_attributes(CacheNode& node, File* file, const Caller& caller) {
  if (file != nullptr) return file->attributes();
  const Result<NodeRef> source_node = on_source(node);
  if (!source_node) return std::unexpected(source_node.error());
  return source->attributes(**source_node, caller);
}

/// A file that is open tells: if it is not of the version that the path shows twice, before and after it was
/// asked, then the path leads to another one. Without an open file it does not matter: there is nothing of
/// the old file that could get mixed with the new one.
///
/// Invariant P1: all files of the source that are open in one node are the same file.
bool CacheFs::Impl::found_replaced(CacheNode& node, Attributes seen, const Caller& caller) {
  if (stable_identity || node.kind != FileKind::regular) return false;
  constexpr int kLooks = 3;
  for (int look = 0; look < kLooks; ++look) {
    std::shared_ptr<File> open_file;
    NodeRef source_node;
    {
      MutexLock lock(node.mutex);
      NodeState& state = node.state;
      if (state.replaced) return true;
      if (!state.known || state.changes_in_progress != 0 || seen.version == state.attributes.version)
        return false;
      open_file = state.any_file();
      source_node = state.source;
    }
    if (open_file == nullptr) return false;
    const Result<Attributes> open_now = open_file->attributes();
    if (open_now && open_now->version == seen.version) return false;
    if (!open_now && open_now.error().to_errno() != ESTALE) return false;
    const Result<Attributes> again = source->attributes(*source_node, caller);
    if (!again) return false;
    if (again->version == seen.version) break;
    seen = *again;
    if (look + 1 == kLooks) return false;  // it changes all the time, by whatever name
  }
  {
    MutexLock lock(node.mutex);
    node.state.replaced = true;
    node.nameless = true;
  }
  if (const auto key = nodes.take_key(node)) names.erase(key->directory, key->name);
  return true;
}

Result<Attributes> CacheFs::Impl::checked_attributes(CacheNode& node, File* file, const Caller& caller,
                                                     bool always) {
  if (const auto known = attributes_of_outage(node)) return *known;
  const MonotonicTime begun = options.clock->now();
  Result<Attributes> answer = ask_and_check(node, file, caller, always);
  if (answer) return answer;
  const auto stale = stale_attributes(node, answer.error());
  if (!stale) return answer;
  put_off_checks(node, begun);
  return *stale;
}

Result<Attributes> CacheFs::Impl::ask_and_check(CacheNode& node, File* file, const Caller& caller,
                                                bool always) {
  uint64_t last_change = 0;
  {
    MutexLock lock(node.mutex);
    if (!always && fresh(node.state)) {
      counters.add(Counter::metadata_hits);
      return node.state.attributes;
    }
    last_change = node.state.last_change;
  }
  counters.add(Counter::metadata_misses);
  const auto ask = [&]() -> Result<Attributes> {
    const Ticket ticket = begin_request();
    Result<Attributes> answer = ask_attributes(node, file, caller);
    if (answer && file == nullptr && found_replaced(node, *answer, caller)) return fail_errno(ESTALE);
    if (answer) {
      const Observed observed = observe(node, *answer, ticket, Purpose::check);
      if (always && !is_check(observed)) return check_again(node, file, caller);
    } else if (answer.error().is(std::errc::no_such_file_or_directory) ||
               answer.error().to_errno() == ESTALE) {
      distrust(node);
    }
    return answer;
  };
  // A check that must be of now cannot share an answer to a question asked before.
  if (always || file != nullptr || options.coherence.metadata_ttl().count() <= 0) return ask();
  const NameFlightKey key{node.id, last_change, {}};
  const auto place = attribute_flights.join(key);
  if (!place.leads) {
    const auto answer = place.flight->wait();
    if (!answer) return ask();
    if (!*answer) return *answer;
    // It may have been asked for before something that makes it void.
    const auto known = fresh_attributes(node);
    return known ? Result<Attributes>(*known) : ask();
  }
  Result<Attributes> answer = ask();
  attribute_flights.end(key, answer);
  return answer;
}

Result<Attributes> CacheFs::Impl::check_again(CacheNode& node, File* opened, const Caller& caller) {
  constexpr int kLooks = 3;
  const FileTurn no_change(*this, node, FileTurn::Kind::no_change, &TimeLimits::metadata);
  if (const auto refused = no_change.refused()) return std::unexpected(*refused);
  for (int look = 0; look < kLooks; ++look) {
    const Ticket ticket = begin_request();
    Result<Attributes> answer = ask_attributes(node, opened, caller);
    if (!answer) return answer;
    if (opened != nullptr && !stable_identity) {
      // What was opened must still be what the path leads to.
      const Result<Attributes> at_path = ask_attributes(node, nullptr, caller);
      if (!at_path) return at_path;
      if (!(at_path->version == answer->version)) continue;
    }
    if (found_replaced(node, *answer, caller)) break;
    observe(node, *answer, ticket, Purpose::check);
    return answer;
  }
  return fail_errno(ESTALE);
}

void CacheFs::Impl::note_allowed(FileId file, Timestamp changed, const Caller& caller, uint32_t wanted,
                                 const Ticket& ticket) {
  if (source_decides()) verdicts.allow(file, changed, caller, wanted, ticket.time);
}

bool CacheFs::Impl::surely_allowed(FileId file, const Attributes& attributes, const Caller& caller,
                                   uint32_t wanted) const {
  if (source_decides()) {
    const MonotonicTime asked = verdicts.asked_at(file, attributes.ctime, caller, wanted);
    const std::chrono::nanoseconds ttl = options.coherence.metadata_ttl();
    return remaining(asked, ttl).count() > 0 || (presentable(asked, ttl) && outage());
  }
  if (caller.uid == 0 && (wanted & 1U) == 0) return true;
  const uint32_t mode = attributes.mode;
  if (caller.uid == 0) return attributes.kind == FileKind::directory || (mode & 0111U) != 0;
  if (caller.uid == attributes.uid) return (mode >> 6 & wanted) == wanted;
  if (own_capabilities.acls) return false;  // mode bits say nothing of others than the owner
  const bool member = caller.gid == attributes.gid || std::find(caller.groups.begin(), caller.groups.end(),
                                                                attributes.gid) != caller.groups.end();
  return ((member ? mode >> 3 : mode) & wanted) == wanted;
}

}  // namespace cachefs
