// Counters that many threads bump without sharing a cache line.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace cachefs {

/// The stripe of the calling thread: threads are dealt out in turn.
inline uint32_t thread_stripe() {
  static std::atomic<uint32_t> next{0};
  thread_local uint32_t mine = next.fetch_add(1, std::memory_order_relaxed);
  return mine;
}

/// `Count` counters, indexed by the enum `Name`. add() is one relaxed fetch_add on a line that few threads
/// share; no count is ever lost. sum() is exact once the adding threads are done. reset() sets the zero point
/// and disturbs nobody.
template <typename Name, uint32_t Count>
class StripedCounters {
 public:
  void add(Name name, uint64_t amount = 1) {
    stripes_[thread_stripe() % kStripes].values[index(name)].fetch_add(amount, std::memory_order_relaxed);
  }
  [[nodiscard]] uint64_t sum(Name name) const {
    return total(name) - zero_[index(name)].load(std::memory_order_relaxed);
  }
  void reset() {
    for (uint32_t i = 0; i < Count; ++i)
      zero_[i].store(total(static_cast<Name>(i)), std::memory_order_relaxed);
  }

 private:
  static constexpr uint32_t kStripes = 16;
  static constexpr size_t kCacheLine = 64;
  struct alignas(kCacheLine) Stripe {
    std::array<std::atomic<uint64_t>, Count> values{};
  };

  static constexpr uint32_t index(Name name) { return static_cast<uint32_t>(name); }
  [[nodiscard]] uint64_t total(Name name) const {
    uint64_t all = 0;
    for (const Stripe& stripe : stripes_) all += stripe.values[index(name)].load(std::memory_order_relaxed);
    return all;
  }

  std::array<Stripe, kStripes> stripes_{};
  std::array<std::atomic<uint64_t>, Count> zero_{};
};

}  // namespace cachefs
