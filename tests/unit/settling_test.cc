// What the source's change times tell of its clock.
#include "core/settling.h"

#include <gtest/gtest.h>

namespace cachefs {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Timestamp at_source(std::chrono::nanoseconds time) { return Timestamp(seconds(1'000'000) + time); }
constexpr MonotonicTime at(std::chrono::nanoseconds time) { return MonotonicTime(seconds(100) + time); }
/// A request at `time`, whose version was first seen at that instant too, so that it alone proves nothing.
bool settled(const Settling& settling, Timestamp changed, std::chrono::nanoseconds time) {
  return settling.settled_fetch(changed, at(time), {.sequence = 0, .time = at(time), .wall_time = {}});
}

class ForeignClock : public ::testing::Test {
 protected:
  static Capabilities capabilities() {
    Capabilities source;
    source.timestamp_granule = seconds(2);
    source.local_clock = false;
    return source;
  }
  Settling settling_{capabilities()};
};

TEST_F(ForeignClock, NothingIsKnownWithoutAChangeTime) {
  EXPECT_FALSE(settled(settling_, at_source(seconds(0)), hours(1)));
}

TEST_F(ForeignClock, AnOlderVersionThanTheNewestTimeIsSettled) {
  settling_.learn(at_source(seconds(10)), at(seconds(0)));
  EXPECT_TRUE(settled(settling_, at_source(seconds(7)), seconds(0)));
  EXPECT_FALSE(settled(settling_, at_source(seconds(9)), seconds(0)));
  EXPECT_TRUE(settled(settling_, at_source(seconds(9)), milliseconds(1500)));
}

TEST_F(ForeignClock, MayGoALittleSlowerThanOurs) {
  settling_.learn(at_source(seconds(0)), at(seconds(0)));
  // After three hours it is behind by up to 10.8 s.
  EXPECT_FALSE(settled(settling_, at_source(hours(3) - seconds(8)), hours(3)));
  EXPECT_TRUE(settled(settling_, at_source(hours(3) - seconds(14)), hours(3)));
}

TEST_F(ForeignClock, ThatIsPutBackIsNoticedAtAChangeOfOurs) {
  settling_.learn(at_source(seconds(1000)), at(seconds(0)));
  EXPECT_TRUE(settled(settling_, at_source(seconds(500)), seconds(10)));
  settling_.learn_from_own_change(at_source(seconds(499)), at(seconds(10)));
  EXPECT_FALSE(settled(settling_, at_source(seconds(500)), seconds(10)));
}

TEST_F(ForeignClock, AChangeOfOursTellsNothingNewOfAClockThatGoesRight) {
  settling_.learn(at_source(seconds(10)), at(seconds(0)));
  settling_.learn_from_own_change(at_source(seconds(20)), at(seconds(10)));
  EXPECT_TRUE(settled(settling_, at_source(seconds(17)), seconds(10)));
}

}  // namespace
}  // namespace cachefs
