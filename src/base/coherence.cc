#include "cachefs/coherence.h"

#include <fmt/format.h>

#include "cachefs/units.h"

namespace cachefs {

Result<Coherence> parse_coherence(std::string_view text) {
  constexpr std::string_view kTtlPrefix = "ttl=";
  if (text == "close-to-open") return Coherence{};
  if (text.starts_with(kTtlPrefix)) {
    const auto ttl = parse_duration(text.substr(kTtlPrefix.size()));
    if (!ttl) return std::unexpected(ttl.error());
    return Coherence{.mode = CoherenceMode::ttl, .ttl = *ttl};
  }
  return fail(
      std::errc::invalid_argument,
      fmt::format("'{}' is not a coherence mode; use close-to-open, or ttl=DURATION like ttl=60s", text));
}

std::string format_coherence(const Coherence& coherence) {
  if (coherence.mode == CoherenceMode::close_to_open) return "close-to-open";
  std::string duration = format_duration(coherence.ttl);
  std::erase(duration, ' ');
  return "ttl=" + duration;
}

}  // namespace cachefs
