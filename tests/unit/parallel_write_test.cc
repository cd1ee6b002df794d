// Writes of different bytes of one file go to the source beside each other, and what is cached stays right.
#include <atomic>
#include <semaphore>
#include <thread>

#include "core/change_queue.h"
#include "unit/cache_stack.h"
#include "unit/thread_states.h"

namespace cachefs {
namespace {

using test::errno_of;
using test::kReadWrite;
using test::read_text;
using test::write_text;

constexpr size_t kPage = 4096;
constexpr uint64_t kPages = 8;

auto deadline() { return std::chrono::steady_clock::now() + std::chrono::seconds(20); }

class ParallelWrite : public test::CacheStackTest {
 protected:
  ParallelWrite()
      : CacheStackTest({.max_bytes = 8 * kMiB, .block_size = 16 * kKiB, .coherence = test::for_ttl(hour())}) {
  }
  static constexpr std::chrono::hours hour() { return std::chrono::hours(1); }
  void SetUp() override {
    given("/f", std::string(kPages * kPage, 'a'));
    file_ = open_cached("/f", kReadWrite);
  }
  void cache_all() { ASSERT_EQ(read_text(*file_, 0, kPages * kPage), std::string(kPages * kPage, 'a')); }
  void begin_write(uint64_t page, char letter) {
    writers_.emplace_back([this, page, letter] {
      if (!write_text(*file_, page * kPage, std::string(kPage, letter))) ++failed_;
    });
  }
  /// Returns when they have all reached the source, and hang there.
  void begin_writes(uint64_t first, uint64_t count, char letter) {
    faults().hang_if([](Operation operation) { return operation == Operation::write; });
    for (uint64_t page = first; page < first + count; ++page) begin_write(page, letter);
    ASSERT_TRUE(faults().wait_for_hanging(count, deadline()));
  }
  void end_writes() {
    faults().recover();
    writers_.clear();
  }
  /// The cache's bytes, without a question about data.
  std::string kept() {
    requests().reset();
    const std::string text = read_text(*file_, 0, kPages * kPage);
    return requests().reads() == 0 ? text : "not kept";
  }

  std::unique_ptr<File> file_;
  std::atomic<int> failed_{0};
  std::vector<std::jthread> writers_;
};

TEST_F(ParallelWrite, WritesOfDifferentBytesReachTheSourceTogether) {
  begin_writes(0, kPages, 'b');
  end_writes();
  EXPECT_EQ(failed_, 0);
  EXPECT_EQ(kept(), std::string(kPages * kPage, 'b'));
}

TEST_F(ParallelWrite, AllShareOneQuestionBefore) {
  cache_all();
  requests().reset();
  begin_writes(0, kPages, 'b');
  end_writes();
  EXPECT_EQ(requests().count(Operation::attributes), 1 + kPages);
  EXPECT_EQ(kept(), std::string(kPages * kPage, 'b'));
}

TEST_F(ParallelWrite, AForeignChangeBeforeTheFirstIsSeen) {
  cache_all();
  given("/f", std::string(kPages * kPage, 'x'));
  begin_writes(0, 2, 'b');
  end_writes();
  EXPECT_EQ(read_text(*file_, 0, 3 * kPage), std::string(2 * kPage, 'b') + std::string(kPage, 'x'));
}

TEST_F(ParallelWrite, AForeignChangeOfTheSizeMeanwhileIsNoticed) {
  for (const bool cached : {true, false}) {
    if (cached) cache_all();
    begin_writes(0, 2, 'b');
    ASSERT_TRUE(truncate(source(), "/f", 0));
    ASSERT_TRUE(truncate(source(), "/f", kPages * kPage + 1));
    end_writes();
    EXPECT_EQ(kept(), "not kept");
    EXPECT_EQ(cache().invalidate("/f"), 1U);
    given("/f", std::string(kPages * kPage, 'a'));
    file_ = open_cached("/f", kReadWrite);
  }
}

TEST_F(ParallelWrite, OneThatFailsLeavesNothingCachedOfTheFile) {
  cache_all();
  begin_writes(0, 2, 'b');
  faults().hang_if({});  // what hangs goes on hanging
  // A third one is made in part, and fails.
  faults().fail_if(
      [&](Operation operation) {
        if (operation != Operation::write) return false;
        EXPECT_TRUE(write_text(*open(source(), "/f", kReadWrite).value(), 4 * kPage, "part"));
        return true;
      },
      std::errc::io_error);
  EXPECT_EQ(errno_of(write_text(*file_, 4 * kPage, std::string(kPage, 'c'))), EIO);
  faults().fail_if({}, std::errc::io_error);
  end_writes();
  EXPECT_EQ(failed_, 0);
  EXPECT_EQ(read_text(*file_, 0, kPages * kPage), on_source("/f"));
  EXPECT_EQ(on_source("/f").substr(4 * kPage, 4), "part");
}

TEST_F(ParallelWrite, AnInvalidationMeanwhileLeavesNothingCached) {
  cache_all();
  begin_writes(0, 2, 'b');
  cache().invalidate("/f");
  end_writes();
  requests().reset();
  EXPECT_EQ(read_text(*file_, 0, kPage), std::string(kPage, 'b'));
  EXPECT_EQ(requests().reads(), 1U);
}

TEST_F(ParallelWrite, OneBehindTheKnownEndWaits) {
  begin_writes(0, 2, 'b');
  begin_write(kPages, 'c');
  while (!test::all_other_threads_sleep()) std::this_thread::yield();
  EXPECT_EQ(faults().hanging(), 2U);
  end_writes();
  EXPECT_EQ(failed_, 0);
  EXPECT_EQ(read_text(*file_, kPages * kPage, kPage), std::string(kPage, 'c'));
  EXPECT_EQ(attributes_of("/f").size, (kPages + 1) * kPage);
}

TEST_F(ParallelWrite, OneBehindTheEndThatATruncationMadeWaitsForItAndGrowsTheFile) {
  cache_all();
  faults().hang_if([](Operation operation) { return operation == Operation::set_attributes; });
  std::jthread truncating([&] { EXPECT_TRUE(file_->set_attributes({.size = kPage}, Caller::self())); });
  ASSERT_TRUE(faults().wait_for_hanging(1, deadline()));
  begin_write(4, 'c');  // within the file, as it still is
  faults().recover();
  truncating.join();
  end_writes();
  EXPECT_EQ(failed_, 0);
  EXPECT_EQ(read_text(*file_, 0, kPages * kPage), on_source("/f"));
}

TEST_F(ParallelWrite, AReadOfWhatIsCachedGoesOnMeanwhile) {
  cache_all();
  begin_writes(0, 2, 'b');
  EXPECT_EQ(kept(), std::string(kPages * kPage, 'a'));
  end_writes();
}

TEST_F(ParallelWrite, AnOpenThatMustCheckIsNotKeptWaitingByAStreamOfWrites) {
  const auto other = CacheFs::create(source(), {.coherence = {}}).value();
  const auto file = open(*other, "/f", kReadWrite).value();
  std::atomic<bool> stop{false};
  for (uint64_t page = 0; page < 4; ++page) {
    writers_.emplace_back([&, page] {
      while (!stop) ASSERT_TRUE(write_text(*file, page * kPage, std::string(kPage, 'b')));
    });
  }
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(open(*other, "/f"));
  stop = true;
  writers_.clear();
}

}  // namespace
}  // namespace cachefs
