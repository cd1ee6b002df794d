// Answers that are overtaken on their way: by changes of ours, by foreign ones, by other answers.
#include <fcntl.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <semaphore>
#include <thread>

#include "cachefs/posix_fs.h"
#include "support/temporary_directory.h"
#include "unit/cache_stack.h"
#include "unit/thread_states.h"

namespace cachefs {
namespace {

using std::chrono::seconds;
using test::errno_of;
using test::kReadWrite;
using test::read_text;
using test::write_text;

/// Holds an answer of the source on its way.
class HoldHook final : public OperationHook {
 public:
  Result<void> before(Operation, uint64_t) override { return {}; }
  void after(Operation operation, uint64_t, bool) override {
    if (static_cast<int>(operation) != armed_.load()) return;
    if (skip_.fetch_sub(1) > 0) return;
    armed_ = -1;
    held_.release();
    go_.acquire();
  }
  /// The next answer (after `skip` others) to such a request is held.
  void hold(Operation operation, int skip = 0) {
    skip_ = skip;
    armed_ = static_cast<int>(operation);
  }
  void wait_held() { ASSERT_TRUE(held_.try_acquire_for(seconds(20))); }
  void go() { go_.release(); }

 private:
  std::atomic<int> armed_{-1};
  std::atomic<int> skip_{0};
  std::counting_semaphore<> held_{0}, go_{0};
};

/// Stops one thread where it asks for the time.
class GateClock final : public Clock {
 public:
  MonotonicTime now() const override {
    if (std::this_thread::get_id() == gated.load() && countdown.fetch_sub(1) == 0) {
      gated = std::thread::id();
      held.release();
      gate.acquire();
    }
    return inner.now();
  }
  Timestamp wall_time() const override { return inner.wall_time(); }
  ManualClock inner;
  mutable std::atomic<std::thread::id> gated{};
  mutable std::atomic<int> countdown{0};
  mutable std::counting_semaphore<> held{0}, gate{0};
};

class Overtaken : public ::testing::Test {
 protected:
  void make(CacheOptions options, MemFsOptions memory_options = {}) {
    options.max_bytes = 8 * kMiB;
    options.block_size = 16 * kKiB;
    options.clock = &clock_;
    memory_options.clock = &clock_;
    memory_ = make_mem_fs(memory_options);
    faulty_ = make_hooked_fs(*memory_, faults_);
    held_ = make_hooked_fs(*faulty_, hook_);
    cache_ = CacheFs::create(*held_, options).value();
  }
  void TearDown() override {
    if (cache_) cache_->check_invariants();
  }
  void given(std::string_view path, std::string_view content) {
    ASSERT_TRUE(write_file(*memory_, path, content));
  }
  std::string content(std::string_view path) {
    const auto c = read_file(*cache_, path);
    return c ? *c : "error: " + c.error().message();
  }
  void settle_threads() {
    constexpr int kLooks = 200;
    for (int quiet = 0; quiet < kLooks;) {
      quiet = test::all_other_threads_sleep() ? quiet + 1 : 0;
      std::this_thread::yield();
    }
  }

