// The bytes of one file of MemFs: pages of 4 KiB, holes between them.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>

namespace cachefs::mem {

inline constexpr uint64_t kPageSize = 4096;
inline constexpr uint64_t kFileSizeMax = INT64_MAX;

/// How many pages a file system may still take. Thread-safe.
class Space {
 public:
  explicit Space(uint64_t capacity_pages) : capacity_(capacity_pages) {}

  /// All of `pages` or none.
  bool take(uint64_t pages);
  void give_back(uint64_t pages) { used_.fetch_sub(pages, std::memory_order_relaxed); }
  [[nodiscard]] uint64_t capacity() const { return capacity_; }
  [[nodiscard]] uint64_t used() const { return used_.load(std::memory_order_relaxed); }

 private:
  const uint64_t capacity_;
  std::atomic<uint64_t> used_{0};
};

using Page = std::array<std::byte, kPageSize>;

/// By index. A page without memory is reserved: it counts as taken, and reads as zeros.
using Pages = std::map<uint64_t, std::unique_ptr<Page>>;

/// Knows nothing of the file's size: reads zeros wherever nothing was written. Not thread-safe. Functions
/// that drop pages hand them out, so that the caller frees the memory outside its lock.
class SparseData {
 public:
  explicit SparseData(Space& space) : space_(space) {}
  SparseData(const SparseData&) = delete;
  SparseData& operator=(const SparseData&) = delete;
  ~SparseData() { space_.give_back(pages_.size()); }

  void read(uint64_t offset, std::span<std::byte> out) const;

  /// Returns the bytes written: fewer than asked once there is no space left.
  size_t write(uint64_t offset, std::span<const std::byte> data);

  /// Takes the space of the range without writing. False, and nothing taken, if there is not enough.
  bool reserve(uint64_t offset, uint64_t length);

  /// Makes the range read as zeros; pages wholly inside become holes.
  [[nodiscard]] Pages discard(uint64_t offset, uint64_t length);

  /// Makes [target_offset, +length) equal to the range of `source`, holes included. Returns the bytes copied,
  /// fewer once there is no space left. The ranges must not overlap within one file.
  uint64_t copy_from(const SparseData& source, uint64_t offset, uint64_t target_offset, uint64_t length,
                     Pages& dropped);

  /// The first byte at or after `offset` that lies in a written page.
  [[nodiscard]] std::optional<uint64_t> next_data(uint64_t offset) const;
  /// The first byte at or after `offset` that lies in none.
  [[nodiscard]] uint64_t next_hole(uint64_t offset) const;

  [[nodiscard]] uint64_t page_count() const { return pages_.size(); }

 private:
  /// The page's memory, made if it has none; null if there is no space.
  Page* writable_page(uint64_t index);
  void zero_within(uint64_t index, size_t begin, size_t end);

  Space& space_;
  Pages pages_;
};

}  // namespace cachefs::mem
