// What the cache asks of its source, counted.
#pragma once

#include <atomic>
#include <cstdint>

#include "cachefs/decorators.h"

namespace cachefs {

/// Counts requests. What the source would refuse without asking anybody, since it cannot be reached, is
/// refused here, and counted apart; not so what gives locks back, which the source keeps for later.
/// Thread-safe.
class SourceRequests final : public OperationHook {
 public:
  /// `source`: null if it has none.
  explicit SourceRequests(const Reachability* source) : source_(source) {}

  Result<void> before(Operation operation, uint64_t bytes) override {
    const bool is_never_lost = operation == Operation::release_lock;
    if (auto refusal = source_ != nullptr && !is_never_lost ? source_->refusal() : std::nullopt) {
      if (!is_part_of_closing(operation)) refused_.fetch_add(1, std::memory_order_relaxed);
      return std::unexpected(std::move(*refusal));
    }
    return sent_.before(operation, bytes);
  }
  void after(Operation operation, uint64_t bytes, bool ok) override { sent_.after(operation, bytes, ok); }

  [[nodiscard]] const OperationCounter& sent() const { return sent_; }
  [[nodiscard]] uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }
  void reset() {
    sent_.reset();
    refused_.store(0, std::memory_order_relaxed);
  }

 private:
  const Reachability* const source_;
  OperationCounter sent_;
  std::atomic<uint64_t> refused_{0};
};

}  // namespace cachefs
