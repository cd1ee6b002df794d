#include "vfs/given_up.h"

namespace cachefs {

GivenUp::Ticket GivenUp::add(const RequestSubject& subject) {
  MutexLock lock(mutex_);
  requests_.push_front({NodeRef(subject.node), std::string(subject.name), subject.bytes});
  bytes_.fetch_add(subject.bytes, std::memory_order_acq_rel);
  count_.store(requests_.size(), std::memory_order_release);
  return requests_.cbegin();
}

void GivenUp::remove(Ticket ticket) {
  std::list<Request> removed;  // its node is let go of after the lock
  MutexLock lock(mutex_);
  removed.splice(removed.begin(), requests_, ticket);
  bytes_.fetch_sub(removed.front().bytes, std::memory_order_acq_rel);
  count_.store(requests_.size(), std::memory_order_release);
}

bool GivenUp::has_too_many(const RequestSubject& subject) const {
  if (subject.node == nullptr || count() < kOfOneMax) return false;
  uint32_t same = 0;
  uint32_t names = 0;
  MutexLock lock(mutex_);
  for (const Request& request : requests_) {
    if (request.node.get() != subject.node) continue;
    if (request.name == subject.name) ++same;
    if (!request.name.empty()) ++names;
  }
  return same >= kOfOneMax || (!subject.name.empty() && names >= kBelowOneMax);
}

}  // namespace cachefs
