// Reads that a cache gets wrong easily: one behaviour each.
#include "unit/cache_stack.h"

namespace cachefs {
namespace {

using test::errno_of;
using test::read_text;
using test::write_text;

class ReadBehaviour : public test::CacheStackTest {
 protected:
  ReadBehaviour() : CacheStackTest({.max_bytes = 8 * kMiB, .coherence = {}}) {}
};

class FullCacheBehaviour : public test::CacheStackTest {
 protected:
  FullCacheBehaviour() : CacheStackTest({.max_bytes = kMiB, .block_size = 16 * 1024, .coherence = {}}) {}
};

TEST_F(FullCacheBehaviour, FilesReadBackWholeOnceTheCacheIsFull) {
  for (int i = 0; i < 100; ++i)
    given("/f" + std::to_string(i), std::string(40'000, static_cast<char>('a' + i % 26)));
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 100; ++i) {
      ASSERT_EQ(cached("/f" + std::to_string(i)), std::string(40'000, static_cast<char>('a' + i % 26)));
    }
  }
  EXPECT_GT(cache().stats().evictions, 0U);
}

TEST_F(FullCacheBehaviour, LruKeepsTheNewestFile) {
  for (int i = 0; i < 100; ++i) given("/f" + std::to_string(i), std::string(40'000, 'a'));
  for (int i = 0; i < 100; ++i) cached("/f" + std::to_string(i));
  requests().reset();
  cached("/f99");
  EXPECT_EQ(requests().reads(), 0U);
  cached("/f0");
  EXPECT_GT(requests().reads(), 0U);
}

TEST_F(ReadBehaviour, AnInvalidationInTheMiddleOfAReadDoesNotTruncateIt) {
  given("/f", std::string(300'000, 'a'));
  auto file = open_cached("/f");
  EXPECT_EQ(read_text(*file, 0, 100'000), std::string(100'000, 'a'));
  EXPECT_EQ(cache().invalidate("/f"), 1U);
  EXPECT_EQ(read_text(*file, 100'000, 300'000), std::string(200'000, 'a'));
}

TEST_F(ReadBehaviour, SeekWorksOnACachedFile) {
  given("/f", "0123456789");
  cached("/f");
  FileCursor cursor(open_cached("/f"));
  ASSERT_TRUE(cursor.seek(5, SeekFrom::start));
  char byte = 0;
  ASSERT_TRUE(cursor.read(std::as_writable_bytes(std::span(&byte, 1))));
  EXPECT_EQ(byte, '5');
  ASSERT_TRUE(cursor.seek(-1, SeekFrom::end));
  ASSERT_TRUE(cursor.read(std::as_writable_bytes(std::span(&byte, 1))));
  EXPECT_EQ(byte, '9');
}

TEST_F(ReadBehaviour, AReadBehindTheEndGivesNothing) {
  given("/f", "0123456789");
  auto file = open_cached("/f");
  EXPECT_EQ(read_text(*file, 10, 5), "");
  EXPECT_EQ(read_text(*file, 1UL << 60, 5), "");
  EXPECT_EQ(read_text(*file, 8, 5), "89");
  EXPECT_EQ(read_text(*file, 0, 0), "");
}

TEST_F(ReadBehaviour, AFourKibReadOfAHugeSparseFileReadsOneUnit) {
  given("/f", "");
  ASSERT_TRUE(truncate(source(), "/f", 10 * kGiB));
  auto file = open_cached("/f");
  requests().reset();
  EXPECT_EQ(read_text(*file, 5 * kGiB, 4096), std::string(4096, '\0'));
  EXPECT_EQ(requests().reads(), 1U);
  EXPECT_EQ(requests().read_bytes(), 4096U);
}

TEST_F(ReadBehaviour, AHitDoesNotOpenTheFileOnTheSource) {
  given("/f", "hello");
  cached("/f");
  requests().reset();
  EXPECT_EQ(cached("/f"), "hello");
  EXPECT_EQ(requests().count(Operation::open), 0U);
  EXPECT_EQ(requests().reads(), 0U);
}

TEST_F(ReadBehaviour, WhatAReaderGetsIsItsOwn) {
  given("/f", "hello");
  auto mine = read_file(cache(), "/f");
  ASSERT_TRUE(mine);
  mine->assign("XXXXX");
  EXPECT_EQ(cached("/f"), "hello");
}

TEST_F(ReadBehaviour, AChangeOnTheSourceIsSeenAtTheNextOpen) {
  given("/f", "old old");
  EXPECT_EQ(cached("/f"), "old old");
  given("/f", "new");
  EXPECT_EQ(cached("/f"), "new");
}

TEST_F(ReadBehaviour, AChangeOfTheSameSizeIsSeenAtTheNextOpen) {
  given("/f", "aaaa");
  EXPECT_EQ(cached("/f"), "aaaa");
  given("/f", "bbbb");
  EXPECT_EQ(cached("/f"), "bbbb");
}

TEST_F(ReadBehaviour, RelativePathsStartAtTheWorkingDirectory) {
  ASSERT_TRUE(mkdir(source(), "/d"));
  given("/d/f", "below");
  given("/f", "above");
  PathContext context(cache());
  ASSERT_TRUE(context.change_directory("/d"));
  EXPECT_EQ(read_file(context, "f").value_or(""), "below");
  EXPECT_EQ(read_file(context, "../f").value_or(""), "above");
}

TEST_F(ReadBehaviour, DoubledSlashesLeadToTheSameFile) {
  ASSERT_TRUE(mkdir(source(), "/a"));
  given("/a/b", "once");
  cached("/a/b");
  requests().reset();
  EXPECT_EQ(cached("/a//b"), "once");
  EXPECT_EQ(cached("//a/./b"), "once");
  EXPECT_EQ(requests().reads(), 0U);
  EXPECT_EQ(cache().stats().entries, 1U);
}

TEST_F(ReadBehaviour, ASymlinkAndItsTargetShareTheirBlocksAndNeverDisagree) {
  given("/f", "hello");
  ASSERT_TRUE(symlink(source(), "f", "/s"));
  EXPECT_EQ(cached("/s"), "hello");
  EXPECT_EQ(cache().stats().entries, 1U);
  ASSERT_TRUE(write_file(cache(), "/f", "new"));
  EXPECT_EQ(cached("/s"), "new");
}

TEST_F(ReadBehaviour, HardLinksShareTheirBlocks) {
  given("/f", "hello");
  ASSERT_TRUE(link(source(), "/f", "/g"));
  cached("/f");
  requests().reset();
  EXPECT_EQ(cached("/g"), "hello");
  EXPECT_EQ(requests().reads(), 0U);
}

TEST_F(ReadBehaviour, ScatteredBuffersAreFilledInOrder) {
  given("/f", "0123456789");
  auto file = open_cached("/f");
  std::string first(3, '?');
  std::string second(20, '?');
  const std::span<std::byte> buffers[] = {std::as_writable_bytes(std::span(first)),
                                          std::as_writable_bytes(std::span(second))};
  const auto count = file->read_at(2, std::span<const std::span<std::byte>>(buffers));
  EXPECT_EQ(count.value_or(0), 8U);
  EXPECT_EQ(first + second.substr(0, 5), "23456789");
}

TEST_F(ReadBehaviour, AHandleThatOnlyWritesDoesNotRead) {
  given("/f", "hello");
  auto file = open_cached("/f", {.read = false, .write = true});
  std::byte byte{};
  EXPECT_EQ(errno_of(file->read_at(0, std::span(&byte, 1))), EBADF);
}

TEST_F(ReadBehaviour, AReadErrorReachesTheCallerAndIsNotRemembered) {
  given("/f", "hello");
  auto file = open_cached("/f");
  faults().fail_if([](Operation operation) { return operation == Operation::read; }, std::errc::io_error);
  EXPECT_EQ(read_text(*file, 0, 5), "error: Input/output error");
  faults().recover();
  EXPECT_EQ(read_text(*file, 0, 5), "hello");
}

}  // namespace
}  // namespace cachefs
