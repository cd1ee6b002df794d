// How old an answer from the cache may be.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "cachefs/error.h"

namespace cachefs {

enum class CoherenceMode : uint8_t {
  close_to_open,  ///< every open and opendir asks the source once; names and attributes are at most
                  ///< attribute_ttl old
  ttl,            ///< nothing is asked again within ttl
};

/// When the source is asked again. docs/SEMANTICS.md has the table.
struct Coherence {
  CoherenceMode mode = CoherenceMode::close_to_open;
  std::chrono::nanoseconds ttl{0};  ///< mode ttl alone
  std::chrono::nanoseconds attribute_ttl = std::chrono::seconds(1);

  [[nodiscard]] bool checks_at_open() const { return mode == CoherenceMode::close_to_open; }
  /// How long a name (negative ones too), attributes or a symlink's target are relied upon.
  [[nodiscard]] std::chrono::nanoseconds metadata_ttl() const {
    return mode == CoherenceMode::ttl ? ttl : attribute_ttl;
  }
};

/// "close-to-open" or "ttl=60s". Errors: einval, with a sentence that names the text and shows what is right.
Result<Coherence> parse_coherence(std::string_view text);
std::string format_coherence(const Coherence& coherence);

}  // namespace cachefs
