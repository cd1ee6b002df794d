// Answers that are overtaken on their way: by changes of ours, by foreign ones, by other answers.
#include <atomic>
#include <thread>

#include "unit/overtaken_fixture.h"

namespace cachefs {
namespace {

using std::chrono::seconds;
using test::errno_of;
using test::kReadWrite;
using test::Overtaken;
using test::read_text;
using test::write_text;

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

/// Of two writes beside each other the one that asked first is told last.
TEST_F(Overtaken, AnOlderAnswerAfterAWriteDoesNotReplaceANewerOne) {
  make({.coherence = test::for_ttl(seconds(60))});
  given("/f", std::string(8192, 'a'));
  ASSERT_EQ(content("/f"), std::string(8192, 'a'));
  auto writer = open(*cache_, "/f", kReadWrite).value();
  hook_.hold(Operation::attributes, 1);  // the answer after it; that before it is not held
  std::jthread first([&] { EXPECT_TRUE(write_text(*writer, 0, std::string(4096, 'b'))); });
  hook_.wait_held();
  clock_.inner.advance(seconds(1));
  ASSERT_TRUE(write_text(*writer, 4096, std::string(4096, 'c')));
  hook_.go();
  first.join();
  EXPECT_EQ(stat(*cache_, "/f").value(), stat(*memory_, "/f").value());
  faults_.fail_if([](Operation) { return true; }, std::errc::io_error);
  std::string text(8192, '?');
  EXPECT_TRUE(writer->read_at(0, std::as_writable_bytes(std::span(text)))) << "what was cached is no longer";
  EXPECT_EQ(text, std::string(4096, 'b') + std::string(4096, 'c'));
}

}  // namespace
}  // namespace cachefs
