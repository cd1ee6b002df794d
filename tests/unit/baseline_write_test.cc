// Writes that a cache gets wrong easily: one behaviour each. The content is cached before each write.

#include "unit/cache_stack.h"

namespace cachefs {
namespace {

using test::append_text;
using test::errno_of;
using test::kReadWrite;
using test::read_text;
using test::write_text;

class WriteBehaviour : public test::CacheStackTest {
 protected:
  WriteBehaviour() : CacheStackTest({.max_bytes = 8 * kMiB, .coherence = {}}) {}
  void SetUp() override {
    given("/f", "0123456789");
    EXPECT_EQ(cached("/f"), "0123456789");
    file_ = open_cached("/f", kReadWrite);
  }
  void TearDown() override {
    file_.reset();
    test::CacheStackTest::TearDown();
  }
  /// What the cache holds, the source holds.
  void expect_content(std::string_view path, std::string_view content) {
    EXPECT_EQ(cached(path), content);
    EXPECT_EQ(on_source(path), content);
    expect_same(path);
  }
  std::unique_ptr<File> file_;
};

TEST_F(WriteBehaviour, GoesToItsOffset) {
  EXPECT_EQ(write_text(*file_, 4, "xy").value_or(0), 2U);
  expect_content("/f", "0123xy6789");
}

TEST_F(WriteBehaviour, APartialOverwriteKeepsTheRestOfTheFile) {
  const std::string content(500'000, 'a');
  given("/big", content);
  cached("/big");
  ASSERT_TRUE(write_text(*open_cached("/big", {.read = false, .write = true}), 200'000, "here"));
  std::string changed = content;
  changed.replace(200'000, 4, "here");
  expect_content("/big", changed);
}

TEST_F(WriteBehaviour, AWriteIsReadBackByEveryHandleAtOnce) {
  auto other = open_cached("/f");
  EXPECT_EQ(read_text(*other, 0, 10), "0123456789");
  ASSERT_TRUE(write_text(*file_, 0, "new"));
  EXPECT_EQ(read_text(*other, 0, 10), "new3456789");
  EXPECT_EQ(read_text(*file_, 0, 10), "new3456789");
}

TEST_F(WriteBehaviour, AWriteToCachedBytesIsReadBackWithoutTheSource) {
  ASSERT_TRUE(write_text(*file_, 4, "xy"));
  requests().reset();
  EXPECT_EQ(read_text(*file_, 0, 10), "0123xy6789");
  EXPECT_EQ(requests().total(), 0U);
}

TEST_F(WriteBehaviour, AppendKeepsTheOldData) {
  const auto appended = append_text(*file_, "+++");
  ASSERT_TRUE(appended);
  EXPECT_EQ(appended->offset, 10U);
  EXPECT_EQ(appended->size, 3U);
  expect_content("/f", "0123456789+++");
}

TEST_F(WriteBehaviour, AppendGoesBehindWhatOthersAppended) {
  ASSERT_TRUE(append_text(*open(source(), "/f", kReadWrite).value(), "foreign"));
  ASSERT_TRUE(append_text(*file_, "+++"));
  expect_content("/f", "0123456789foreign+++");
}

TEST_F(WriteBehaviour, AWriteBehindTheEndLeavesAGapOfZeros) {
  ASSERT_TRUE(write_text(*file_, 15, "end"));
  expect_content("/f", std::string("0123456789\0\0\0\0\0end", 18));
  ASSERT_TRUE(write_text(*file_, 300'000, "far"));
  EXPECT_EQ(read_text(*file_, 18, 299'982), std::string(299'982, '\0'));
  EXPECT_EQ(cached("/f"), on_source("/f"));
}

TEST_F(WriteBehaviour, TheSizeIsRightAtOnce) {
  ASSERT_TRUE(write_text(*file_, 8, "longer"));
  EXPECT_EQ(file_->attributes().value().size, 14U);
  EXPECT_EQ(attributes_of("/f").size, 14U);
  ASSERT_TRUE(file_->set_attributes({.size = 3}, Caller{}));
  EXPECT_EQ(file_->attributes().value().size, 3U);
  EXPECT_EQ(attributes_of("/f").size, 3U);
}

TEST_F(WriteBehaviour, BytesCutOffDoNotComeBackWhenTheFileGrows) {
  ASSERT_TRUE(truncate(cache(), "/f", 4));
  ASSERT_TRUE(truncate(cache(), "/f", 10));
  expect_content("/f", std::string("0123\0\0\0\0\0\0", 10));
  ASSERT_TRUE(truncate(cache(), "/f", 2));
  ASSERT_TRUE(write_text(*file_, 6, "x"));
  expect_content("/f", std::string("01\0\0\0\0x", 7));
}

TEST_F(WriteBehaviour, OpeningWithTruncationLeavesNoStaleData) {
  auto truncated = open_cached("/f", {.read = true, .write = true, .truncate = true});
  EXPECT_EQ(read_text(*file_, 0, 10), "");
  ASSERT_TRUE(write_text(*truncated, 2, "x"));
  expect_content("/f", std::string("\0\0x", 3));
}

TEST_F(WriteBehaviour, AllocatingPunchingAndCopyingLeaveNoStaleData) {
  ASSERT_TRUE(file_->allocate(AllocateMode::zero_range, 2, 3));
  EXPECT_EQ(cached("/f"), std::string("01\0\0\0"
                                      "56789",
                                      10));
  ASSERT_TRUE(file_->allocate(AllocateMode::extend, 0, 12));
  EXPECT_EQ(cached("/f"), on_source("/f"));
  given("/other", "abcdefgh");
  auto other = open_cached("/other");
  EXPECT_EQ(other->copy_range(2, *file_, 1, 4).value_or(0), 4U);
  EXPECT_EQ(cached("/f").substr(0, 6), std::string("0cdef5"));
  EXPECT_EQ(cached("/f"), on_source("/f"));
}

TEST_F(WriteBehaviour, InvalidationAndClearLoseNothing) {
  ASSERT_TRUE(write_text(*file_, 0, "AB"));
  cache().invalidate("/f");
  expect_content("/f", "AB23456789");
  ASSERT_TRUE(write_text(*file_, 2, "CD"));
  cache().clear();
  expect_content("/f", "ABCD456789");
}

TEST_F(WriteBehaviour, AReadOnlyHandleDoesNotWrite) {
  auto reader = open_cached("/f");
  EXPECT_EQ(errno_of(write_text(*reader, 0, "x")), EBADF);
  EXPECT_EQ(errno_of(append_text(*reader, "x")), EBADF);
  EXPECT_EQ(errno_of(reader->allocate(AllocateMode::extend, 0, 100)), EBADF);
  EXPECT_FALSE(reader->set_attributes({.size = 0}, Caller{}));
  expect_content("/f", "0123456789");
}

TEST_F(WriteBehaviour, ClosingAndDestroyingIsSafeAndTellsErrors) {
  auto file = open_cached("/f", kReadWrite);
  faults().fail_if([](Operation operation) { return operation == Operation::close; },
                   std::errc::no_space_on_device);
  EXPECT_EQ(errno_of(file->close()), ENOSPC);
  file.reset();
  faults().recover();
  EXPECT_EQ(cached("/f"), "0123456789");
}

TEST_F(WriteBehaviour, FlushTellsEachWritingHandleWhatTheSourceTellsAtClose) {
  auto writer = open_cached("/f", kReadWrite);
  auto reader = open_cached("/f");
  ASSERT_TRUE(write_text(*writer, 0, "AB"));
  faults().fail_if([](Operation operation) { return operation == Operation::flush; },
                   std::errc::no_space_on_device);
  EXPECT_EQ(errno_of(writer->flush()), ENOSPC);
  EXPECT_EQ(errno_of(file_->flush()), ENOSPC);
  EXPECT_EQ(errno_of(reader->flush()), 0);
  faults().recover();
  EXPECT_EQ(errno_of(writer->flush()), 0);
  expect_content("/f", "AB23456789");
}

TEST_F(WriteBehaviour, AFailedWriteReachesTheCallerAndLeavesTheFileRight) {
  faults().fail_if([](Operation operation) { return operation == Operation::write; },
                   std::errc::no_space_on_device);
  EXPECT_EQ(errno_of(write_text(*file_, 2, "xxxx")), ENOSPC);
  faults().recover();
  expect_content("/f", "0123456789");
}

TEST_F(WriteBehaviour, AFailedAppendTruncationAndSyncReachTheCaller) {
  faults().fail_if([](Operation operation) { return operation != Operation::lookup; }, std::errc::io_error);
  EXPECT_EQ(errno_of(append_text(*file_, "x")), EIO);
  EXPECT_EQ(errno_of(file_->set_attributes({.size = 1}, Caller{})), EIO);
  EXPECT_EQ(errno_of(file_->sync(SyncKind::all)), EIO);
  EXPECT_EQ(errno_of(truncate(cache(), "/f", 1)), EIO);
  faults().recover();
  expect_content("/f", "0123456789");
}

TEST_F(WriteBehaviour, AFullSourceLeavesTheFileRight) {
  test::CacheStack full({.max_bytes = kMiB, .coherence = {}}, {.capacity_bytes = 64 * 1024});
  ASSERT_TRUE(write_file(*full.cache, "/f", std::string(40'000, 'a')));
  EXPECT_EQ(errno_of(write_file(*full.cache, "/g", std::string(40'000, 'b'))), ENOSPC);
  EXPECT_EQ(read_file(*full.cache, "/f").value_or(""), std::string(40'000, 'a'));
  EXPECT_EQ(read_file(*full.cache, "/g").value_or("?"), read_file(*full.memory, "/g").value_or("!"));
}

TEST_F(WriteBehaviour, SyncReachesTheSource) {
  ASSERT_TRUE(write_text(*file_, 0, "AB"));
  requests().reset();
  ASSERT_TRUE(file_->sync(SyncKind::data));
  EXPECT_EQ(requests().count(Operation::sync), 1U);
}

TEST_F(WriteBehaviour, AForeignChangeJustBeforeAWriteIsNotCoveredUp) {
  ASSERT_TRUE(write_text(*open(source(), "/f", kReadWrite).value(), 0, "FOREIGN"));
  ASSERT_TRUE(write_text(*file_, 8, "xy"));
  EXPECT_EQ(read_text(*file_, 0, 10), "FOREIGN7xy");
  expect_content("/f", "FOREIGN7xy");
}

TEST_F(WriteBehaviour, AWriteOfNothingAsksNothing) {
  requests().reset();
  EXPECT_EQ(write_text(*file_, 5, "").value_or(9), 0U);
  EXPECT_EQ(requests().total(), 0U);
}

}  // namespace
}  // namespace cachefs
