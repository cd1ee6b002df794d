// Files to measure with, and plain ways to go over them.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace cachefs::bench {

/// A descriptor that closes itself; the end of the program where it cannot be had.
class Descriptor {
 public:
  explicit Descriptor(const std::string& path, int flags = 0);
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }
  /// Exactly out.size() bytes at `offset`, or the end of the program.
  void read_exactly(uint64_t offset, std::span<std::byte> out) const;
  void write_exactly(uint64_t offset, std::span<const std::byte> data) const;

 private:
  int fd_;
};

/// Pseudo-random bytes, the same each time.
void make_file(const std::string& path, uint64_t size);
void make_sparse_file(const std::string& path, uint64_t size);
/// `count` files of `size` bytes in each of `directories` directories below `root`; returns their paths
/// relative to it.
struct TreeShape {
  int directories = 1;
  int files = 1000;  ///< in each
  uint64_t size = 4096;
};
std::vector<std::string> make_tree(const std::string& root, const TreeShape& shape);

/// Opens, reads to the end and closes.
void read_whole(const std::string& path, std::span<std::byte> buffer);
/// Names in a directory, "." and ".." apart.
uint64_t count_names(const std::string& path);
/// Waits until the newest file below `root` last changed `age_ms` ago, by its change time.
void wait_until_settled(const std::string& root, int age_ms);

/// A small, fast generator: the measured loop is not to measure it.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2 + 1) {}
  /// `limit`: 2^32 at most.
  uint64_t below(uint64_t limit) {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return (state_ >> 32) * limit >> 32;
  }

 private:
  uint64_t state_;
};

}  // namespace cachefs::bench
