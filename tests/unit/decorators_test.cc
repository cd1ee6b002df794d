#include "cachefs/decorators.h"

#include <gtest/gtest.h>

#include <future>
#include <set>
#include <thread>

#include "cachefs/mem_fs.h"
#include "cachefs/path_operations.h"

namespace cachefs {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

template <typename T>
int errno_of(const Result<T>& result) {
  return result ? 0 : result.error().to_errno();
}

bool is_read(Operation operation) { return operation == Operation::read; }

/// MemFs with "/file" ("0123456789") behind a hook.
class Decorators : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(write_file(*memory_, "/file", "0123456789")); }
  std::unique_ptr<FileSystem> behind(OperationHook& hook) { return make_hooked_fs(*memory_, hook); }

  std::unique_ptr<FileSystem> memory_ = make_mem_fs();
};

TEST(Operations, EachHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < kOperationCount; ++i) names.insert(operation_name(static_cast<Operation>(i)));
  EXPECT_EQ(names.size(), kOperationCount);
  EXPECT_EQ(operation_name(Operation::close), "close");
}

TEST_F(Decorators, CounterCountsEachRequest) {
  OperationCounter counter;
  auto fs = behind(counter);
  auto file = open(*fs, "/file");
  ASSERT_TRUE(file);
  std::array<std::byte, 100> buffer{};
  ASSERT_TRUE((*file)->read_at(0, buffer));
  ASSERT_TRUE((*file)->flush());
  ASSERT_TRUE((*file)->close());
  EXPECT_EQ(counter.count(Operation::lookup), 1U);
  EXPECT_EQ(counter.count(Operation::open), 1U);
  EXPECT_EQ(counter.count(Operation::flush), 1U);
  EXPECT_EQ(counter.count(Operation::close), 1U);
  EXPECT_EQ(counter.reads(), 1U);
  EXPECT_EQ(counter.read_bytes(), 10U);
  EXPECT_EQ(counter.metadata(), 2U);
  EXPECT_EQ(counter.total(), 3U);
}

TEST_F(Decorators, CounterTellsWritesApartAndResets) {
  OperationCounter counter;
  auto fs = behind(counter);
  auto file = create(*fs, "/new");
  ASSERT_TRUE(file);
  const std::array<std::byte, 5> data{};
  ASSERT_TRUE((*file)->write_at(0, data));
  ASSERT_TRUE((*file)->append(data));
  EXPECT_EQ(counter.writes(), 2U);
  counter.reset();
  EXPECT_EQ(counter.total(), 0U);
}

TEST_F(Decorators, NthRequestFailsOnce) {
  FaultHook faults;
  auto fs = behind(faults);
  faults.fail_nth(2, std::errc::io_error);
  EXPECT_EQ(errno_of(stat(*fs, "/file")), 0);
  EXPECT_EQ(errno_of(stat(*fs, "/file")), EIO);
  EXPECT_EQ(errno_of(stat(*fs, "/file")), 0);
  EXPECT_EQ(faults.requests(), 3U);
}

TEST_F(Decorators, NthRequestAndAllAfterItFailUntilRecovery) {
  FaultHook faults;
  auto fs = behind(faults);
  faults.fail_nth(1, std::errc::timed_out, /*forever=*/true);
  EXPECT_EQ(errno_of(stat(*fs, "/file")), ETIMEDOUT);
  EXPECT_EQ(errno_of(stat(*fs, "/file")), ETIMEDOUT);
  faults.recover();
  EXPECT_EQ(errno_of(stat(*fs, "/file")), 0);
}

TEST_F(Decorators, ChosenRequestsFailAndOthersPass) {
  FaultHook faults;
  auto fs = behind(faults);
  faults.fail_if(is_read, std::errc::io_error);
  EXPECT_EQ(errno_of(stat(*fs, "/file")), 0);
  EXPECT_EQ(errno_of(read_file(*fs, "/file")), EIO);
  faults.fail_if({}, std::errc::io_error);
  EXPECT_EQ(errno_of(read_file(*fs, "/file")), 0);
}

TEST_F(Decorators, HungRequestGoesOnAfterRecovery) {
  FaultHook faults;
  auto fs = behind(faults);
  faults.hang_if(is_read);
  auto content = std::async(std::launch::async, [&] { return read_file(*fs, "/file"); });
  EXPECT_TRUE(faults.wait_for_hanging(1, steady_clock::now() + std::chrono::seconds(30)));
  EXPECT_EQ(errno_of(stat(*fs, "/file")), 0);
  faults.recover();
  EXPECT_EQ(content.get().value_or(""), "0123456789");
  EXPECT_EQ(faults.hanging(), 0U);
}

TEST_F(Decorators, WaitForHangingEndsAtItsDeadline) {
  FaultHook faults;
  EXPECT_FALSE(faults.wait_for_hanging(1, steady_clock::now()));
}

TEST_F(Decorators, ShortReadsDeliverTheFirstBytesOfAllBuffers) {
  FaultHook faults;
  auto fs = behind(faults);
  auto file = open(*fs, "/file");
  ASSERT_TRUE(file);
  faults.limit_reads(3);
  std::array<std::byte, 2> first{};
  std::array<std::byte, 5> second{};
  const std::array<std::span<std::byte>, 2> buffers{first, second};
  EXPECT_EQ((*file)->read_at(1, buffers).value_or(0), 3U);
  EXPECT_EQ(second[0], std::byte{'3'});
  EXPECT_EQ(second[1], std::byte{});
  EXPECT_EQ(read_file(*fs, "/file").value_or(""), "0123456789");
}

TEST_F(Decorators, DelayIsTakenByEachRequest) {
  auto delay = make_delay_hook({.per_metadata_operation = milliseconds(5)});
  auto fs = behind(*delay);
  const auto start = steady_clock::now();
  ASSERT_TRUE(stat(*fs, "/file"));
  ASSERT_TRUE(stat(*fs, "/file"));
  EXPECT_GE(steady_clock::now() - start, milliseconds(10));
}

TEST_F(Decorators, DelaysOfConcurrentRequestsOverlap) {
  auto delay = make_delay_hook({.per_metadata_operation = milliseconds(200)});
  auto fs = behind(*delay);
  const auto start = steady_clock::now();
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 10; ++i) threads.emplace_back([&] { EXPECT_TRUE(stat(*fs, "/file")); });
  }
  EXPECT_LT(steady_clock::now() - start, milliseconds(1000));
}

TEST_F(Decorators, BandwidthIsSharedByAllRequests) {
  ASSERT_TRUE(write_file(*memory_, "/file", std::string(10'000, 'x')));
  auto delay = make_delay_hook({.bytes_per_second = 1'000'000});
  auto fs = behind(*delay);
  const auto start = steady_clock::now();
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back([&] { EXPECT_TRUE(read_file(*fs, "/file")); });
  }
  EXPECT_GE(steady_clock::now() - start, milliseconds(40));
}

}  // namespace
}  // namespace cachefs
