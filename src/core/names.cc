// Names: look-ups, and what leads from a directory to its files.
#include "core/cache_impl.h"

namespace cachefs {
namespace {

bool is_locked_out(CacheNode& node) {
  MutexLock lock(node.mutex);
  return node.state.lockouts != 0;
}

uint64_t generation_now(CacheNode& node) {
  MutexLock lock(node.mutex);
  return node.state.generation;
}

}  // namespace

/// Takes over a file that the source led to. `entry.node` becomes the cache's own node.
CacheFs::Impl::Adopted CacheFs::Impl::take_over(CacheNode& directory, std::string_view name, Entry entry,
                                                const Ticket& ticket, Origin origin) {
  NodeKey key;
  NodeRef parent;
  if (stable_identity) {
    key.identity = entry.attributes.identity;
  } else {
    key.directory = directory.id;
    key.name = name;
    parent = NodeRef(&directory);
  }
  NodeRef source_node = entry.node;  // declared before the lock: what it is exchanged for is dropped after it
  NodeRef node = nodes.intern(key, entry.attributes.kind, entry.node, parent);
  if (origin == Origin::made && !stable_identity && is_locked_out(node_of(*node))) {
    nodes.drop_key(key, node_of(*node).id);
    node = nodes.intern(key, entry.attributes.kind, entry.node, parent);
  }
  {
    // An answer from before a change of ours, or before a newer answer, may be of the file that had the name
    // before.
    MutexLock lock(node_of(*node).mutex);
    NodeState& state = node_of(*node).state;
    if (ticket.sequence > state.last_change && ticket.sequence >= state.last_observation)
      std::swap(state.source, source_node);
  }
  if (found_replaced(node_of(*node), entry.attributes, Caller::self()))
    node = nodes.intern(key, entry.attributes.kind, std::move(entry.node), std::move(parent));
  CacheNode& taken = node_of(*node);
  note_path(directory, name, taken);
  const uint64_t before = generation_now(taken);
  const Observed observed = observe(taken, entry.attributes, ticket, Purpose::check);
  MutexLock lock(taken.mutex);
  NodeState& state = taken.state;
  if (observed == Observed::ignored && state.known) entry.attributes = state.attributes;  // newer ones
  const uint64_t begun = observed == Observed::changed ? before + 1 : before;
  const bool still = is_check(observed) && state.generation == begun;
  return {.entry = {node, entry.attributes}, .observed = observed, .generation = still ? begun : 0};
}

void CacheFs::Impl::note_path(CacheNode& directory, std::string_view name, CacheNode& found) const {
  if (path_ttls.empty()) return;
  const PathMatch match = &directory == root.get() ? path_ttls.start() : directory.path_match.load();
  const PathTtls::Step step = path_ttls.step(match, name);
  if (found.kind == FileKind::directory) {
    found.path_match = step.below;
    return;
  }
  uint8_t known = found.ttl_pattern.load();
  while (!found.ttl_pattern.compare_exchange_weak(known, path_ttls.shorter(known, step.pattern))) {
  }
}

std::optional<Result<Entry>> CacheFs::Impl::cached_lookup(CacheNode& directory, std::string_view name) {
  const auto known = names.find(directory.id, name);
  if (!known || !fresh(*known)) return std::nullopt;
  if (known->file == kNoFile) return fail(std::errc::no_such_file_or_directory);
  NodeRef node = nodes.find(known->file);
  if (!node) return std::nullopt;
  auto attributes = fresh_attributes(node_of(*node));
  if (!attributes) return std::nullopt;
  return Entry{std::move(node), *attributes};
}

namespace {

/// Whether who waited for a look-up gets its error too. What the source denies to one it may grant to
/// another, and a name that was not there may have been made since.
bool concerns_all(const Error& error) {
  return !error.is(std::errc::no_such_file_or_directory) && !error.is(std::errc::permission_denied) &&
         !error.is(std::errc::operation_not_permitted);
}

}  // namespace

Result<Entry> CacheFs::Impl::lookup(CacheNode& directory, std::string_view name, const Caller& caller) {
  if (auto known = lookup_of_outage(directory, name, caller)) return std::move(*known);
  const MonotonicTime begun = options.clock->now();
  Result<Entry> found = look_up_anew(directory, name, caller);
  if (found) return found;
  auto stale = stale_lookup(directory, name, caller, found.error());
  if (!stale) return found;
  put_off_checks(node_of(*stale->node), begun);
  return std::move(*stale);
}

Result<Entry> CacheFs::Impl::look_up_anew(CacheNode& directory, std::string_view name, const Caller& caller) {
  NodeRef source_directory;
  uint64_t last_change = 0;
  bool allowed = false;
  bool directory_known = false;
  Timestamp directory_changed;
  {
    MutexLock lock(directory.mutex);
    source_directory = directory.state.source;
    last_change = directory.state.last_change;
    directory_known = fresh(directory.state);
    directory_changed = directory.state.attributes.ctime;
    const bool passes = caller.uid == 0 && !source_decides();
    allowed =
        passes || (directory_known && surely_allowed(directory.id, directory.state.attributes, caller, 1));
  }
  if (allowed) {
    if (auto answer = cached_lookup(directory, name)) {
      counters.add(Counter::metadata_hits);
      return *answer;
    }
  }
  counters.add(Counter::metadata_misses);
  const auto ask = [&]() -> Result<Entry> {
    const Ticket ticket = begin_request();
    Result<Entry> found = source->lookup(*source_directory, name, caller);
    const bool absent = !found && found.error().is(std::errc::no_such_file_or_directory);
    if (!found && !absent) return found;
    if (directory_known) note_allowed(directory.id, directory_changed, caller, 1, ticket);
    if (found) found = adopt(directory, name, std::move(*found), ticket);
    NameCache::Room room = names.make_room(name);
    if (found && found->attributes.nlink == 1) node_of(*found->node).name_lost = false;  // this is its name
    {
      MutexLock lock(directory.mutex);
      if (directory.state.changes_in_progress == 0 && ticket.sequence > directory.state.last_change) {
        names.put(directory.id, name,
                  {absent ? kNoFile : node_of(*found->node).id, ticket.time, ticket.sequence},
                  std::move(room));
      }
    }
    // Another look-up may have found meanwhile that the name leads elsewhere.
    if (found && !on_source(node_of(*found->node))) names.erase(directory.id, name);
    return found;
  };
  if (!allowed || name_ttl().count() <= 0) return ask();
  const NameFlightKey key{directory.id, last_change, std::string(name)};
  const auto place = name_flights.join(key);
  if (!place.leads) {
    // What the flight brought may have been overtaken by a change of ours since it began.
    auto brought = place.flight->wait();
    if (auto answer = cached_lookup(directory, name)) return *answer;
    return brought && !*brought && concerns_all(brought->error()) ? std::move(*brought) : ask();
  }
  Result<Entry> answer = ask();
  name_flights.end(key, answer);
  return answer;
}

/// What the name leads to, before a change of it: known, or asked for. Null: nothing. Who cannot look it up
/// cannot change it either.
Result<NodeRef> CacheFs::Impl::identify(CacheNode& directory, std::string_view name, const Caller& caller) {
  const auto known = names.find(directory.id, name);
  if (known && fresh(*known)) {
    if (known->file == kNoFile) return NodeRef();
    if (NodeRef node = nodes.find(known->file)) return node;
  }
  const Ticket ticket = begin_request();
  Result<Entry> found = source->lookup(*directory.source(), name, caller);
  if (found) return adopt(directory, name, std::move(*found), ticket).node;
  if (found.error().is(std::errc::no_such_file_or_directory)) return NodeRef();
  return std::unexpected(found.error());
}

void CacheFs::Impl::begin_lockout(Node* file) {
  if (file == nullptr) return;
  CacheNode& node = node_of(*file);
  {
    MutexLock lock(node.mutex);
    ++node.state.lockouts;
    if (node.state.handles_without_file == 0 || usable_reader(node) != nullptr) return;
  }
  ignore(shared_reader(node, Caller::self(), {}), "the handle will get the source's error when it reads");
}

void CacheFs::Impl::end_lockout(Node* file) {
  if (file == nullptr) return;
  MutexLock lock(node_of(*file).mutex);
  --node_of(*file).state.lockouts;
}

void CacheFs::Impl::expire_attributes(Node* of) {
  if (of == nullptr) return;
  {
    MutexLock lock(node_of(*of).mutex);
    node_of(*of).state.expire(next_sequence());
  }
  tell_listener([&](CacheListener& listener) { listener.on_attributes_changed(NodeRef(of)); });
}

/// The source has removed a name of that file: link count and change time are others, and with the last name
/// the data goes.
void CacheFs::Impl::after_unlink(Node* victim) {
  if (victim == nullptr) return;
  expire_attributes(victim);
  CacheNode& node = node_of(*victim);
  {
    MutexLock lock(node.mutex);
    if (node.kind != FileKind::directory && node.state.attributes.nlink > 1) return;
    node.nameless = true;
    if (node.state.open_handles != 0) return;
    node.state.bump_generation();
  }
  forget_content(node, Cause::own);
}

}  // namespace cachefs
