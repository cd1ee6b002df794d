// Fetches of one block: its units are divided among those who want them.
#include "cache/block_flights.h"

#include <gtest/gtest.h>

namespace cachefs {
namespace {

constexpr BlockFlightKey kKey{{FileId{1}, 1, 0}, 5};

ByteRange units(uint32_t first, uint32_t end) { return {first * kUnit, end * kUnit}; }

class BlockFlightsTest : public ::testing::Test {
 protected:
  BlockFlights::Share join(ByteRange wanted, const BlockFlightKey& key = kKey) {
    BlockFlights::Share share = flights_.join(key, wanted);
    for (const ByteRange& range : share.led) led_.emplace_back(key, range);
    return share;
  }
  void end_all(const FetchEnd& how = {.kept = true, .error = {}}) {
    for (const auto& [key, range] : led_) flights_.end(key, range, how);
    led_.clear();
  }
  void TearDown() override {
    end_all();
    EXPECT_TRUE(flights_.idle());
  }

  BlockFlights flights_;
  std::vector<std::pair<BlockFlightKey, ByteRange>> led_;
};

void expect_ranges(const std::vector<ByteRange>& ranges, const std::vector<ByteRange>& expected) {
  ASSERT_EQ(ranges.size(), expected.size());
  for (size_t i = 0; i < ranges.size(); ++i) {
    EXPECT_EQ(ranges[i].begin, expected[i].begin);
    EXPECT_EQ(ranges[i].end, expected[i].end);
  }
}

TEST_F(BlockFlightsTest, TheFirstLeadsWholeUnits) {
  const auto share = join({100, kUnit + 1});
  expect_ranges(share.led, {units(0, 2)});
  EXPECT_TRUE(share.awaited.empty());
}

TEST_F(BlockFlightsTest, OthersUnitsAreLedAtTheSameTime) {
  join(units(0, 1));
  const auto share = join(units(1, 3));
  expect_ranges(share.led, {units(1, 3)});
  EXPECT_TRUE(share.awaited.empty());
}

TEST_F(BlockFlightsTest, WhatIsUnderWayIsAwaitedAndTheRestLed) {
  join(units(2, 3));
  join(units(5, 6));
  const auto share = join(units(0, 8));
  expect_ranges(share.led, {units(0, 2), units(3, 5), units(6, 8)});
  EXPECT_EQ(share.awaited.size(), 2U);
}

TEST_F(BlockFlightsTest, AFollowerLearnsHowItEnded) {
  join(units(0, 4));
  const auto share = join(units(1, 2));
  ASSERT_EQ(share.awaited.size(), 1U);
  EXPECT_TRUE(share.led.empty());
  end_all({.kept = false, .error = Error(std::errc::io_error)});
  const auto end = share.awaited[0]->wait();
  ASSERT_TRUE(end && end->error);
  EXPECT_TRUE(end->error->is(std::errc::io_error));
}

TEST_F(BlockFlightsTest, AChangeOfOursBeginsNewFlights) {
  join(units(0, 4));
  BlockFlightKey later = kKey;
  ++later.last_change;
  expect_ranges(join(units(0, 4), later).led, {units(0, 4)});
}

TEST_F(BlockFlightsTest, WhatEndedIsLedAnew) {
  join(units(0, 4));
  end_all();
  expect_ranges(join(units(0, 4)).led, {units(0, 4)});
}

}  // namespace
}  // namespace cachefs
