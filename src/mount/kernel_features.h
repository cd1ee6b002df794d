// What newer kernels offer to a mount, and which of it is used.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <string_view>

namespace cachefs::mount {

enum class KernelFeature : uint8_t {
  killpriv_v2,             ///< whoever serves drops set-id bits: no question before each write (Linux 5.12)
  direct_mmap,             ///< what is read and written past the kernel's pages can be mapped too (6.6)
  parallel_direct_writes,  ///< direct writes to one file at the same time (6.2); with direct_mmap
  parallel_lookups,        ///< look-ups and listings in one directory at the same time (4.7)
  prune,                   ///< the kernel forgets unused files when it is asked to (6.18)
  export_support,          ///< file handles outlive the kernel's memory of the file (2.6.25)
  read_ahead,              ///< more than 128 KiB at once; set by root alone
};
inline constexpr size_t kKernelFeatureCount = 7;

struct KernelFeatureInfo {
  KernelFeature feature;
  std::string_view name;
};
/// In the order in which they are shown.
inline constexpr std::array<KernelFeatureInfo, kKernelFeatureCount> kKernelFeatures{{
    {KernelFeature::killpriv_v2, "killpriv_v2"},
    {KernelFeature::direct_mmap, "direct_mmap"},
    {KernelFeature::parallel_direct_writes, "parallel_direct_writes"},
    {KernelFeature::parallel_lookups, "parallel_lookups"},
    {KernelFeature::prune, "prune"},
    {KernelFeature::export_support, "export_support"},
    {KernelFeature::read_ahead, "read_ahead"},
}};

/// A set of features.
class KernelFeatures {
 public:
  static KernelFeatures all() {
    KernelFeatures features;
    features.bits_.set();
    return features;
  }
  [[nodiscard]] bool has(KernelFeature feature) const { return bits_.test(static_cast<size_t>(feature)); }
  void set(KernelFeature feature, bool to = true) { bits_.set(static_cast<size_t>(feature), to); }
  friend bool operator==(const KernelFeatures&, const KernelFeatures&) = default;

 private:
  std::bitset<kKernelFeatureCount> bits_;
};

/// What became of a feature that was, or was not, wanted.
enum class FeatureState : uint8_t {
  off,  ///< not wanted, or of no use here
  on,
  not_offered,  ///< wanted, but the kernel does not know it, or does not allow it
};
std::string_view name_of(FeatureState state);

/// What a kernel offered in its INIT request.
struct KernelOffer {
  uint32_t minor = 0;  ///< of the protocol 7.x
  uint64_t flags = 0;  ///< flags2 in the upper half
};

/// The features that a kernel offers by protocol. read_ahead is no matter of the protocol: never among them.
KernelFeatures offered_by(const KernelOffer& offer);

/// The part of `wanted` that is offered and can be used: parallel_direct_writes only with direct_mmap, for
/// what is opened with O_DIRECT could else no longer be mapped.
KernelFeatures granted(const KernelFeatures& wanted, const KernelFeatures& offered);

/// Whether `feature` is on, given what is wanted, offered and granted.
FeatureState state_of(KernelFeature feature, const KernelFeatures& wanted, const KernelFeatures& offered,
                      const KernelFeatures& granted);

}  // namespace cachefs::mount
