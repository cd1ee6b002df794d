// Changes that go through the cache: the source first, then what is cached, so that it stays usable.
#include "core/cache_impl.h"

namespace cachefs {

/// Between this and end_change() nothing that was read is cached and no answer is taken over: each might be
/// of before.
ChangeStart CacheFs::Impl::begin_change(CacheNode& node, File* file, const Caller& caller) {
  ChangeStart start;
  Version version;
  NodeRef source_node;
  {
    MutexLock lock(node.mutex);
    ++node.state.changes_in_progress;
    start.generation = node.state.generation;
    start.size = node.state.attributes.size;
    version = node.state.attributes.version;
    source_node = node.state.source;
    node.state
        .no_acl_in = {};  // of a file that is not asked for first, somebody else may have changed the list
    if (!node.state.has_content) return start;
  }
  // Our change will give the file a new version. What is cached can be carried over to it only if it is of
  // the version right before; the window that remains is this request and the change itself.
  const Result<Attributes> before =
      file != nullptr ? file->attributes() : source->attributes(*source_node, caller);
  start.size_known = before && before->version == version;
  if (start.size_known) {
    start.size_after = start.size;
    return start;
  }
  // Somebody else changed it: whoever opens it from now on must not be given what is cached.
  {
    MutexLock lock(node.mutex);
    node.state.bump_generation();
    start.generation = node.state.generation;
  }
  forget_content(node);
  return start;
}

void CacheFs::Impl::end_change(CacheNode& node, const ChangeStart& start,
                               const std::optional<Attributes>& after, bool kept) {
  bool content_lost = false;
  uint64_t generation = 0;
  bool generation_moved = false;
  {
    const Ticket ticket = begin_request();
    MutexLock lock(node.mutex);
    NodeState& state = node.state;
    --state.changes_in_progress;
    state.last_change = ticket.sequence;
    state.last_observation = ticket.sequence;
    generation_moved = state.generation != start.generation;
    content_lost = !kept || (after && start.size_after && after->size != *start.size_after);
    if (content_lost) state.bump_generation();
    if (after) {
      state.known = true;
      state.attributes = *after;
      state.checked_at = ticket.time;
      state.version_seen_at = ticket.time;
      if (state.has_content && !settling.settled_change(after->ctime, ticket.time, ticket))
        state.unsettled = true;
    } else {
      state.expire(ticket.sequence);
    }
    generation = state.generation;
  }
  expire_statistics();
  if (content_lost) {
    forget_content(node);
  } else if (generation_moved) {
    blocks.drop(node.id, generation);  // what was carried over belongs to a generation that is gone
  }
}

uint64_t CacheFs::Impl::begin_directory_change(CacheNode& directory) {
  const Ticket ticket = begin_request();
  MutexLock lock(directory.mutex);
  ++directory.state.changes_in_progress;
  directory.state.bump_generation();  // the listing is about to be another
  return ticket.sequence;
}

uint64_t CacheFs::Impl::end_directory_change(CacheNode& directory, uint64_t begun) {
  const Ticket ticket = begin_request();
  bool alone = false;
  {
    MutexLock lock(directory.mutex);
    NodeState& state = directory.state;
    --state.changes_in_progress;
    alone = state.changes_in_progress == 0 && state.last_change < begun;
    state.expire(ticket.sequence);
    state.bump_generation();
  }
  expire_statistics();
  return alone ? ticket.sequence : 0;
}

Result<Attributes> CacheFs::Impl::set_attributes(CacheNode& node, File* file, const AttributeChange& change,
                                                 const Caller& caller) {
  MutexLock changing(node.change_mutex);
  ChangeStart start = begin_change(node, file, caller);
  const NodeRef source_node = node.source();
  Result<Attributes> after = file != nullptr ? file->set_attributes(change, caller)
                                             : source->set_attributes(*source_node, change, caller);
  // A failed change may have been made in part: only a size matters to what is cached.
  const bool kept = !change.size || (after && after->size == *change.size);
  if (after && change.size) {
    start.size_after = *change.size;
    if (kept && start.size_known) blocks.apply_resize(node.id, start.generation, start.size, *change.size);
  }
  end_change(node, start, after ? std::optional(*after) : std::nullopt, kept);
  return after;
}

}  // namespace cachefs
