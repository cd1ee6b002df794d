// Any number of concurrent requests for one thing make one request.
#pragma once

#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/mutex.h"

namespace cachefs {

/// One request under way. Whoever did not begin it may wait for its end, each for itself.
template <typename Value>
class Flight {
 public:
  /// Waits for the end; nothing if the leader had no value for the others: each asks for itself.
  std::optional<Value> wait() {
    MutexLock lock(mutex_);
    while (!done_) ended_.wait(mutex_);
    return value_;
  }
  void finish(std::optional<Value> value) {
    MutexLock lock(mutex_);
    value_ = std::move(value);
    done_ = true;
    ended_.notify_all();
  }

 private:
  Mutex mutex_;
  ConditionVariable ended_;
  bool done_ GUARDED_BY(mutex_) = false;
  std::optional<Value> value_ GUARDED_BY(mutex_);
};

/// Thread-safe; its lock is never held while anything else is done.
template <typename Key, typename Value, typename Hash>
class SingleFlight {
 public:
  struct Place {
    std::shared_ptr<Flight<Value>> flight;
    bool leads = false;
  };

  /// Joins the flight of that key or begins one. Who leads must end() it, whatever happens.
  Place join(const Key& key) {
    MutexLock lock(mutex_);
    auto [at, leads] = flights_.try_emplace(key);
    if (leads) at->second = std::make_shared<Flight<Value>>();
    return {at->second, leads};
  }

  /// After what the flight brought can be found by everyone: who comes later begins a new flight or finds it.
  void end(const Key& key, std::optional<Value> value) {
    std::shared_ptr<Flight<Value>> flight;
    {
      MutexLock lock(mutex_);
      const auto at = flights_.find(key);
      flight = std::move(at->second);
      flights_.erase(at);
    }
    flight->finish(std::move(value));
  }

  [[nodiscard]] bool idle() {
    MutexLock lock(mutex_);
    return flights_.empty();
  }

 private:
  Mutex mutex_;
  std::unordered_map<Key, std::shared_ptr<Flight<Value>>, Hash> flights_ GUARDED_BY(mutex_);
};

}  // namespace cachefs
