// How old an answer from the cache may be.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "cachefs/error.h"

namespace cachefs {

enum class CoherenceMode : uint8_t {
  strict,         ///< every look-up, stat, opendir and open asks the source
  close_to_open,  ///< every open and opendir asks the source once; names and attributes are at most
                  ///< attribute_ttl old
  ttl,            ///< nothing is asked again within ttl
  immutable,      ///< nothing that is known is asked again, names that do not exist included
};

/// When the time begins for which data is kept.
enum class TtlStart : uint8_t {
  insert,    ///< when it was read from the source: fixed
  last_use,  ///< anew whenever it is used: sliding
};

/// When the source is asked again. docs/SEMANTICS.md has the table.
struct Coherence {
  CoherenceMode mode = CoherenceMode::close_to_open;
  std::chrono::nanoseconds ttl{0};  ///< mode ttl alone
  std::chrono::nanoseconds attribute_ttl =
      std::chrono::seconds(1);  ///< mode close_to_open; and of statfs in immutable

  static constexpr std::chrono::nanoseconds kForever = std::chrono::nanoseconds::max();

  [[nodiscard]] bool checks_at_open() const {
    return mode == CoherenceMode::strict || mode == CoherenceMode::close_to_open;
  }
  /// How long a name (negative ones too), attributes or a symlink's target are relied upon. 0: each question
  /// is the source's to answer, and no two share an answer. kForever: there is no end.
  [[nodiscard]] std::chrono::nanoseconds metadata_ttl() const;
  /// How long the answer of statfs is: free space changes also where files do not.
  [[nodiscard]] std::chrono::nanoseconds statistics_ttl() const {
    return mode == CoherenceMode::immutable ? attribute_ttl : metadata_ttl();
  }
};

/// "strict", "close-to-open", "ttl=60s" or "immutable". Errors: einval, with a sentence that names the text
/// and shows what is right.
Result<Coherence> parse_coherence(std::string_view text);
std::string format_coherence(const Coherence& coherence);

}  // namespace cachefs
