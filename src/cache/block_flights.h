// Concurrent fetches of one block: each unit is fetched by one of them, the others wait for it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "cache/block.h"
#include "cache/single_flight.h"
#include "cachefs/error.h"

namespace cachefs {

/// What a fetch came to, for those who waited for it.
struct FetchEnd {
  bool kept = false;           ///< what it brought is in the cache, or was for a moment
  std::optional<Error> error;  ///< of the source, and no concern of the fetcher alone
};

/// A block as it is fetched: a fetch from before a change of ours serves nobody who came after it.
struct BlockFlightKey {
  BlockKey block;
  uint64_t last_change = 0;
  friend bool operator==(const BlockFlightKey&, const BlockFlightKey&) = default;
};

/// Thread-safe; its lock is never held while anything else is done.
///
/// Invariant F1: the ranges under way of one block do not overlap.
class BlockFlights {
 public:
  struct Share {
    std::vector<ByteRange> led;  ///< whole units; each must be ended, whatever happens
    std::vector<std::shared_ptr<Flight<FetchEnd>>> awaited;
  };

  /// Divides `wanted` into what others fetch already, and what the caller shall.
  Share join(const BlockFlightKey& key, ByteRange wanted) EXCLUDES(mutex_);
  /// Ends a range that join() gave: after what was fetched can be found by everyone.
  void end(const BlockFlightKey& key, ByteRange led, FetchEnd how) EXCLUDES(mutex_);
  [[nodiscard]] bool idle() const EXCLUDES(mutex_);

 private:
  struct Hash {
    size_t operator()(const BlockFlightKey& key) const noexcept {
      return combine_hashes(hash_of(key.block), key.last_change);
    }
  };
  struct UnderWay {
    ByteRange range;
    std::shared_ptr<Flight<FetchEnd>> flight;
  };

  mutable Mutex mutex_;
  std::unordered_map<BlockFlightKey, std::vector<UnderWay>, Hash> flights_ GUARDED_BY(mutex_);
};

}  // namespace cachefs
