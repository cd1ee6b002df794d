// Which block leaves the cache when room is needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "cachefs/clock.h"
#include "cachefs/error.h"

namespace cachefs {

/// A place in a shard's table of entries.
enum class SlotIndex : uint32_t {};
inline constexpr SlotIndex kNoSlot{UINT32_MAX};

/// Whether the entry in a slot may leave now: it is neither pinned nor dirty.
using Evictable = std::function<bool(SlotIndex)>;

/// When an entry is to be dropped. Those of one queue have the same time to live.
struct Expiry {
  uint8_t queue = 0;
  MonotonicTime at{};
};

/// Decides on the order of eviction for one shard. Blind: it sees slots, a hash of the key and a weight
/// (bytes), never a key or data; it takes no lock, does no I/O and keeps its nodes in flat arrays indexed by
/// slot. Each call is O(1) amortised. Not thread-safe: the shard's lock is held around each call.
class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;

  /// Room for slots 0 to count - 1, nodes and ghosts. Only called with a count above the current one, or 0
  /// when no slot is in use: then the memory is to be given back.
  virtual void resize(uint32_t count) = 0;
  /// Bytes that resize(count) makes this policy hold, all its arrays included. The caller reserves them
  /// before.
  [[nodiscard]] virtual size_t bytes_for(uint32_t count) const = 0;

  /// An entry is wanted that is not there. Called before victims are asked for to make room for it; whether
  /// on_insert follows is not certain.
  virtual void on_miss(uint64_t /*key_hash*/) {}
  virtual void on_insert(SlotIndex slot, uint64_t key_hash, uint32_t weight) = 0;
  /// After on_insert, and whenever the entry expires at another time than before.
  virtual void on_expiry(SlotIndex /*slot*/, const Expiry& /*expiry*/) {}
  /// In order; late, and some may be missing. Slots are in use, each still by the entry that was hit.
  virtual void on_hits(std::span<const SlotIndex> slots) = 0;
  virtual void on_weight_change(SlotIndex slot, uint32_t weight) = 0;
  /// The entry leaves for another reason than eviction: invalidated, removed, replaced.
  virtual void on_remove(SlotIndex slot) = 0;
  /// The entry leaves because victim() named it.
  virtual void on_evict(SlotIndex slot) = 0;

  /// The entry to evict next among the evictable ones; nothing if there is none.
  virtual std::optional<SlotIndex> victim(const Evictable& evictable) = 0;

  /// Aborts, naming the invariant, if one does not hold.
  virtual void check_invariants() const = 0;
};

/// A row of the registry of policies.
struct EvictionPolicyInfo {
  std::string_view name;     ///< as users write it
  std::string_view summary;  ///< one line for help texts
  std::unique_ptr<EvictionPolicy> (*make)();
};

/// All policies, the default one first.
std::span<const EvictionPolicyInfo> eviction_policies();

/// The row of that name. Errors: einval, naming the nearest valid name.
Result<const EvictionPolicyInfo*> find_eviction_policy(std::string_view name);

}  // namespace cachefs
