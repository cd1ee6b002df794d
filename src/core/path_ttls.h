// Which times to live apply to a path, by patterns, without paths being kept.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "cachefs/error.h"

namespace cachefs {

/// How far each pattern has been matched by the path of a directory: a bit for each component of each pattern
/// that may come next.
enum class PathMatch : uint64_t {};

/// Thread-safe. Patterns are only added.
class PathTtls {
 public:
  /// All patterns together.
  static constexpr size_t kComponentsMax = 64;

  /// "*", "?" and "[...]" within a component, "**" for any number of components. Errors: einval, naming the
  /// pattern and what is wrong.
  Result<void> add(std::string_view pattern, std::chrono::nanoseconds ttl);

  [[nodiscard]] bool empty() const { return patterns_.load(std::memory_order_acquire) == 0; }
  /// Of the root.
  [[nodiscard]] PathMatch start() const;
  struct Step {
    PathMatch below{};    ///< of the name, should it be a directory
    uint8_t pattern = 0;  ///< the pattern of the shortest time to live that matches it, from 1; 0: none does
  };
  /// Of that name in a directory of that match.
  [[nodiscard]] Step step(PathMatch directory, std::string_view name) const;
  /// `pattern` is one from step().
  [[nodiscard]] std::chrono::nanoseconds ttl(uint8_t pattern) const {
    return std::chrono::nanoseconds(ttls_[pattern - 1].load(std::memory_order_relaxed));
  }
  /// Which of two, either perhaps 0, has the shorter time to live.
  [[nodiscard]] uint8_t shorter(uint8_t a, uint8_t b) const;

 private:
  struct Component {
    std::string text;
    uint8_t pattern;
    bool last;
  };
  /// The bit of that component, and of what "**" lets come at once after it.
  [[nodiscard]] uint64_t bits_from(size_t component) const;

  mutable std::shared_mutex mutex_;
  std::vector<Component> components_;
  std::vector<std::string> texts_;  ///< the patterns, as they were given
  uint64_t start_ = 0;
  std::atomic<size_t> patterns_{0};
  std::array<std::atomic<int64_t>, kComponentsMax> ttls_{};
};

}  // namespace cachefs
