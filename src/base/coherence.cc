#include "cachefs/coherence.h"

#include <fmt/format.h>

#include <chrono>

#include "cachefs/units.h"

namespace cachefs {

std::chrono::nanoseconds Coherence::metadata_ttl() const {
  switch (mode) {
    case CoherenceMode::strict:
      return std::chrono::nanoseconds(0);
    case CoherenceMode::close_to_open:
      return attribute_ttl;
    case CoherenceMode::ttl:
      return ttl;
    case CoherenceMode::immutable:
      return kForever;
  }
  return {};  // not reached: the compiler sees that each mode is there
}

Result<Coherence> parse_coherence(std::string_view text) {
  constexpr std::string_view kTtlPrefix = "ttl=";
  if (text == "strict") return Coherence{.mode = CoherenceMode::strict};
  if (text == "close-to-open") return Coherence{};
  if (text == "immutable") return Coherence{.mode = CoherenceMode::immutable};
  if (text.starts_with(kTtlPrefix)) {
    const auto ttl = parse_duration(text.substr(kTtlPrefix.size()));
    if (!ttl) return std::unexpected(ttl.error());
    return Coherence{.mode = CoherenceMode::ttl, .ttl = *ttl};
  }
  return fail(
      std::errc::invalid_argument,
      fmt::format("'{}' is not a coherence mode; use strict, close-to-open, immutable, or ttl=DURATION "
                  "like ttl=60s",
                  text));
}

std::string format_coherence(const Coherence& coherence) {
  using namespace std::chrono_literals;
  if (coherence.mode == CoherenceMode::strict) return "strict";
  if (coherence.mode == CoherenceMode::close_to_open) return "close-to-open";
  if (coherence.mode == CoherenceMode::immutable) return "immutable";
  const std::chrono::nanoseconds ttl = coherence.ttl;
  if (ttl % 1s == 0s) return fmt::format("ttl={}s", ttl / 1s);
  if (ttl % 1ms == 0s) return fmt::format("ttl={}ms", ttl / 1ms);
  return fmt::format("ttl={}ns", ttl / 1ns);
}

}  // namespace cachefs