  test::TemporaryDirectory directory_;
  GateClock clock_;
  HoldHook hook_;
  FaultHook faults_;
  std::unique_ptr<FileSystem> memory_, faulty_, held_;
  std::unique_ptr<CacheFs> cache_;
};

TEST_F(Overtaken, AReaderOfASmallerFileLeavesNoZerosInTheLargerOne) {
  make({.coherence = test::for_ttl(seconds(60))});
  given("/f", std::string(8200, 'a'));
  auto late = open(*cache_, "/f").value();
  auto other = open(*cache_, "/f").value();
  auto writer = open(*cache_, "/f", kReadWrite).value();
  stat(*cache_, "/f").value();
  // Takes its view, and is then overtaken.
  std::jthread first([&] {
    clock_.countdown = 0;
    clock_.gated = std::this_thread::get_id();
    read_text(*late, 0, 100);
  });
  ASSERT_TRUE(clock_.held.try_acquire_for(seconds(20)));
  ASSERT_TRUE(write_text(*writer, 8192, std::string(4096, 'w')));
  hook_.hold(Operation::read);
  std::jthread second([&] { read_text(*other, 0, 100); });
  hook_.wait_held();
  clock_.gate.release();
  settle_threads();  // now it has seen that it was late, and waits for the second
  hook_.go();
  first.join();
  second.join();
  read_text(*other, 4096, 4096);  // makes the block large again
  const std::string unit = read_text(*other, 8192, 4096);
  EXPECT_EQ(unit, std::string(4096, 'w')) << "byte at 10240 is " << int{unit[2048]};
}

TEST_F(Overtaken, AWriteDoesNotUndoAnInvalidation) {
  make({.coherence = test::for_ttl(seconds(60))});
  given("/f", "hello");
  auto writer = open(*cache_, "/f", kReadWrite).value();
  hook_.hold(Operation::attributes);  // nothing is cached: the only question is the one after the write
  std::jthread one([&] { ASSERT_TRUE(write_text(*writer, 0, "J")); });
  hook_.wait_held();
  given("/f", "much longer than before");
  EXPECT_EQ(cache_->invalidate("/f"), 1U);
  hook_.go();
  one.join();
  EXPECT_EQ(writer->attributes()->size, 23U);
  EXPECT_EQ(read_text(*writer, 0, 100), "much longer than before");
}
TEST_F(Overtaken, AWriteDoesNotUndoTheLinkCountOfAnUnlink) {
  make({.coherence = test::for_ttl(seconds(60))});
  given("/f", "hello");
  ASSERT_TRUE(link(*memory_, "/f", "/g"));
  ASSERT_EQ(stat(*cache_, "/f")->nlink, 2U);
  auto writer = open(*cache_, "/f", kReadWrite).value();
  hook_.hold(Operation::attributes);
  std::jthread one([&] { ASSERT_TRUE(write_text(*writer, 0, "J")); });
  hook_.wait_held();
  ASSERT_TRUE(remove(*cache_, "/g"));
  hook_.go();
  one.join();
  EXPECT_EQ(stat(*cache_, "/f")->nlink, 1U);
}

TEST_F(Overtaken, AReplacedFileIsToldApartAfterANewerHandleWasClosed) {
  make({}, {.inode_numbers = InodeNumbers::random});
  given("/f", std::string(40000, 'o'));
  auto old = open(*cache_, "/f", kReadWrite).value();
  {
    auto newer = open(*cache_, "/f", kReadWrite).value();
  }
  given("/new", std::string(40000, 'n'));
  ASSERT_TRUE(rename(*memory_, "/new", "/f"));
  clock_.inner.advance(seconds(2));
  auto handle = open(*cache_, "/f", kReadWrite).value();
  EXPECT_EQ(read_text(*old, 0, 40000), std::string(40000, 'o'));
  EXPECT_EQ(read_text(*handle, 0, 3), "nnn");
  EXPECT_EQ(read_text(*handle, 20000, 3), "nnn");
}

TEST_F(Overtaken, AnAnswerFromBeforeAnInvalidationIsNotShared) {
  make({.coherence = test::for_ttl(seconds(60))});
  given("/f", "old");
  ASSERT_TRUE(link(*memory_, "/f", "/g"));
  const NodeRef node = resolve(*cache_, "/f").value().node;
  clock_.inner.advance(seconds(61));
  hook_.hold(Operation::attributes);
  std::jthread one([&] { cache_->attributes(*node, Caller{}).value(); });
  hook_.wait_held();
  given("/f", "new and longer");
  cache_->invalidate("/g");  // not known here
  std::atomic<uint64_t> size{0};
  std::jthread two([&] { size = cache_->attributes(*node, Caller{}).value().size; });
  settle_threads();
  hook_.go();
  two.join();
  EXPECT_EQ(size, 14U);
}

TEST_F(Overtaken, NothingCachedStaysAfterAFailedClose) {
  make({});
  given("/f", "hello");
  content("/f");
  auto file = open(*cache_, "/f", kReadWrite).value();
  ASSERT_TRUE(write_text(*file, 0, "J"));
  faults_.fail_if([](Operation operation) { return operation == Operation::close; },
                  Error(std::errc::no_space_on_device));
  EXPECT_EQ(errno_of(file->close()), ENOSPC);
  faults_.recover();
  file.reset();
  const uint64_t before = cache_->stats().source_reads;
  EXPECT_EQ(content("/f"), "Jello");
  EXPECT_EQ(cache_->stats().source_reads - before, 1U);
}

TEST_F(Overtaken, AnOpenDuringAWriteToAReplacedFileOpensTheNewOne) {
  make({}, {.inode_numbers = InodeNumbers::random});
  given("/f", std::string(40000, 'o'));
  auto old = open(*cache_, "/f", kReadWrite).value();
  hook_.hold(Operation::write);
  std::jthread one([&] { ASSERT_TRUE(write_text(*old, 0, "OLD")); });
  hook_.wait_held();
  given("/new", std::string(40000, 'n'));
  ASSERT_TRUE(rename(*memory_, "/new", "/f"));
  clock_.inner.advance(seconds(2));
  std::unique_ptr<File> handle;
  std::jthread two([&] { handle = open(*cache_, "/f", kReadWrite).value(); });
  settle_threads();
  hook_.go();
  one.join();
  two.join();
  EXPECT_EQ(read_text(*old, 3, 30000), std::string(30000, 'o'));
  EXPECT_EQ(read_text(*handle, 10, 3), "nnn");
}
TEST_F(Overtaken, AnOpenOvertakenByAReplacementStaysApart) {
  make({}, {.inode_numbers = InodeNumbers::random});
  given("/f", std::string(40000, 'o'));
  stat(*cache_, "/f").value();
  hook_.hold(Operation::open);
  std::unique_ptr<File> old;
  std::jthread one([&] { old = open(*cache_, "/f", kReadWrite).value(); });
  hook_.wait_held();
  given("/new", std::string(40000, 'n'));
  ASSERT_TRUE(rename(*memory_, "/new", "/f"));
  clock_.inner.advance(seconds(2));
  auto handle = open(*cache_, "/f", kReadWrite).value();
  hook_.go();
  one.join();
  read_text(*old, 3, 30000);  // the old file, or the new one if the open was made once more
  EXPECT_EQ(read_text(*handle, 10, 3), "nnn");
}

TEST_F(Overtaken, WhatTheSourceDeniesOneIsNotDeniedAnother) {
  make({.coherence = test::for_ttl(seconds(60))}, {.enforce_permissions = true});
  ASSERT_TRUE(mkdir(*memory_, "/d", 0750));
  ASSERT_TRUE(chown(*memory_, "/d", {.uid = 1000, .gid = 2000}));
  given("/d/x", "x");
  const NodeRef shared = resolve(*cache_, "/d").value().node;
  ASSERT_TRUE(chmod(*memory_, "/d", 0700));  // elsewhere
  faults_.hang_if([](Operation operation) { return operation == Operation::lookup; });
  std::atomic<int> member{-1}, owner{-1};
  std::jthread one([&] {
    member = errno_of(cache_->lookup(*shared, "x", Caller{.uid = 1001, .gid = 2000, .groups = {}}));
  });
  ASSERT_TRUE(faults_.wait_for_hanging(1, std::chrono::steady_clock::now() + seconds(20)));
  std::jthread two([&] {
    owner = errno_of(cache_->lookup(*shared, "x", Caller{.uid = 1000, .gid = 1000, .groups = {}}));
  });
  settle_threads();
  faults_.recover();
  one.join();
  two.join();
  EXPECT_EQ(member, EACCES);
  EXPECT_EQ(owner, 0);
}

TEST_F(Overtaken, ALookUpDoesNotUndoARename) {
  make({.coherence = test::for_ttl(seconds(60))}, {.inode_numbers = InodeNumbers::random});
  given("/victim", "victim");
  given("/f", "moved!");
  const NodeRef moved = resolve(*cache_, "/f").value().node;
  hook_.hold(Operation::lookup);
  std::jthread one([&] { ignore(stat(*cache_, "/victim"), "what it leads to is not the question"); });
  hook_.wait_held();
  ASSERT_TRUE(
      cache_->rename({*cache_->root(), "f"}, {*cache_->root(), "victim"}, RenameMode::replace, Caller{}));
  hook_.go();
  one.join();
  // As the kernel does, which knows the node.
  auto opened = cache_->open(*moved, {.read = true, .write = true}, Caller{}).value();
  EXPECT_EQ(read_text(*opened.file, 0, 10), "moved!");
  ASSERT_TRUE(write_text(*opened.file, 0, "M"));
  EXPECT_EQ(read_file(*memory_, "/victim").value(), "Moved!");
}

TEST_F(Overtaken, ALookUpDoesNotUndoARenameInADirectory) {
  PosixFsOptions posix;
  posix.stable_identity = false;
  memory_ = make_posix_fs(directory_.string(), posix).value();
  held_ = make_hooked_fs(*memory_, hook_);
  CacheOptions options;
  options.coherence = test::for_ttl(seconds(60));
  cache_ = CacheFs::create(*held_, options).value();
  given("/victim", "victim");
  given("/f", "moved!");
  const NodeRef moved = resolve(*cache_, "/f").value().node;
  hook_.hold(Operation::lookup);
  std::jthread one([&] { ignore(stat(*cache_, "/victim"), "what it leads to is not the question"); });
  hook_.wait_held();
  ASSERT_TRUE(
      cache_->rename({*cache_->root(), "f"}, {*cache_->root(), "victim"}, RenameMode::replace, Caller{}));
  hook_.go();
  one.join();
  auto opened = cache_->open(*moved, {.read = true, .write = true}, Caller{});
  EXPECT_EQ(errno_of(opened), 0);
  if (!opened) return;
  EXPECT_EQ(read_text(*opened->file, 0, 10), "moved!");
  ASSERT_TRUE(write_text(*opened->file, 0, "M"));
  EXPECT_EQ(read_file(*memory_, "/victim").value(), "Moved!");
}

/// How many descriptors of this process can read files of `directory`; those with O_PATH cannot.
size_t open_for_reading(const std::string& directory) {
  size_t count = 0;
  std::error_code error;
  for (const auto& fd : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    if (!std::filesystem::read_symlink(fd.path(), error).string().starts_with(directory + "/")) continue;
    std::ifstream info("/proc/self/fdinfo/" + fd.path().filename().string());
    std::string word, flags;
    while (info >> word) {
      if (word == "flags:") info >> flags;
    }
    if ((std::stoul(flags, nullptr, 8) & O_PATH) == 0) ++count;
  }
  return count;
}

class RemovalAndLastClose : public Overtaken {
 protected:
  void SetUp() override {
    memory_ = make_posix_fs(directory_.string()).value();
    held_ = make_hooked_fs(*memory_, hook_);
    cache_ = CacheFs::create(*held_, {.coherence = test::for_ttl(seconds(60))}).value();
    given("/f", "hello");
    ASSERT_TRUE(link(*memory_, "/f", "/g"));
    EXPECT_EQ(content("/f"), "hello");
    handle_ = open(*cache_, "/f").value();  // from the cache, without a file of the source
  }
  std::unique_ptr<File> handle_;
};

TEST_F(RemovalAndLastClose, LeaveNoFileOpenThoughTheyOverlap) {
  hook_.hold(Operation::open);
  std::jthread remover([&] { EXPECT_TRUE(remove(*cache_, "/g")); });
  hook_.wait_held();
  handle_.reset();
  hook_.go();
  remover.join();
  EXPECT_EQ(open_for_reading(directory_.string()), 0U);
}

TEST_F(RemovalAndLastClose, LeaveNoFileOpenOneAfterTheOther) {
  EXPECT_TRUE(remove(*cache_, "/g"));
  EXPECT_EQ(open_for_reading(directory_.string()), 1U) << "for the handle, which has none";
  handle_.reset();
  EXPECT_EQ(open_for_reading(directory_.string()), 0U);
}

TEST_F(Overtaken, ARemovalThatCannotLookTheFileUpFails) {
  memory_ = make_posix_fs(directory_.string(), {.max_cached_descriptors = 1}).value();
  faulty_ = make_hooked_fs(*memory_, faults_);
  CacheOptions options;
  options.coherence = test::for_ttl(seconds(60));
  options.clock = &clock_;
  cache_ = CacheFs::create(*faulty_, options).value();
  given("/f", std::string(40000, 'a'));
  given("/other", "b");
  {
    auto first = open(*cache_, "/f").value();
    read_text(*first, 0, 1);
  }
  auto handle = open(*cache_, "/f").value();  // from the cache
  content("/other");
  clock_.inner.advance(seconds(61));
  faults_.fail_nth(1, Error(std::errc::io_error));
  EXPECT_EQ(errno_of(cache_->remove({*cache_->root(), "f"}, RemoveKind::file, Caller{})), EIO);
  faults_.recover();
  ASSERT_TRUE(cache_->remove({*cache_->root(), "f"}, RemoveKind::file, Caller{}));
  content("/other");
  EXPECT_EQ(read_text(*handle, 20000, 3), "aaa") << "the file was opened for the handle before";
}

TEST_F(Overtaken, ANameDoesNotLeadBackToAReplacedFile) {
  make({.coherence = test::for_ttl(seconds(60))}, {.inode_numbers = InodeNumbers::random});
  given("/f", "oldest");
  auto old = open(*cache_, "/f").value();
  EXPECT_EQ(read_text(*old, 0, 1), "o");
  given("/f", "older!");  // changed, elsewhere
  clock_.inner.advance(seconds(61));
  hook_.hold(Operation::attributes);  // of the open file, asked since the version is another
  std::thread one([&] { ignore(stat(*cache_, "/f"), "what it leads to is not the question"); });
  hook_.wait_held();
  given("/new", "newest");
  ASSERT_TRUE(rename(*memory_, "/new", "/f"));
  // Somebody who does not share the look-up: as a creation that finds the file, or a caller of fewer rights.
  EXPECT_TRUE(cache_->lookup(*cache_->root(), "f", Caller{.uid = 1, .gid = 1, .groups = {}}));
  hook_.go();
  one.join();
  EXPECT_EQ(content("/f"), "newest");
}

TEST_F(Overtaken, AnOpenIsAnOpenThoughAFetchWasAnsweredBefore) {
  make({}, {.version_source = VersionSource::size_only});
  given("/f", std::string(32768, 'a'));
  auto reader = open(*cache_, "/f").value();
  ASSERT_EQ(read_text(*reader, 0, 1), "a");
  given("/f", std::string(32768, 'b'));
  hook_.hold(Operation::attributes);  // the check of the open
  std::string read;
  std::jthread one([&] {
    auto file = open(*cache_, "/f").value();
    read = read_text(*file, 0, 1);
  });
  hook_.wait_held();
  read_text(*reader, 20000, 1);  // its check is asked later, and answered before
  hook_.go();
  one.join();
  EXPECT_EQ(read, "b");
}

TEST_F(Overtaken, OneReadDuringOneWriteSeesItWholeOrNotAtAll) {
  make({});
  given("/f", std::string(32768, 'a'));
  auto reader = open(*cache_, "/f").value();
  auto writer = open(*cache_, "/f", kReadWrite).value();
  faults_.limit_reads(16384);
  faults_.hang_if([](Operation operation) { return operation == Operation::write; });
  std::jthread one([&] { ASSERT_TRUE(write_text(*writer, 0, std::string(32768, 'b'))); });
  ASSERT_TRUE(faults_.wait_for_hanging(1, std::chrono::steady_clock::now() + seconds(20)));
  hook_.hold(Operation::read, 6);  // three fetches of two requests each
  std::string read;
  std::jthread two([&] { read = read_text(*reader, 0, 32768); });
  settle_threads();
  faults_.recover();
  one.join();
  hook_.go();
  two.join();
  EXPECT_TRUE(read == std::string(32768, 'a') || read == std::string(32768, 'b')) << read[0] << read[32767];
}
TEST_F(Overtaken, NoLaterReadIsGivenOlderBytes) {
  make({});
  given("/f", std::string(32768, 'a'));
  auto reader = open(*cache_, "/f").value();
  ASSERT_EQ(read_text(*reader, 0, 1), "a");
  auto writer = open(*cache_, "/f", kReadWrite).value();
  hook_.hold(Operation::write);  // the source has written; its answer is on its way
  std::jthread one([&] { ASSERT_TRUE(write_text(*writer, 0, std::string(32768, 'b'))); });
  hook_.wait_held();
  std::string first, second;
  std::jthread two([&] {
    first = read_text(*reader, 0, 32768);
    second = read_text(*reader, 0, 1);
  });
  settle_threads();
  hook_.go();
  one.join();
  two.join();
  EXPECT_EQ(first.substr(0, 1), second);
}

}  // namespace
}  // namespace cachefs
