// What files hold: reads, writes, holes, sizes.
#include <array>

#include "conformance/fixture.h"

namespace cachefs::conformance {
namespace {

class Data : public FileSystemTest {};
RUN_OVER_ALL_FILE_SYSTEMS(Data);

constexpr uint64_t kMiB = 1024 * 1024;
constexpr uint64_t kGiB = 1024 * kMiB;

TEST_P(Data, WrittenBytesAreRead) {
  auto file = open(*make_file("file").node);
  write(*file, 0, "hello world");
  EXPECT_EQ(read(*file, 0, 100), "hello world");
  EXPECT_EQ(read(*file, 6, 3), "wor");
}

TEST_P(Data, ReadAtAndBeyondTheEndGivesNothing) {
  auto file = open(*make_file("file", "abc").node);
  EXPECT_EQ(read(*file, 3, 10), "");
  EXPECT_EQ(read(*file, 1000, 10), "");
}

TEST_P(Data, ReadFillsBuffersInOrder) {
  auto file = open(*make_file("file", "abcdefgh").node);
  std::array<std::byte, 3> first{};
  std::array<std::byte, 10> second{};
  const std::array<std::span<std::byte>, 2> buffers{first, second};
  const auto count = file->read_at(1, buffers);
  ASSERT_EQ(errno_of(count), 0);
  EXPECT_EQ(*count, 7U);
  EXPECT_EQ(first[0], std::byte{'b'});
  EXPECT_EQ(second[3], std::byte{'h'});
}

TEST_P(Data, FlushMayComeAtAnyTimeAndLeavesTheHandleAsItIs) {
  const Entry entry = make_file("file", "abc");
  auto file = open(*entry.node);
  for (const std::string_view text : {"x", "y"}) {
    write(*file, 1, text);
    EXPECT_EQ(errno_of(file->flush()), 0);
    EXPECT_EQ(errno_of(file->flush()), 0);
    EXPECT_EQ(read(*file, 0, 3), "a" + std::string(text) + "c");
  }
  auto reader = open(*entry.node, {.read = true});
  EXPECT_EQ(errno_of(reader->flush()), 0);
  EXPECT_EQ(read(*reader, 0, 3), "ayc");
}

TEST_P(Data, OverwriteChangesOnlyItsRange) {
  auto file = open(*make_file("file", "aaaaaaaaaa").node);
  write(*file, 3, "BBB");
  EXPECT_EQ(read(*file, 0, 100), "aaaBBBaaaa");
}

TEST_P(Data, WriteAcrossPagesIsReadBack) {
  std::string data(300'000, ' ');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>('a' + i % 23);
  auto file = open(*make_file("file").node);
  write(*file, 4000, data);
  EXPECT_EQ(read(*file, 4000, data.size() + 1), data);
  EXPECT_EQ(read(*file, 100'001, 5000), data.substr(96'001, 5000));
  EXPECT_EQ(read(*file, 0, 4000), std::string(4000, '\0'));
}

TEST_P(Data, GapReadsAsZeros) {
  auto file = open(*make_file("file", "abc").node);
  write(*file, 10'000, "xyz");
  EXPECT_EQ(read(*file, 0, 10'003), "abc" + std::string(9'997, '\0') + "xyz");
}

TEST_P(Data, HugeSparseFileHoldsAFewBytes) {
  const Entry entry = make_file("file");
  auto file = open(*entry.node);
  write(*file, 64 * kGiB, "tail");
  EXPECT_EQ(attributes(*entry.node).size, 64 * kGiB + 4);
  EXPECT_LT(attributes(*entry.node).blocks, kMiB / 512);
  EXPECT_EQ(read(*file, 64 * kGiB - 2, 10), std::string("\0\0tail", 6));
  EXPECT_EQ(read(*file, 32 * kGiB, 4), std::string(4, '\0'));
}

TEST_P(Data, EmptyWriteChangesNothing) {
  const Entry entry = make_file("file", "abc");
  write(*open(*entry.node), 100, "");
  EXPECT_EQ(attributes(*entry.node).size, 3U);
}

TEST_P(Data, WriteBeyondTheLargestOffsetFails) {
  auto file = open(*make_file("file").node);
  const std::array<std::byte, 10> data{};
  const int error = errno_of(file->write_at(static_cast<uint64_t>(INT64_MAX) - 1, data));
  EXPECT_TRUE(error == EFBIG || error == EINVAL) << error;
}

TEST_P(Data, HandleAllowsOnlyWhatItWasOpenedFor) {
  const Entry entry = make_file("file", "abc");
  std::array<std::byte, 1> byte{};
  EXPECT_EQ(errno_of(open(*entry.node, {.read = true})->write_at(0, byte)), EBADF);
  EXPECT_EQ(errno_of(open(*entry.node, {.read = true})->append(byte)), EBADF);
  EXPECT_EQ(errno_of(open(*entry.node, {.read = false, .write = true})->read_at(0, byte)), EBADF);
}

TEST_P(Data, OpenOfADirectoryFails) {
  EXPECT_EQ(errno_of(fs().open(*make_directory("directory").node, {.read = true}, caller())), EISDIR);
}

TEST_P(Data, OpenOfASymlinkFails) {
  REQUIRE_CAPABILITY(can().symlinks);
  EXPECT_EQ(errno_of(fs().open(*make_symlink("symlink", "x").node, {.read = true}, caller())), ELOOP);
}

/// Nothing to see where permissions are not enforced, or nobody but the owner can be acted for.
TEST_P(Data, OpenToExecuteNeedsThatRightAlone) {
  const Caller stranger{.uid = 12345, .gid = 12345, .groups = {}};
  const auto open_as_stranger = [&](Node& node, const OpenFlags& flags) {
    return errno_of(fs().open(node, flags, stranger));
  };
  const Entry program = make_file("program", "content");
  ASSERT_EQ(errno_of(fs().set_attributes(*program.node, {.mode = 0711}, caller())), 0);
  if (open_as_stranger(*program.node, {}) == 0) return;
  EXPECT_EQ(open_as_stranger(*program.node, {}), EACCES);
  auto opened = fs().open(*program.node, {.execute = true}, stranger);
  ASSERT_EQ(errno_of(opened), 0);
  EXPECT_EQ(read(*opened->file, 0, 10), "content");

  const Entry text = make_file("text", "content");
  ASSERT_EQ(errno_of(fs().set_attributes(*text.node, {.mode = 0740}, caller())), 0);
  EXPECT_EQ(open_as_stranger(*text.node, {.execute = true}), EACCES);
}

TEST_P(Data, OpenWithTruncateEmpties) {
  const Entry entry = make_file("file", "content");
  auto opened = fs().open(*entry.node, {.write = true, .truncate = true}, caller());
  ASSERT_EQ(errno_of(opened), 0);
  EXPECT_EQ(opened->attributes.size, 0U);
  EXPECT_EQ(read(*opened->file, 0, 10), "");
}

TEST_P(Data, AppendGoesToTheEnd) {
  auto file = open(*make_file("file", "abc").node);
  const std::string_view more = "def";
  const auto appended = file->append(std::as_bytes(std::span(more)));
  ASSERT_EQ(errno_of(appended), 0);
  EXPECT_EQ(appended->offset, 3U);
  EXPECT_EQ(appended->size, 3U);
  EXPECT_EQ(read(*file, 0, 10), "abcdef");
}

class Sizes : public FileSystemTest {
 protected:
  int resize(Node& node, uint64_t size) {
    AttributeChange change;
    change.size = size;
    return errno_of(fs().set_attributes(node, change, caller()));
  }
};
RUN_OVER_ALL_FILE_SYSTEMS(Sizes);

TEST_P(Sizes, TruncateCutsAndExtendsWithZeros) {
  const Entry entry = make_file("file", "abcdef");
  EXPECT_EQ(resize(*entry.node, 3), 0);
  EXPECT_EQ(content(*entry.node), "abc");
  EXPECT_EQ(resize(*entry.node, 6), 0);
  EXPECT_EQ(content(*entry.node), std::string("abc\0\0\0", 6));
}

TEST_P(Sizes, CutBytesDoNotComeBackAcrossPages) {
  const Entry entry = make_file("file", std::string(20'000, 'x'));
  EXPECT_EQ(resize(*entry.node, 5'000), 0);
  EXPECT_EQ(resize(*entry.node, 20'000), 0);
  EXPECT_EQ(content(*entry.node), std::string(5'000, 'x') + std::string(15'000, '\0'));
}

TEST_P(Sizes, HandleTruncatesAFileWithoutAName) {
  auto file = open(*make_file("file", "abcdef").node);
  ASSERT_EQ(remove("file"), 0);
  AttributeChange change;
  change.size = 2;
  const auto after = file->set_attributes(change, caller());
  ASSERT_EQ(errno_of(after), 0);
  EXPECT_EQ(after->size, 2U);
  EXPECT_EQ(read(*file, 0, 10), "ab");
}

TEST_P(Sizes, ReadOnlyHandleDoesNotTruncate) {
  auto file = open(*make_file("file", "abc").node, {.read = true});
  AttributeChange change;
  change.size = 0;
  const int error = errno_of(file->set_attributes(change, caller()));
  EXPECT_TRUE(error == EINVAL || error == EBADF) << error;
}

TEST_P(Sizes, DirectoryHasNoSizeToSet) { EXPECT_EQ(resize(*make_directory("directory").node, 0), EISDIR); }

class Holes : public FileSystemTest {};
RUN_OVER_ALL_FILE_SYSTEMS(Holes);

TEST_P(Holes, SeekFindsDataAndHoles) {
  auto file = open(*make_file("file").node);
  write(*file, kMiB, std::string(kMiB, 'x'));
  write(*file, 4 * kMiB, "end");
  if (can().seek_data) {
    EXPECT_EQ(file->seek(SeekKind::data, 0).value_or(0), kMiB);
    EXPECT_EQ(file->seek(SeekKind::hole, kMiB + 5).value_or(0), 2 * kMiB);
    EXPECT_EQ(file->seek(SeekKind::data, 2 * kMiB).value_or(0), 4 * kMiB);
  } else {
    EXPECT_EQ(file->seek(SeekKind::data, 5).value_or(0), 5U);
  }
  EXPECT_EQ(file->seek(SeekKind::hole, 4 * kMiB).value_or(0), 4 * kMiB + 3);
}

TEST_P(Holes, SeekBeyondTheEndFails) {
  auto file = open(*make_file("file", "abc").node);
  EXPECT_EQ(errno_of(file->seek(SeekKind::data, 3)), ENXIO);
  EXPECT_EQ(errno_of(file->seek(SeekKind::hole, 3)), ENXIO);
}

TEST_P(Holes, PunchedRangeReadsAsZerosAndKeepsTheSize) {
  REQUIRE_CAPABILITY(can().allocate);
  const Entry entry = make_file("file", std::string(20'000, 'x'));
  const auto punched = open(*entry.node)->allocate(AllocateMode::punch_hole, 1'000, 15'000);
  if (errno_of(punched) == EOPNOTSUPP) GTEST_SKIP() << "no holes can be punched";
  ASSERT_EQ(errno_of(punched), 0);
  EXPECT_EQ(content(*entry.node),
            std::string(1'000, 'x') + std::string(15'000, '\0') + std::string(4'000, 'x'));
}

TEST_P(Holes, ExtendingAllocationGrowsTheFile) {
  REQUIRE_CAPABILITY(can().allocate);
  const Entry entry = make_file("file", "abc");
  ASSERT_EQ(errno_of(open(*entry.node)->allocate(AllocateMode::extend, 0, 100'000)), 0);
  EXPECT_EQ(attributes(*entry.node).size, 100'000U);
  EXPECT_GE(attributes(*entry.node).blocks * 512, 100'000U);
  EXPECT_EQ(content(*entry.node).substr(0, 5), std::string("abc\0\0", 5));
}

TEST_P(Holes, AllocationCanKeepTheSize) {
  REQUIRE_CAPABILITY(can().allocate);
  const Entry entry = make_file("file", "abc");
  ASSERT_EQ(errno_of(open(*entry.node)->allocate(AllocateMode::keep_size, 0, 100'000)), 0);
  EXPECT_EQ(content(*entry.node), "abc");
}

TEST_P(Holes, ZeroedRangeReadsAsZeros) {
  REQUIRE_CAPABILITY(can().allocate);
  const Entry entry = make_file("file", std::string(10'000, 'x'));
  const auto zeroed = open(*entry.node)->allocate(AllocateMode::zero_range, 5'000, 10'000);
  if (errno_of(zeroed) == EOPNOTSUPP) GTEST_SKIP() << "ranges cannot be zeroed";
  ASSERT_EQ(errno_of(zeroed), 0);
  EXPECT_EQ(content(*entry.node), std::string(5'000, 'x') + std::string(10'000, '\0'));
}

TEST_P(Holes, AllocationOfNothingIsInvalid) {
  REQUIRE_CAPABILITY(can().allocate);
  auto file = open(*make_file("file").node);
  EXPECT_EQ(errno_of(file->allocate(AllocateMode::extend, 0, 0)), EINVAL);
}

class CopyRange : public FileSystemTest {};
RUN_OVER_ALL_FILE_SYSTEMS(CopyRange);

TEST_P(CopyRange, CopiesBetweenFiles) {
  auto from = open(*make_file("from", "0123456789").node);
  auto to = open(*make_file("to", "abcdefghij").node);
  EXPECT_EQ(from->copy_range(2, *to, 5, 3).value_or(0), 3U);
  EXPECT_EQ(read(*to, 0, 100), "abcde234ij");
}

TEST_P(CopyRange, StopsAtTheEndOfTheSource) {
  auto from = open(*make_file("from", "0123").node);
  auto to = open(*make_file("to").node);
  EXPECT_EQ(from->copy_range(2, *to, 0, 100).value_or(0), 2U);
  EXPECT_EQ(from->copy_range(4, *to, 2, 100).value_or(99), 0U);
  EXPECT_EQ(read(*to, 0, 100), "23");
}

TEST_P(CopyRange, CopiesHolesAsZeros) {
  auto from = open(*make_file("from").node);
  write(*from, 100'000, "x");
  auto to = open(*make_file("to", std::string(100'001, 'y')).node);
  uint64_t done = 0;
  while (done < 100'001) {
    const auto count = from->copy_range(done, *to, done, 100'001 - done);
    ASSERT_EQ(errno_of(count), 0);
    ASSERT_NE(*count, 0U);
    done += *count;
  }
  EXPECT_EQ(read(*to, 0, 200'000), std::string(100'000, '\0') + "x");
}

TEST_P(CopyRange, OverlapWithinOneFileIsInvalid) {
  auto file = open(*make_file("file", "0123456789").node);
  EXPECT_EQ(errno_of(file->copy_range(0, *file, 2, 5)), EINVAL);
}

}  // namespace
}  // namespace cachefs::conformance
