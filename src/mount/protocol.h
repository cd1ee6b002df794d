// Messages between the kernel and libfuse 3.14 that the library does not know all of: read, and amended.
// Numbers are in the machine's own byte order; places are those of the kernel's protocol (7.x).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "mount/kernel_features.h"

namespace cachefs::mount::protocol {

// Features in INIT; from bit 32 on they are in the field flags2.
inline constexpr uint64_t kExportSupport = uint64_t{1} << 4;
inline constexpr uint64_t kParallelDirops = uint64_t{1} << 18;
inline constexpr uint64_t kHandleKillprivV2 = uint64_t{1} << 28;
inline constexpr uint64_t kInitExtension = uint64_t{1} << 30;  ///< there is a flags2
inline constexpr uint64_t kDirectIoAllowMmap = uint64_t{1} << 36;

// What an answer to OPEN or CREATE says of the file.
inline constexpr uint32_t kOpenParallelDirectWrites = 1U << 6;

inline constexpr size_t kRequestHeaderSize = 40;
inline constexpr size_t kReplyHeaderSize = 16;

struct InitRequest {
  uint64_t unique = 0;  ///< the number by which the answer is known
  KernelOffer offer;
};
/// Reads a whole request, header included; nothing if it is no INIT of protocol 7.
std::optional<InitRequest> read_init(std::span<const std::byte> request);

/// Whether a reply's header is of an answer without error to the request `unique`.
bool is_answer_to(std::span<const std::byte> reply_header, uint64_t unique);

/// Adds what is granted to the body of an answer to INIT. False, and nothing changed, if the body has no room
/// for it (a kernel that offers anything of it reads 64 bytes).
bool amend_init_reply(std::span<std::byte> body, const KernelFeatures& granted);

/// Adds flags to the body of an answer to OPEN (16 bytes) or CREATE (144). False, and nothing changed, for a
/// body of another size.
bool amend_open_reply(std::span<std::byte> body, uint32_t open_flags);

}  // namespace cachefs::mount::protocol
