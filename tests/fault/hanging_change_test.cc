// A change of a file that does not end: whoever wants something else of that file is answered within his own
// time.
#include <future>
#include <thread>

#include "base/request_deadline.h"
#include "cachefs/guarded_fs.h"
#include "unit/cache_stack.h"

namespace cachefs {
namespace {

using namespace std::chrono_literals;
using test::errno_of;
using test::kReadWrite;
using test::read_text;
using test::write_text;

constexpr size_t kPage = 4096;
constexpr auto kShort = 200ms;

auto deadline() { return std::chrono::steady_clock::now() + 20s; }

/// Kept alive by requests that hang.
struct Source {
  std::unique_ptr<FileSystem> memory = make_mem_fs({});
  FaultHook fault;
  std::unique_ptr<FileSystem> faulty = make_hooked_fs(*memory, fault);
};

class HangingChange : public ::testing::Test {
 protected:
  void SetUp() override { start(0s); }
  void start(std::chrono::nanoseconds stale_if_error, std::chrono::nanoseconds write_limit = 1h) {
    writer_ = nullptr;
    cache_ = nullptr;
    GuardOptions options;
    options.limits = {
        .metadata = kShort, .read = kShort, .write = write_limit, .name_change = kShort, .sync = kShort};
    guard_ = GuardedFs::create(std::shared_ptr<FileSystem>(source_, source_->faulty.get()), options);
    cache_ = std::move(*CacheFs::create(
        *guard_, {.block_size = 16 * 1024, .coherence = {}, .stale_if_error = stale_if_error}));
    ASSERT_TRUE(write_file(*source_->memory, "/f", std::string(4 * kPage, 'a')));
    ASSERT_TRUE(write_file(*source_->memory, "/g", "text"));
    writer_ = open(*cache_, "/f", kReadWrite).value();
  }
  void TearDown() override {
    if (hanging_.joinable()) {
      fault().recover();
      hanging_.join();
    }
    cache_->check_invariants();
  }
  FaultHook& fault() { return source_->fault; }

  /// A write of the first page does not end; later ones do.
  void hang_a_write() {
    fault().hang_if([](Operation operation) { return operation == Operation::write; });
    hanging_ = std::thread(
        [this] { ignore(write_text(*writer_, 0, std::string(kPage, 'b')), "it may be given up"); });
    ASSERT_TRUE(fault().wait_for_hanging(1, deadline()));
    fault().hang_if({});
  }
  /// The errno of `run` in its own time; -1 if it still waits for the write. (Then that ends.)
  template <typename Run>
  int in_its_time(Run run) {
    auto answer = std::async(std::launch::async, [&] { return errno_of(run()); });
    if (answer.wait_until(deadline()) != std::future_status::ready) {
      fault().recover();
      return -1;
    }
    return answer.get();
  }

