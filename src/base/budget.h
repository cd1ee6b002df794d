// One exact account of bytes under a hard limit.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "base/check.h"

namespace cachefs {

/// Bytes are reserved before they are used and released after, so that used() is at most limit() at every
/// instant. Thread-safe, lock-free. A budget may be a part of another one: then both must have room.
class Budget {
 public:
  explicit Budget(uint64_t limit, Budget* whole = nullptr) : limit_(limit), whole_(whole) {}
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  [[nodiscard]] bool try_reserve(uint64_t bytes) {
    uint64_t used = used_.load(std::memory_order_relaxed);
    do {
      if (bytes > limit_ - used) return false;
    } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_acq_rel));
    if (whole_ == nullptr || whole_->try_reserve(bytes)) return true;
    used_.fetch_sub(bytes, std::memory_order_acq_rel);
    return false;
  }

  void release(uint64_t bytes) {
    if (whole_ != nullptr) whole_->release(bytes);
    const uint64_t before = used_.fetch_sub(bytes, std::memory_order_acq_rel);
    CACHEFS_CHECK(before >= bytes, "Budget: more released than reserved");
  }

  [[nodiscard]] uint64_t used() const { return used_.load(std::memory_order_acquire); }
  [[nodiscard]] uint64_t limit() const { return limit_; }

 private:
  const uint64_t limit_;
  Budget* const whole_;
  std::atomic<uint64_t> used_{0};
};

/// Bytes reserved in a Budget, given back when it goes out of scope. Movable; not thread-safe by itself.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& other) noexcept
      : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Reservation& operator=(Reservation&& other) noexcept {
    if (this != &other) {
      reset();
      budget_ = std::exchange(other.budget_, nullptr);
      bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
  }
  ~Reservation() { reset(); }

  /// Holds `bytes` of `budget`, or nothing if there is no room.
  static Reservation of(Budget& budget, uint64_t bytes) {
    Reservation reservation;
    if (budget.try_reserve(bytes)) {
      reservation.budget_ = &budget;
      reservation.bytes_ = bytes;
    }
    return reservation;
  }

  explicit operator bool() const { return budget_ != nullptr; }
  [[nodiscard]] uint64_t bytes() const { return bytes_; }
  void reset() {
    if (budget_ != nullptr) budget_->release(bytes_);
    budget_ = nullptr;
    bytes_ = 0;
  }

 private:
  Budget* budget_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace cachefs
