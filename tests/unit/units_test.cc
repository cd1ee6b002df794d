// Sizes, durations and coherence modes as people write them.
#include "cachefs/units.h"

#include <gtest/gtest.h>

#include "cachefs/coherence.h"

namespace cachefs {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

TEST(ParseSize, TakesPowersOf1024And1000) {
  const std::pair<std::string_view, uint64_t> table[] = {
      {"0", 0},
      {"4096", 4096},
      {"17b", 17},
      {"1k", 1024},
      {"8M", 8 * kMiB},
      {"8m", 8 * kMiB},
      {"64MiB", 64 * kMiB},
      {"64mib", 64 * kMiB},
      {"1.5G", kGiB + kGiB / 2},
      {"0.5k", 512},
      {"100MB", 100'000'000},
      {"1kb", 1000},
      {"2 GiB", 2 * kGiB},
      {"1T", 1024 * kGiB},
  };
  for (const auto& [text, bytes] : table) {
    const auto parsed = parse_size(text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_EQ(*parsed, bytes) << text;
  }
}

TEST(ParseSize, RefusesNonsenseAndNamesIt) {
  for (const std::string_view text : {"", "M", "12X", "-1", "-1M", "1e3", "0x10", "1,5G", "nan", "inf", "1 2",
                                      "5M5", "99999999999G", "1GB/s", " 1M", "+1M", "1..5M"}) {
    const auto parsed = parse_size(text);
    ASSERT_FALSE(parsed) << text << " gave " << *parsed;
    EXPECT_TRUE(parsed.error().is(std::errc::invalid_argument));
    EXPECT_NE(parsed.error().message().find("'" + std::string(text) + "'"), std::string::npos);
    EXPECT_NE(parsed.error().message().find("64MiB"), std::string::npos) << "shows what is right";
  }
}

TEST(ParseDuration, TakesEveryUnit) {
  const std::pair<std::string_view, nanoseconds> table[] = {
      {"0", nanoseconds(0)},    {"7ns", nanoseconds(7)}, {"3us", nanoseconds(3000)},
      {"5ms", milliseconds(5)}, {"60s", seconds(60)},    {"1.5h", seconds(5400)},
      {"2m", seconds(120)},     {"1d", seconds(86400)},  {"0.5s", milliseconds(500)},
      {"1H", seconds(3600)},    {"0s", nanoseconds(0)},  {"10 s", seconds(10)},
  };
  for (const auto& [text, duration] : table) {
    const auto parsed = parse_duration(text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_EQ(*parsed, duration) << text;
  }
}

TEST(ParseDuration, RefusesNonsenseAndNamesIt) {
  for (const std::string_view text :
       {"", "s", "5", "60x", "-5s", "1e3s", "5 5s", "1w", "9999999d999", "999999999999h"}) {
    const auto parsed = parse_duration(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_TRUE(parsed.error().is(std::errc::invalid_argument));
    EXPECT_NE(parsed.error().message().find("'" + std::string(text) + "'"), std::string::npos);
  }
}

TEST(FormatSize, IsReadByPeople) {
  EXPECT_EQ(format_size(0), "0 B");
  EXPECT_EQ(format_size(1023), "1023 B");
  EXPECT_EQ(format_size(kGiB + kGiB / 2), "1.5 GiB");
  EXPECT_EQ(format_size(128 * kKiB), "128.0 KiB");
}

TEST(FormatDuration, CanBeParsedAgain) {
  for (const nanoseconds duration :
       {nanoseconds(0), nanoseconds(7), nanoseconds(milliseconds(5)), nanoseconds(seconds(60)),
        nanoseconds(seconds(5400)), nanoseconds(seconds(86400))}) {
    const auto parsed = parse_duration(format_duration(duration));
    ASSERT_TRUE(parsed) << format_duration(duration);
    EXPECT_EQ(*parsed, duration);
  }
}

TEST(ParseCoherence, KnowsEachMode) {
  struct Expected {
    std::string_view text;
    CoherenceMode mode;
    bool checks_at_open;
    nanoseconds metadata_ttl;
  };
  for (const Expected& expected :
       {Expected{"strict", CoherenceMode::strict, true, nanoseconds(0)},
        Expected{"close-to-open", CoherenceMode::close_to_open, true, seconds(1)},
        Expected{"ttl=60s", CoherenceMode::ttl, false, seconds(60)},
        Expected{"immutable", CoherenceMode::immutable, false, Coherence::kForever}}) {
    const auto parsed = parse_coherence(expected.text);
    ASSERT_TRUE(parsed) << expected.text;
    EXPECT_EQ(parsed->mode, expected.mode);
    EXPECT_EQ(parsed->checks_at_open(), expected.checks_at_open) << expected.text;
    EXPECT_EQ(parsed->metadata_ttl(), expected.metadata_ttl) << expected.text;
    EXPECT_EQ(format_coherence(*parsed), expected.text);
  }
}

TEST(ParseCoherence, RefusesNonsenseAndNamesIt) {
  for (const std::string_view text : {"", "ttl", "ttl=", "ttl=soon", "ttl=-5s", "close", "CLOSE-TO-OPEN "}) {
    const auto parsed = parse_coherence(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_TRUE(parsed.error().is(std::errc::invalid_argument));
  }
}

TEST(FormatCoherence, IsExactAndInSeconds) {
  for (const std::string_view text : {"ttl=60s", "ttl=61s", "ttl=86461s", "ttl=1500ms", "ttl=0s"}) {
    EXPECT_EQ(format_coherence(parse_coherence(text).value()), text);
  }
}

TEST(FormatCoherence, CanBeParsedAgain) {
  for (const std::string_view text : {"close-to-open", "ttl=60s", "ttl=5ms", "ttl=1.5h", "ttl=0"}) {
    const auto parsed = parse_coherence(text);
    ASSERT_TRUE(parsed) << text;
    const auto again = parse_coherence(format_coherence(*parsed));
    ASSERT_TRUE(again) << format_coherence(*parsed);
    EXPECT_EQ(again->mode, parsed->mode);
    EXPECT_EQ(again->ttl, parsed->ttl);
  }
}

}  // namespace
}  // namespace cachefs
