// Changes that go through the cache: the source first, then what is cached, so that it stays usable.
#include "core/cache_impl.h"
#include "core/file_turn.h"
#include "core/lockout.h"

namespace cachefs {

/// Between this and end_change() nothing that was read is cached and no answer is taken over: each might be
/// of before.
///
/// Of writes in a group only the first can ask for the version before: then come versions of our own, which
/// nobody can tell from foreign ones. What it was told holds for those who join it.
///
/// Invariant W1: what is cached of a generation while a group is under way was confirmed right before its
/// first write, or was written by one of it.
ChangeStart CacheFs::Impl::begin_change(FileTurn& turn, File* file, const Caller& caller) {
  CacheNode& node = turn.node();
  ChangeStart start{.begun = options.clock->now(), .in_group = turn.turn().kind() == ChangeTurn::Kind::write};
  Version version;
  bool is_certain = true;
  {
    MutexLock lock(node.mutex);
    NodeState& state = node.state;
    ++state.changes_in_progress;
    start.generation = state.generation;
    start.size = state.attributes.size;
    if (turn.turn().joined()) {
      start.size_known = state.confirmed_in == state.generation;
      return start;
    }
    state.confirmed_in = 0;
    version = state.attributes.version;
    // A change that was given up may happen between the question and our change, whose version would hide it.
    const Reachability* known = source->reachability();
    is_certain = known == nullptr || !known->may_change_late(*state.source);
    if (!state.has_content) {
      state.absent_xattrs = {};  // a foreign change of them may hide behind the version that ours leads to
      node.turns.open_group(turn.turn(), *options.clock);
      return start;
    }
  }
  // Our change will give the file a new version. What is cached can be carried over to it only if it is of
  // the version right before; the window that remains is this request and the change itself.
  const Result<Attributes> before = ask_attributes(node, file, caller);
  start.size_known = is_certain && before && before->version == version;
  {
    MutexLock lock(node.mutex);
    node.turns.open_group(turn.turn(), *options.clock);
    if (start.size_known) {
      node.state.confirmed_in = start.generation;
      return start;
    }
    // It was changed, or may be: whoever opens it from now on must not be given what is cached.
    node.state.bump_generation();
    start.generation = node.state.generation;
  }
  forget_content(node, Cause::foreign);
  return start;
}

void CacheFs::Impl::end_change(FileTurn& turn, const ChangeStart& start, const ChangeEnd& end) {
  CacheNode& node = turn.node();
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
    const bool newest = end.asked.sequence > state.last_observation;
    // By an invalidation, or the removal of a name.
    const bool overtaken = !newest && state.checked_at == MonotonicTime::min();
    state.last_change = now.sequence;
    if (!end.after) {
      state.forget(now.sequence);
    } else if (newest || overtaken) {
      constexpr uint32_t kSetIdBits = 06000;
      set_id_dropped = state.known && (state.attributes.mode & ~end.after->mode & kSetIdBits) != 0;
      state.known = true;
      state.attributes = *end.after;
      state.seen_at = end.asked.time;
      state.retry_at = MonotonicTime::min();
      state.version_seen_at = now.time;
      if (newest) {
        state.last_observation = end.asked.sequence;
        state.renew_without_check(end.asked.time);
      }
    }  // else another write of the group has asked later
    if (state.has_content && !settling.shows_every_change()) state.unsettled = true;
    generation = state.generation;
    if (start.in_group && kept && !generation_moved && !set_id_dropped)
      node.turns.leave(turn.turn(), *options.clock);
  }
  expire_statistics();
  // Layers above may have handed them out, and may not know that this change drops them.
  if (set_id_dropped)
    tell_listener([&](CacheListener& listener) { listener.on_attributes_changed(NodeRef(&node)); });
  if (!kept) {
    forget_content(node, Cause::own);
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
  const bool changes_rights = change.mode || change.uid || change.gid;
  const Lockout lockout(*this, changes_rights ? &node : nullptr);
  FileTurn turn(*this, node, FileTurn::Kind::change, &TimeLimits::write);
  if (const auto refused = turn.refused()) return std::unexpected(*refused);
  const Result<NodeRef> source_node = on_source(node);
  if (file == nullptr && !source_node) return std::unexpected(source_node.error());
  const ChangeStart start = begin_change(turn, file, caller);
  const Ticket asked = begin_request();
  Result<Attributes> after = file != nullptr ? file->set_attributes(change, caller)
                                             : source->set_attributes(**source_node, change, caller);
  ChangeEnd end{.asked = asked, .after = after ? std::optional(*after) : std::nullopt};
  // A failed change may have been made in part: only a size matters to what is cached.
  end.kept = !change.size || (after && after->size == *change.size);
  end.new_size = change.size;
  end_change(turn, start, end);
  return after;
}

}  // namespace cachefs
