#include "core/path_ttls.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <mutex>

#include "cachefs/path_operations.h"

namespace cachefs {
namespace {

constexpr std::string_view kAnyDepth = "**";

std::unexpected<Error> refuse(std::string_view pattern, std::string_view why) {
  return fail(std::errc::invalid_argument, fmt::format("path pattern '{}': {}", pattern, why));
}

std::vector<std::string> split(std::string_view pattern) {
  std::vector<std::string> parts;
  while (!pattern.empty()) {
    const size_t end = std::min(pattern.find('/'), pattern.size());
    if (end > 0 && pattern.substr(0, end) != ".") parts.emplace_back(pattern.substr(0, end));
    pattern.remove_prefix(std::min(end + 1, pattern.size()));
  }
  return parts;
}

}  // namespace

Result<void> PathTtls::add(std::string_view pattern, std::chrono::nanoseconds ttl) {
  const std::vector<std::string> parts = split(pattern);
  if (parts.empty()) return refuse(pattern, "it names no file; write it as /static/*");
  if (std::ranges::find(parts, "..") != parts.end()) return refuse(pattern, "'..' leads nowhere");
  if (ttl.count() <= 0) return refuse(pattern, "its time to live must be above 0");
  const std::unique_lock lock(mutex_);
  if (std::ranges::find(texts_, pattern) != texts_.end())
    return refuse(pattern, "it has a time to live already");
  if (components_.size() + parts.size() > kComponentsMax) {
    return refuse(pattern,
                  fmt::format("all patterns together may have {} components; take fewer or shorter ones",
                              kComponentsMax));
  }
  texts_.emplace_back(pattern);
  const auto number = static_cast<uint8_t>(texts_.size());
  ttls_[number - 1] = ttl.count();
  const size_t first = components_.size();
  for (const std::string& part : parts)
    components_.push_back({.text = part, .pattern = number, .last = false});
  components_.back().last = true;
  start_ |= bits_from(first);
  patterns_.store(texts_.size(), std::memory_order_release);
  return {};
}

uint64_t PathTtls::bits_from(size_t component) const {
  uint64_t bits = uint64_t{1} << component;
  while (components_[component].text == kAnyDepth && !components_[component].last)
    bits |= uint64_t{1} << ++component;
  return bits;
}

PathMatch PathTtls::start() const {
  const std::shared_lock lock(mutex_);
  return PathMatch{start_};
}

PathTtls::Step PathTtls::step(PathMatch directory, std::string_view name) const {
  const std::shared_lock lock(mutex_);
  uint64_t below = 0;
  uint8_t pattern = 0;
  for (auto left = static_cast<uint64_t>(directory); left != 0; left &= left - 1) {
    const auto at = static_cast<size_t>(std::countr_zero(left));
    const Component& component = components_[at];
    const bool any_depth = component.text == kAnyDepth;
    if (!any_depth && !matches_component(component.text, name)) continue;
    if (component.last) pattern = shorter(pattern, component.pattern);
    if (any_depth)
      below |= bits_from(at);
    else if (!component.last)
      below |= bits_from(at + 1);
  }
  return {.below = PathMatch{below}, .pattern = pattern};
}

uint8_t PathTtls::shorter(uint8_t a, uint8_t b) const {
  if (a == 0 || b == 0) return std::max(a, b);
  return ttl(b) < ttl(a) ? b : a;
}

}  // namespace cachefs
