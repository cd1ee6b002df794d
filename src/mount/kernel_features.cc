#include "mount/kernel_features.h"

#include "mount/protocol.h"

namespace cachefs::mount {
namespace {

/// Where FOPEN_PARALLEL_DIRECT_WRITES, which no flag offers, came to be known.
constexpr uint32_t kMinorOfParallelDirectWrites = 38;
/// Likewise the message that asks to forget.
constexpr uint32_t kMinorOfPrune = 45;

}  // namespace

std::string_view name_of(FeatureState state) {
  switch (state) {
    case FeatureState::off:
      return "off";
    case FeatureState::on:
      return "on";
    case FeatureState::not_offered:
      break;
  }
  return "not offered";
}

KernelFeatures offered_by(const KernelOffer& offer) {
  KernelFeatures features;
  features.set(KernelFeature::killpriv_v2, (offer.flags & protocol::kHandleKillprivV2) != 0);
  features.set(KernelFeature::direct_mmap, (offer.flags & protocol::kDirectIoAllowMmap) != 0);
  features.set(KernelFeature::parallel_direct_writes, offer.minor >= kMinorOfParallelDirectWrites);
  features.set(KernelFeature::prune, offer.minor >= kMinorOfPrune);
  features.set(KernelFeature::parallel_lookups, (offer.flags & protocol::kParallelDirops) != 0);
  features.set(KernelFeature::export_support, (offer.flags & protocol::kExportSupport) != 0);
  return features;
}

KernelFeatures granted(const KernelFeatures& wanted, const KernelFeatures& offered) {
  KernelFeatures features;
  for (const KernelFeatureInfo& info : kKernelFeatures)
    features.set(info.feature, wanted.has(info.feature) && offered.has(info.feature));
  if (!features.has(KernelFeature::direct_mmap)) features.set(KernelFeature::parallel_direct_writes, false);
  return features;
}

FeatureState state_of(KernelFeature feature, const KernelFeatures& wanted, const KernelFeatures& offered,
                      const KernelFeatures& granted) {
  if (granted.has(feature)) return FeatureState::on;
  return wanted.has(feature) && !offered.has(feature) ? FeatureState::not_offered : FeatureState::off;
}

}  // namespace cachefs::mount
