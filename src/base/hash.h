// Hashes of what keys are made of.
#pragma once

#include <xxhash.h>

#include <cstdint>
#include <string_view>

namespace cachefs {

/// Spreads every bit of `value` over all bits (the finaliser of MurmurHash3, Appleby).
constexpr uint64_t mix64(uint64_t value) {
  value ^= value >> 33;
  value *= 0xFF51AFD7ED558CCDULL;
  value ^= value >> 33;
  value *= 0xC4CEB9FE1A85EC53ULL;
  return value ^ (value >> 33);
}

constexpr uint64_t combine_hashes(uint64_t a, uint64_t b) { return mix64(a ^ (b * 0x9E3779B97F4A7C15ULL)); }

inline uint64_t hash_bytes(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

}  // namespace cachefs
