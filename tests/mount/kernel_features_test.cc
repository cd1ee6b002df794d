// What is negotiated with kernels of all ages, by the bytes of the messages.
#include "cli/kernel_features.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <vector>

#include "mount/protocol.h"

namespace cachefs::mount {
namespace {

using Bytes = std::vector<std::byte>;

void put(Bytes& bytes, uint64_t value, size_t size) {
  const size_t at = bytes.size();
  bytes.resize(at + size);
  std::memcpy(bytes.data() + at, &value, size);
}

uint32_t word_at(const Bytes& bytes, size_t at) {
  uint32_t word = 0;
  std::memcpy(&word, bytes.data() + at, sizeof word);
  return word;
}

constexpr uint64_t kUnique = 2;

/// INIT as a kernel sends it. Before 7.36 its body has 16 bytes, since then 64.
Bytes init(uint32_t minor, uint32_t flags, uint32_t flags2 = 0) {
  const bool extended = minor >= 36;
  Bytes request;
  put(request, protocol::kRequestHeaderSize + (extended ? 64 : 16), 4);
  put(request, 26, 4);
  put(request, kUnique, 8);
  request.resize(protocol::kRequestHeaderSize);
  put(request, 7, 4);
  put(request, minor, 4);
  put(request, 128 * 1024, 4);
  put(request, flags, 4);
  if (!extended) return request;
  put(request, flags2, 4);
  request.resize(protocol::kRequestHeaderSize + 64);
  return request;
}

// As those kernels send them.
const Bytes kLinux618 = init(45, 0x73fffffb, 0x7fd);
const Bytes kLinux62 = init(38, 0x73fffffb, 0x7);
const Bytes kLinux54 = init(31, 0x07fffffb);
const Bytes kLinux43 = init(23, 0x0003fffb);

KernelFeatures offered_in(const Bytes& request) {
  const auto read = protocol::read_init(request);
  return read ? offered_by(read->offer) : KernelFeatures();
}

KernelFeatures of(std::initializer_list<KernelFeature> features) {
  KernelFeatures set;
  for (const KernelFeature feature : features) set.set(feature);
  return set;
}

TEST(KernelFeatures, ANewKernelOffersAll) {
  EXPECT_EQ(offered_in(kLinux618),
            of({KernelFeature::killpriv_v2, KernelFeature::direct_mmap, KernelFeature::parallel_direct_writes,
                KernelFeature::parallel_lookups, KernelFeature::prune, KernelFeature::export_support}));
}

TEST(KernelFeatures, OlderKernelsOfferWhatTheyKnow) {
  EXPECT_EQ(offered_in(kLinux62), of({KernelFeature::killpriv_v2, KernelFeature::parallel_direct_writes,
                                      KernelFeature::parallel_lookups, KernelFeature::export_support}));
  EXPECT_EQ(offered_in(kLinux54), of({KernelFeature::parallel_lookups, KernelFeature::export_support}));
  EXPECT_EQ(offered_in(kLinux43), of({KernelFeature::export_support}));
}

TEST(KernelFeatures, TheUpperFlagsCountOnlyIfTheKernelSaysThatTheyAreThere) {
  EXPECT_FALSE(offered_in(init(45, 0x33fffffb, 0x7fd)).has(KernelFeature::direct_mmap));
}

TEST(KernelFeatures, OnlyWhatIsWantedIsGranted) {
  KernelFeatures wanted = KernelFeatures::all();
  wanted.set(KernelFeature::killpriv_v2, false);
  const KernelFeatures offered = offered_in(kLinux618);
  const KernelFeatures use = granted(wanted, offered);
  EXPECT_EQ(state_of(KernelFeature::killpriv_v2, wanted, offered, use), FeatureState::off);
  EXPECT_EQ(state_of(KernelFeature::direct_mmap, wanted, offered, use), FeatureState::on);
  EXPECT_EQ(state_of(KernelFeature::read_ahead, wanted, offered, use), FeatureState::not_offered);
}

TEST(KernelFeatures, ParallelDirectWritesNeedMappings) {
  const KernelFeatures use = granted(KernelFeatures::all(), offered_in(kLinux62));
  EXPECT_FALSE(use.has(KernelFeature::parallel_direct_writes));
}

TEST(Protocol, OtherRequestsAreNoInit) {
  Bytes lookup = kLinux618;
  lookup[4] = std::byte{1};
  EXPECT_FALSE(protocol::read_init(lookup));
  EXPECT_FALSE(protocol::read_init(std::span(kLinux618).first(50)));
  Bytes version8 = kLinux618;
  version8[protocol::kRequestHeaderSize] = std::byte{8};
  EXPECT_FALSE(protocol::read_init(version8));
}

TEST(Protocol, AnAnswerIsKnownByItsNumber) {
  Bytes header;
  put(header, 80, 4);
  put(header, 0, 4);
  put(header, kUnique, 8);
  EXPECT_TRUE(protocol::is_answer_to(header, kUnique));
  EXPECT_FALSE(protocol::is_answer_to(header, kUnique + 2));
  header[4] = std::byte{0xff};
  EXPECT_FALSE(protocol::is_answer_to(header, kUnique)) << "an error";
}

TEST(Protocol, TheAnswerToInitGetsTheFlags) {
  Bytes body(64);
  body[12] = std::byte{0x69};
  EXPECT_TRUE(protocol::amend_init_reply(body, offered_in(kLinux618)));
  EXPECT_EQ(word_at(body, 12), 0x69U | 1U << 4 | 1U << 18 | 1U << 28);
  EXPECT_EQ(word_at(body, 32), 1U << 4);
  EXPECT_EQ(word_at(body, 36), 0U);
}

TEST(Protocol, AShortAnswerToInitStaysAsItIs) {
  Bytes body(24);
  EXPECT_FALSE(protocol::amend_init_reply(body, offered_in(kLinux618)));
  EXPECT_EQ(body, Bytes(24));
}

TEST(Protocol, AnswersToOpenAndCreateGetFlagsAtTheirEnd) {
  for (const size_t size : {size_t{16}, size_t{144}}) {
    Bytes body(size);
    body[size - 8] = std::byte{1};
    EXPECT_TRUE(protocol::amend_open_reply(body, protocol::kOpenParallelDirectWrites));
    EXPECT_EQ(word_at(body, size - 8), 1U | 1U << 6);
  }
  Bytes other(128);
  EXPECT_FALSE(protocol::amend_open_reply(other, protocol::kOpenParallelDirectWrites));
  EXPECT_EQ(other, Bytes(128));
}

TEST(KernelFeaturesOption, WordsCountInTheirOrder) {
  KernelFeatures expected;
  expected.set(KernelFeature::direct_mmap);
  for (const char* list : {"none,direct_mmap", "none:direct-mmap", "direct_mmap,none,direct-mmap"}) {
    const auto features = cli::check_kernel_features(list);
    ASSERT_TRUE(features) << list;
    EXPECT_EQ(*features, expected) << list;
  }
  expected = KernelFeatures::all();
  expected.set(KernelFeature::read_ahead, false);
  EXPECT_EQ(cli::check_kernel_features("no-read-ahead").value(), expected);
  EXPECT_EQ(cli::check_kernel_features("").value(), KernelFeatures::all());
}

TEST(KernelFeaturesOption, UnknownOnesAreRefusedWithTheNearest) {
  const auto features = cli::check_kernel_features("no-killpriv2");
  ASSERT_FALSE(features);
  EXPECT_NE(features.error().sentence.find("did you mean 'no-killpriv_v2'?"), std::string::npos)
      << features.error().sentence;
}

TEST(KernelFeaturesOption, StatusShowsThemInALine) {
  EXPECT_EQ(cli::format_kernel_features({{"a", "on"}, {"b", "off"}, {"c", "not offered"}, {"d", "on"}}),
            "a, d; off: b; not offered: c");
}

}  // namespace
}  // namespace cachefs::mount
