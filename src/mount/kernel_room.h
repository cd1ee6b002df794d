// Where the kernel's newer features are negotiated: between libfuse and the device.
#pragma once

#include <fuse_lowlevel.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "mount/kernel_features.h"

namespace cachefs::mount {

/// Sees what a session reads and writes, and amends the answers to INIT, OPEN and CREATE. Known of the kernel
/// once INIT is answered, which is before there are threads; immutable and thread-safe from then on.
class KernelRoom {
 public:
  explicit KernelRoom(const KernelFeatures& wanted) : wanted_(wanted) {}
  KernelRoom(const KernelRoom&) = delete;
  KernelRoom& operator=(const KernelRoom&) = delete;

  /// Makes a mounted session read and write through this. Errors: enomem.
  int enter(fuse_session* session);

  /// What cannot be used here, whatever the kernel offers. Before INIT is answered.
  void give_up(KernelFeature feature) { wanted_.set(feature, false); }
  /// Features that are no matter of the protocol.
  void found(KernelFeature feature, bool granted);

  [[nodiscard]] bool has(KernelFeature feature) const { return granted_.has(feature); }
  [[nodiscard]] bool wants(KernelFeature feature) const { return wanted_.has(feature); }
  [[nodiscard]] FeatureState state(KernelFeature feature) const {
    return state_of(feature, wanted_, offered_, granted_);
  }

  // Called by the session in place of read(2) and writev(2).
  ssize_t receive(int device, std::span<std::byte> room);
  ssize_t send(int device, std::span<iovec> message);

  /// While it lives, the answer to an open or creation that the calling thread gives has these flags too.
  class AmendedOpen {
   public:
    explicit AmendedOpen(uint32_t open_flags);
    ~AmendedOpen();
    AmendedOpen(const AmendedOpen&) = delete;
    AmendedOpen& operator=(const AmendedOpen&) = delete;
  };

 private:
  KernelFeatures wanted_;
  KernelFeatures offered_;
  KernelFeatures granted_;
  uint64_t init_ = 0;  ///< the request that is to be answered; 0: none is
  bool greeted_ = false;
};

}  // namespace cachefs::mount
