#include "core/node.h"

#include "core/node_table.h"

namespace cachefs {

Observed CacheNode::observe(const Attributes& attributes, const Ticket& ticket, MonotonicTime received,
                            Purpose purpose, const Settling& settling) {
  MutexLock lock(mutex);
  if (ticket.sequence < state.last_change || ticket.sequence < state.last_observation)
    return Observed::ignored;
  if (state.changes_in_progress != 0) return Observed::overlapped;
  state.last_observation = ticket.sequence;
  const bool new_version = !state.known || !(attributes.version == state.attributes.version);
  const bool changed = state.known && new_version;
  if (new_version) state.version_seen_at = received;  // it may have arisen while the answer was on its way
  bool refetch = changed;
  if (purpose == Purpose::check && state.has_content && !changed) {
    refetch = !settling.shows_changes() ||
              (state.unsettled && settling.settled_fetch(attributes.ctime, state.version_seen_at, ticket));
  }
  if (refetch) state.bump_generation();
  state.known = true;
  state.attributes = attributes;
  state.seen_at = ticket.time;
  state.retry_at = MonotonicTime::min();
  if (purpose == Purpose::check) {
    state.checked_at = ticket.time;
  } else {
    state.renew_without_check(ticket.time);
  }
  return refetch ? Observed::changed : Observed::same;
}

void CacheNode::release_last() { table_.release(*this); }

}  // namespace cachefs