  const Caller caller_ = Caller::self();
  const std::shared_ptr<Source> source_ = std::make_shared<Source>();
  std::unique_ptr<GuardedFs> guard_;
  std::unique_ptr<CacheFs> cache_;
  std::unique_ptr<File> writer_;
  std::thread hanging_;
};

TEST_F(HangingChange, AnOpenEndsInItsOwnTime) {
  hang_a_write();
  EXPECT_EQ(in_its_time([&] { return open(*cache_, "/f"); }), ETIMEDOUT);
}

TEST_F(HangingChange, AnOpenThatMayBeAnsweredFromTheCacheIs) {
  start(1h);
  ASSERT_TRUE(read_file(*cache_, "/f"));
  hang_a_write();
  EXPECT_EQ(in_its_time([&] { return open(*cache_, "/f"); }), 0);
}

TEST_F(HangingChange, AChangeOfTheNameEndsInItsOwnTime) {
  hang_a_write();
  EXPECT_EQ(in_its_time([&] { return rename(*cache_, "/f", "/h"); }), ETIMEDOUT);
  EXPECT_EQ(in_its_time([&] { return link(*cache_, "/f", "/h"); }), ETIMEDOUT);
  EXPECT_EQ(in_its_time([&] { return stat(*cache_, "/h"); }), ENOENT) << "it was not begun";
}

TEST_F(HangingChange, AChangeOfTheSameBytesEndsWithItsRequest) {
  hang_a_write();
  const auto soon = [&](auto run) {
    return in_its_time([&] {
      const RequestDeadline limited(std::chrono::steady_clock::now() + 50ms);
      return run();
    });
  };
  EXPECT_EQ(soon([&] { return write_text(*writer_, kPage - 1, "cc"); }), ETIMEDOUT);
  EXPECT_EQ(soon([&] { return writer_->set_attributes({.size = 1}, caller_); }), ETIMEDOUT);
  EXPECT_EQ(soon([&] { return test::append_text(*writer_, "c"); }), ETIMEDOUT);
  EXPECT_EQ(soon([&] { return writer_->allocate(AllocateMode::extend, 0, 10); }), ETIMEDOUT);
}

TEST_F(HangingChange, AWriteOfOtherBytesGoesOn) {
  hang_a_write();
  EXPECT_EQ(in_its_time([&] { return write_text(*writer_, kPage, std::string(kPage, 'c')); }), 0);
}

/// The versions of both are our own: what is cached from before the first must not pass for what is there
/// after the second.
TEST_F(HangingChange, OneThatWasGivenUpAndHappensBesideTheNextIsNotHiddenByIt) {
  for (char letter = 'b'; letter < 'z'; ++letter) {
    start(0s, kShort);
    fault().hang_if([](Operation operation) { return operation == Operation::write; });
    EXPECT_EQ(errno_of(write_text(*writer_, 0, std::string(kPage, letter))), ETIMEDOUT);
    EXPECT_EQ(read_text(*writer_, 0, kPage), std::string(kPage, 'a'));
    hanging_ = std::thread(
        [&] { ignore(write_text(*writer_, 2 * kPage, std::string(kPage, letter)), "it may be given up"); });
    ASSERT_TRUE(fault().wait_for_hanging(2, deadline()));
    fault().recover();
    hanging_.join();
    while (guard_->health().hanging != 0) std::this_thread::yield();
    EXPECT_EQ(read_text(*open(*cache_, "/f").value(), 0, kPage), std::string(kPage, letter));
  }
}

TEST_F(HangingChange, OtherFilesGoOn) {
  hang_a_write();
  EXPECT_EQ(in_its_time([&] { return read_file(*cache_, "/g"); }), 0);
}

TEST_F(HangingChange, AReadGoesPastTheCache) {
  hang_a_write();
  std::string text;
  EXPECT_EQ(in_its_time([&] {
              text = read_text(*writer_, 2 * kPage, kPage);
              return Result<void>();
            }),
            0);
  EXPECT_EQ(text, std::string(kPage, 'a'));
  EXPECT_GT(cache_->stats().bypasses, 0U);
}

TEST_F(HangingChange, NoReadIsOlderThanOneThatWentPastTheCache) {
  ASSERT_EQ(read_text(*writer_, 0, kPage), std::string(kPage, 'a'));  // the other pages are missing
  hang_a_write();
  // The source has done it, and does not say so.
  const std::string written(kPage, 'b');
  ASSERT_TRUE(write_text(*open(*source_->memory, "/f", kReadWrite).value(), 0, written));
  std::string text;
  const auto read = [&](size_t size) {
    return in_its_time([&] {
      text = read_text(*writer_, 0, size);
      return Result<void>();
    });
  };
  ASSERT_EQ(read(2 * kPage), 0);
  EXPECT_EQ(text, written + std::string(kPage, 'a'));
  ASSERT_EQ(read(kPage), 0);
  EXPECT_EQ(text, written);
}

TEST_F(HangingChange, AForeignChangeThatAReadHasSeenIsNotUndone) {
  ASSERT_EQ(read_text(*writer_, 2 * kPage, kPage), std::string(kPage, 'a'));  // the other pages are missing
  hang_a_write();
  const std::string foreign(kPage, 'x');
  ASSERT_TRUE(write_text(*open(*source_->memory, "/f", kReadWrite).value(), 2 * kPage, foreign));
  std::string text;
  const auto read = [&](uint64_t offset, size_t size) {
    return in_its_time([&] {
      do {  // it has half of its limit for the source, which a busy machine may use up
        text = read_text(*writer_, offset, size);
      } while (text.size() != size);
      return Result<void>();
    });
  };
  ASSERT_EQ(read(kPage, 2 * kPage), 0);
  EXPECT_EQ(text, std::string(kPage, 'a') + foreign);
  ASSERT_EQ(read(2 * kPage, kPage), 0);
  EXPECT_EQ(text, foreign) << "while the change is under way";
  fault().recover();
  hanging_.join();
  EXPECT_EQ(read_text(*writer_, 2 * kPage, kPage), foreign) << "after it";
}

TEST_F(HangingChange, WhatIsCachedOfOtherBytesStaysWhenAReadGoesPastTheCache) {
  ASSERT_EQ(read_text(*writer_, 2 * kPage, kPage), std::string(kPage, 'a'));
  hang_a_write();
  std::string text;
  ASSERT_EQ(in_its_time([&] {
              text = read_text(*writer_, 3 * kPage, kPage);
              return Result<void>();
            }),
            0);
  fault().fail_if([](Operation operation) { return operation == Operation::read; }, std::errc::io_error);
  EXPECT_EQ(read_text(*writer_, 2 * kPage, kPage), std::string(kPage, 'a'));
  fault().fail_if({}, std::errc::io_error);
}

}  // namespace
}  // namespace cachefs
