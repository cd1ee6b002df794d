// Buffers by size class from memory that is reserved before it is touched and goes back to the system when it
// is not needed.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/budget.h"
#include "base/mutex.h"

namespace cachefs {

/// A buffer of a SlabPool. A plain handle: whoever holds it gives it back once.
struct SlabBuffer {
  std::byte* data = nullptr;
  uint32_t slab = 0;
  uint8_t size_class = 0;
  uint8_t object = 0;

  explicit operator bool() const { return data != nullptr; }
};

/// Size classes are at most 25 % apart, from 64 bytes to 4 MiB and a page. A slab is the unit of reservation:
/// one buffer of a large class, or up to 64 of a small one; its bytes are in the budget from before it is
/// first touched until its memory is back with the system. Buffers of large classes begin on a page.
/// Thread-safe.
class SlabPool {
 public:
  static constexpr size_t kSmallestClass = 64;
  static constexpr size_t kLargestBuffer = 4U * 1024 * 1024 + 4096;

  /// Keeps at most `spare_bytes` of empty slabs for reuse.
  SlabPool(Budget& budget, uint64_t spare_bytes);
  ~SlabPool();
  SlabPool(const SlabPool&) = delete;
  SlabPool& operator=(const SlabPool&) = delete;

  /// A buffer of at least `size` bytes, content unspecified; an empty handle if the budget has no room: free
  /// others first.
  SlabBuffer allocate(size_t size);
  void free(SlabBuffer buffer);

  /// Bytes that a buffer for `size` bytes really has.
  static size_t capacity_for(size_t size);
  [[nodiscard]] static size_t capacity(const SlabBuffer& buffer);

  /// Gives all empty slabs back to the system and the budget.
  void trim();
  /// Bytes of empty slabs, counted in the budget and ready to be given back.
  [[nodiscard]] uint64_t spare_bytes() const { return spare_bytes_.load(std::memory_order_relaxed); }

  void check_invariants() const;

 private:
  struct SizeClass;
  SizeClass& class_of(uint8_t index) const;
  /// Gives the memory of a detached slab back.
  void discard(SizeClass& of, uint32_t slab);

  Budget& budget_;
  const uint64_t spare_limit_;
  std::atomic<uint64_t> spare_bytes_{0};
  std::vector<std::unique_ptr<SizeClass>> classes_;
};

}  // namespace cachefs
