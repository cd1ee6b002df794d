// What statvfs says: kept as long as attributes are, but not for ever.
#include "cachefs/time_limits.h"
#include "core/cache_impl.h"

namespace cachefs {

Result<FileSystemStatistics> CacheFs::Impl::statistics(CacheNode& node) {
  {
    MutexLock lock(statistics_mutex_);
    if (statistics_ && remaining(statistics_asked_.time, options.coherence.statistics_ttl()).count() > 0)
      return *statistics_;
  }
  const Ticket ticket = begin_request();
  const Result<FileSystemStatistics> answer = source->statistics(*node.source());
  MutexLock lock(statistics_mutex_);
  if (!answer && statistics_ && is_unreachable(answer.error()) &&
      presentable(statistics_asked_.time, options.coherence.statistics_ttl())) {
    return *statistics_;
  }
  if (answer && ticket.sequence > statistics_changed_) {
    statistics_ = *answer;
    statistics_asked_ = ticket;
  }
  return answer;
}

void CacheFs::Impl::expire_statistics() {
  const uint64_t now = sequence.fetch_add(1, std::memory_order_acq_rel) + 1;
  MutexLock lock(statistics_mutex_);
  statistics_.reset();
  statistics_changed_ = now;
}

}  // namespace cachefs
