// How much a random test does, and where its randomness comes from.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string_view>

namespace cachefs::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
#else
inline constexpr bool kSanitized = false;
#endif

/// CACHEFS_TEST_SEED, else 1. Printed, so that a failure can be repeated.
inline uint64_t seed() {
  const char* text = std::getenv("CACHEFS_TEST_SEED");
  const uint64_t value = text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
  std::cout << "CACHEFS_TEST_SEED=" << value << '\n';
  return value;
}

#if defined(__OPTIMIZE__)
inline constexpr bool kOptimized = true;
#else
inline constexpr bool kOptimized = false;
#endif

/// `count` operations; a tenth of it under sanitizers or without optimisation, ten times as many with
/// CACHEFS_TEST_SCALE=full.
inline int scaled(int count) {
  const char* scale = std::getenv("CACHEFS_TEST_SCALE");
  if (scale != nullptr && std::string_view(scale) == "full") count *= 10;
  return kSanitized || !kOptimized ? count / 10 : count;
}

}  // namespace cachefs::test
