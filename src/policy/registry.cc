#include "policy/registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

namespace cachefs {
namespace {

constexpr std::array<EvictionPolicyInfo, 15> kPolicies{{
    {"lru", "evicts what was used least recently", make_lru},
    {"fifo", "evicts what came first", make_fifo},
    {"clock", "first in, first out; what was hit gets a second chance", make_clock},
    {"slru", "LRU, with a protected part for what was hit", make_slru},
    {"2q", "a queue for what is new, an LRU for what comes back", make_two_q},
    {"arc", "an LRU of what was used once and one of what was used again", make_arc},
    {"lirs", "keeps what was used twice within a short time", make_lirs},
    {"sieve", "a hand evicts what was not hit since it last came by", make_sieve},
    {"s3-fifo", "three queues; what is not hit twice leaves early", make_s3_fifo},
    {"qd-lp-fifo", "three queues; what is not hit leaves early", make_qd_lp_fifo},
    {"w-tinylfu", "admits what was seen more often than who would leave", make_w_tiny_lfu},
    {"lfu", "evicts what was used least often, with ageing", make_lfu},
    {"gdsf", "least often used for its size, with ageing", make_gdsf},
    {"hybrid", "frequency, age and recency, kept close to LRU at least", make_hybrid},
    {"ttl", "evicts what expires first; what never does as LRU", make_ttl},
}};

/// Levenshtein's distance.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, substituted}));
    }
  }
  return row.back();
}

}  // namespace

std::span<const EvictionPolicyInfo> eviction_policies() { return kPolicies; }

Result<const EvictionPolicyInfo*> find_eviction_policy(std::string_view name) {
  const EvictionPolicyInfo* nearest = kPolicies.data();
  for (const EvictionPolicyInfo& policy : kPolicies) {
    if (policy.name == name) return &policy;
    if (edit_distance(policy.name, name) < edit_distance(nearest->name, name)) nearest = &policy;
  }
  return fail(std::errc::invalid_argument,
              fmt::format("'{}' is not an eviction policy; did you mean '{}'?", name, nearest->name));
}

}  // namespace cachefs
