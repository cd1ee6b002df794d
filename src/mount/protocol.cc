#include "mount/protocol.h"

#include <cstring>

namespace cachefs::mount::protocol {
namespace {

constexpr uint32_t kOpcodeOfInit = 26;
// In a request.
constexpr size_t kOpcodeAt = 4;
constexpr size_t kUniqueAt = 8;
// In the body of INIT.
constexpr size_t kMajorAt = 0;
constexpr size_t kMinorAt = 4;
constexpr size_t kRequestFlagsAt = 12;
constexpr size_t kRequestFlags2At = 16;
// In a reply.
constexpr size_t kErrorAt = 4;
// In the body of an answer to INIT.
constexpr size_t kInitReplySize = 64;
constexpr size_t kReplyFlagsAt = 12;
constexpr size_t kReplyFlags2At = 32;
// In the body of an answer to OPEN, and at the end of one to CREATE.
constexpr size_t kOpenReplySize = 16;
constexpr size_t kCreateReplySize = 144;
constexpr size_t kOpenFlagsAt = 8;

template <typename Number>
Number get(std::span<const std::byte> bytes, size_t at) {
  Number number{};
  std::memcpy(&number, bytes.data() + at, sizeof number);
  return number;
}

void add_bits(std::span<std::byte> bytes, size_t at, uint32_t bits) {
  const uint32_t sum = get<uint32_t>(bytes, at) | bits;
  std::memcpy(bytes.data() + at, &sum, sizeof sum);
}

uint64_t init_flags(const KernelFeatures& features) {
  uint64_t flags = 0;
  if (features.has(KernelFeature::killpriv_v2)) flags |= kHandleKillprivV2;
  if (features.has(KernelFeature::direct_mmap)) flags |= kDirectIoAllowMmap;
  if (features.has(KernelFeature::parallel_lookups)) flags |= kParallelDirops;
  if (features.has(KernelFeature::export_support)) flags |= kExportSupport;
  return flags;
}

}  // namespace

std::optional<InitRequest> read_init(std::span<const std::byte> request) {
  constexpr uint32_t kMajor = 7;
  if (request.size() < kRequestHeaderSize + kRequestFlags2At) return std::nullopt;
  if (get<uint32_t>(request, kOpcodeAt) != kOpcodeOfInit) return std::nullopt;
  const std::span<const std::byte> body = request.subspan(kRequestHeaderSize);
  if (get<uint32_t>(body, kMajorAt) != kMajor) return std::nullopt;
  InitRequest init{
      .unique = get<uint64_t>(request, kUniqueAt),
      .offer = {.minor = get<uint32_t>(body, kMinorAt), .flags = get<uint32_t>(body, kRequestFlagsAt)}};
  const bool extended =
      (init.offer.flags & kInitExtension) != 0 && body.size() >= kRequestFlags2At + sizeof(uint32_t);
  if (extended) init.offer.flags |= uint64_t{get<uint32_t>(body, kRequestFlags2At)} << 32;
  return init;
}

bool is_answer_to(std::span<const std::byte> reply_header, uint64_t unique) {
  return reply_header.size() == kReplyHeaderSize && get<int32_t>(reply_header, kErrorAt) == 0 &&
         get<uint64_t>(reply_header, kUniqueAt) == unique;
}

bool amend_init_reply(std::span<std::byte> body, const KernelFeatures& granted) {
  if (body.size() < kInitReplySize) return false;
  const uint64_t flags = init_flags(granted);
  add_bits(body, kReplyFlagsAt, static_cast<uint32_t>(flags));
  add_bits(body, kReplyFlags2At, static_cast<uint32_t>(flags >> 32));
  return true;
}

bool amend_open_reply(std::span<std::byte> body, uint32_t open_flags) {
  if (body.size() != kOpenReplySize && body.size() != kCreateReplySize) return false;
  add_bits(body.last(kOpenReplySize), kOpenFlagsAt, open_flags);
  return true;
}

}  // namespace cachefs::mount::protocol
