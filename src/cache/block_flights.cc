#include "cache/block_flights.h"

#include <algorithm>

#include "base/check.h"

namespace cachefs {

BlockFlights::Share BlockFlights::join(const BlockFlightKey& key, ByteRange wanted) {
  Share share;
  const uint32_t end = wanted.end_unit() * kUnit;
  MutexLock lock(mutex_);
  std::vector<UnderWay>& others = flights_[key];
  const size_t known = others.size();
  for (uint32_t at = wanted.first_unit() * kUnit; at < end;) {
    uint32_t free_until = end;
    const UnderWay* covering = nullptr;
    for (size_t i = 0; i < known; ++i) {
      const ByteRange& range = others[i].range;
      if (range.begin <= at && at < range.end) covering = &others[i];
      if (range.begin > at) free_until = std::min(free_until, range.begin);
    }
    if (covering != nullptr) {
      share.awaited.push_back(covering->flight);
      at = covering->range.end;
    } else {
      share.led.push_back({at, free_until});
      at = free_until;
    }
  }
  for (const ByteRange& range : share.led) {
    others.push_back({range, std::make_shared<Flight<FetchEnd>>()});
  }
  return share;
}

void BlockFlights::end(const BlockFlightKey& key, ByteRange led, FetchEnd how) {
  std::shared_ptr<Flight<FetchEnd>> flight;
  {
    MutexLock lock(mutex_);
    const auto block = flights_.find(key);
    CACHEFS_CHECK(block != flights_.end(), "F2: what is ended is under way");
    std::vector<UnderWay>& ranges = block->second;
    const auto at = std::ranges::find_if(ranges, [&](const UnderWay& one) {
      return one.range.begin == led.begin && one.range.end == led.end;
    });
    CACHEFS_CHECK(at != ranges.end(), "F2: what is ended is under way");
    flight = std::move(at->flight);
    ranges.erase(at);
    if (ranges.empty()) flights_.erase(block);
  }
  flight->finish(std::move(how));
}

bool BlockFlights::idle() const {
  MutexLock lock(mutex_);
  return flights_.empty();
}

}  // namespace cachefs
