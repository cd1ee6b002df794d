// Single flight: one leads, the others wait, each gets an answer.
#include "cache/single_flight.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace cachefs {
namespace {

using Flights = SingleFlight<std::string, int, std::hash<std::string>>;

TEST(SingleFlight, TheFirstLeadsTheOthersFollow) {
  Flights flights;
  EXPECT_TRUE(flights.join("a").leads);
  EXPECT_FALSE(flights.join("a").leads);
  EXPECT_TRUE(flights.join("b").leads) << "another key is another flight";
  EXPECT_FALSE(flights.idle());
  flights.end("a", 1);
  flights.end("b", 1);
  EXPECT_TRUE(flights.idle());
}

TEST(SingleFlight, AFollowerGetsTheLeadersValue) {
  Flights flights;
  ASSERT_TRUE(flights.join("a").leads);
  const auto follower = flights.join("a");
  flights.end("a", 42);
  EXPECT_EQ(follower.flight->wait(), 42);
}

TEST(SingleFlight, WithoutAValueEachAsksForItself) {
  Flights flights;
  ASSERT_TRUE(flights.join("a").leads);
  const auto follower = flights.join("a");
  flights.end("a", std::nullopt);
  EXPECT_EQ(follower.flight->wait(), std::nullopt);
}

TEST(SingleFlight, WhoComesAfterTheEndLeadsANewFlight) {
  Flights flights;
  ASSERT_TRUE(flights.join("a").leads);
  flights.end("a", 1);
  EXPECT_TRUE(flights.join("a").leads);
  flights.end("a", 2);
}

TEST(SingleFlight, OneOfManyThreadsLeads) {
  Flights flights;
  std::atomic<int> leaders{0};
  std::atomic<int> joined{0};
  std::atomic<int> answers{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&] {
      const auto place = flights.join("a");
      ++joined;
      if (place.leads) {
        ++leaders;
        while (joined < 16) std::this_thread::yield();
        flights.end("a", 7);
      }
      if (place.flight->wait() == 7) ++answers;
    });
  }
  threads.clear();
  EXPECT_EQ(leaders, 1);
  EXPECT_EQ(answers, 16);
}

}  // namespace
}  // namespace cachefs
