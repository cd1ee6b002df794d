// Changes that go through the cache: the source first, then what is cached, so that it stays usable.
#include "core/cache_impl.h"

namespace cachefs {

/// Between this and end_change() nothing that was read is cached and no answer is taken over: each might be
/// of before.
ChangeStart CacheFs::Impl::begin_change(CacheNode& node, File* file, const Caller& caller) {
  ChangeStart start{.begun = options.clock->now()};
  Version version;
  {
    MutexLock lock(node.mutex);
    NodeState& state = node.state;
    ++state.changes_in_progress;
    start.generation = state.generation;
    start.size = state.attributes.size;
    version = state.attributes.version;
    if (!state.has_content) {
      state.absent_xattrs = {};  // a foreign change of them may hide behind the version that ours leads to
      return start;
    }
  }
  // Our change will give the file a new version. What is cached can be carried over to it only if it is of
  // the version right before; the window that remains is this request and the change itself.
  const Result<Attributes> before = ask_attributes(node, file, caller);
  start.size_known = before && before->version == version;
  if (start.size_known) return start;
  // Somebody else changed it: whoever opens it from now on must not be given what is cached.
  {
    MutexLock lock(node.mutex);
    node.state.bump_generation();
    start.generation = node.state.generation;
  }
  forget_content(node);
  return start;
}

void CacheFs::Impl::end_change(CacheNode& node, const ChangeStart& start, const ChangeEnd& end) {
  if (end.after) settling.learn_from_own_change(end.after->ctime, start.begun);
  const bool kept = end.kept && end.size_explained(start);
  bool generation_moved = false;
  bool set_id_dropped = false;
  uint64_t generation = 0;
  {
    const ContentEdit edit(node);
    if (kept && end.write) blocks.apply_write(*end.write);
    if (kept && end.new_size && start.size_known)
      blocks.apply_resize(node.id, start.generation, start.size, *end.new_size);
    const Ticket now = begin_request();
    MutexLock lock(node.mutex);
    NodeState& state = node.state;
    generation_moved = state.generation != start.generation;
    if (kept && end.write && !generation_moved) state.has_content = true;
    if (!kept) state.bump_generation();
    --state.changes_in_progress;
    // By an invalidation, or the removal of a name: changes of ours come one after another.
    const bool overtaken = state.last_change > end.asked.sequence;
    state.last_change = now.sequence;
    state.last_observation = now.sequence;
    if (end.after) {
      constexpr uint32_t kSetIdBits = 06000;
      set_id_dropped = state.known && (state.attributes.mode & ~end.after->mode & kSetIdBits) != 0;
      state.known = true;
      state.attributes = *end.after;
      state.seen_at = end.asked.time;
      state.retry_at = MonotonicTime::min();
      state.version_seen_at = now.time;
      if (state.has_content && !settling.shows_every_change()) state.unsettled = true;
      if (overtaken) {
        state.checked_at = MonotonicTime::min();
      } else {
        state.renew_without_check(end.asked.time);
      }
    } else {
      state.forget(now.sequence);
    }
    generation = state.generation;
  }
  expire_statistics();
  // Layers above may have handed them out, and may not know that this change drops them.
  if (set_id_dropped)
    tell_listener([&](CacheListener& listener) { listener.on_attributes_changed(NodeRef(&node)); });
  if (!kept) {
    forget_content(node);
  } else if (generation_moved) {
    blocks.drop(node.id, generation);  // what was carried over belongs to a generation that is gone
  }
}

uint64_t CacheFs::Impl::begin_directory_change(CacheNode& directory) {
  const Ticket ticket = begin_request();
  {
    MutexLock lock(directory.mutex);
    ++directory.state.changes_in_progress;
    directory.state.bump_generation();  // the listing is about to be another
  }
  contents.erase(directory.id, UINT64_MAX);
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
  const Result<NodeRef> source_node = on_source(node);
  if (file == nullptr && !source_node) return std::unexpected(source_node.error());
  const ChangeStart start = begin_change(node, file, caller);
  const Ticket asked = begin_request();
  Result<Attributes> after = file != nullptr ? file->set_attributes(change, caller)
                                             : source->set_attributes(**source_node, change, caller);
  ChangeEnd end{.asked = asked, .after = after ? std::optional(*after) : std::nullopt};
  // A failed change may have been made in part: only a size matters to what is cached.
  end.kept = !change.size || (after && after->size == *change.size);
  end.new_size = change.size;
  end_change(node, start, end);
  return after;
}

}  // namespace cachefs
