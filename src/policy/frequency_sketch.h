// How often a key was seen lately, roughly.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "base/hash.h"

namespace cachefs {

/// A count-min sketch of 4-bit counters with conservative ageing: after ten uses for each entry that the
/// cache has room for, all counts are halved. 8 bytes for each entry.
///
/// Einziger, Friedman and Manes, TinyLFU: A Highly Efficient Cache Admission Policy, ACM ToS 13(4), 2017.
class FrequencySketch {
 public:
  void resize(uint32_t count) {
    words_ = std::vector<uint64_t>(words_for(count));
    uses_ = 0;
    uses_max_ = uint64_t{10} * count;
  }
  static size_t bytes_for(uint32_t count) { return words_for(count) * sizeof(uint64_t); }

  void note(uint64_t hash) {
    bool grew = false;
    for (uint32_t row = 0; row < kRows; ++row) {
      const Place place = place_of(hash, row);
      if ((words_[place.word] >> place.shift & 15) == 15) continue;
      words_[place.word] += uint64_t{1} << place.shift;
      grew = true;
    }
    if (grew && ++uses_ >= uses_max_) halve();
  }
  [[nodiscard]] uint32_t count(uint64_t hash) const {
    uint32_t least = 15;
    for (uint32_t row = 0; row < kRows; ++row) {
      const Place place = place_of(hash, row);
      least = std::min(least, static_cast<uint32_t>(words_[place.word] >> place.shift & 15));
    }
    return least;
  }

 private:
  static constexpr uint32_t kRows = 4;
  struct Place {
    size_t word;
    uint32_t shift;
  };
  static size_t words_for(uint32_t count) { return count == 0 ? 0 : std::bit_ceil(std::max(count, 8U)); }
  /// A word has sixteen counters, four for each row.
  [[nodiscard]] Place place_of(uint64_t hash, uint32_t row) const {
    const uint64_t spread = mix64(hash + row * 0x9E3779B97F4A7C15ULL);
    return {.word = spread & (words_.size() - 1),
            .shift = (row * 4 + static_cast<uint32_t>(spread >> 62)) * 4};
  }
  void halve() {
    constexpr uint64_t kWithoutTopBits = 0x7777777777777777ULL;
    for (uint64_t& word : words_) word = word >> 1 & kWithoutTopBits;
    uses_ /= 2;
  }

  std::vector<uint64_t> words_;
  uint64_t uses_ = 0;
  uint64_t uses_max_ = 0;
};

}  // namespace cachefs
