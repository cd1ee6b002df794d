// Sources such as sshfs, which tell of an open file what its path shows now: a file that was replaced cannot
// be told from one that changed. What is cached must be the bytes that the path leads to all the same.
#include "unit/cache_stack.h"
#include "unit/path_only_fs.h"

namespace cachefs {
namespace {

using std::chrono::seconds;
using test::errno_of;
using test::kReadWrite;
using test::read_text;
using test::write_text;

constexpr size_t kSize = 40'000;

class PathOnlySource : public ::testing::TestWithParam<CoherenceMode> {
 protected:
  PathOnlySource()
      : memory_(make_mem_fs({.clock = &clock_})),
        source_(*memory_),
        cache_(CacheFs::create(source_, {.max_bytes = 8 * kMiB,
                                         .block_size = 16 * kKiB,
                                         .coherence = {.mode = GetParam(), .ttl = seconds(60)},
                                         .clock = &clock_})
                   .value()) {
    EXPECT_TRUE(write_file(*memory_, "/f", std::string(kSize, 'o')));
  }
  void TearDown() override { cache_->check_invariants(); }

  void replace() {
    ASSERT_TRUE(write_file(*memory_, "/new", std::string(kSize, 'n')));
    ASSERT_TRUE(rename(*memory_, "/new", "/f"));
    clock_.advance(seconds(60));
  }
  std::unique_ptr<File> open_it(const OpenOptions& options = {}) {
    auto file = open(*cache_, "/f", options);
    EXPECT_TRUE(file);
    return file ? std::move(*file) : nullptr;
  }
  void expect_new_content() { EXPECT_EQ(read_file(*cache_, "/f").value_or(""), std::string(kSize, 'n')); }

  ManualClock clock_;
  std::unique_ptr<FileSystem> memory_;
  test::PathOnlyFs source_;
  std::unique_ptr<CacheFs> cache_;
};

TEST_P(PathOnlySource, AReplacedFileIsReadThroughANewOpen) {
  const auto first = open_it();
  EXPECT_EQ(read_text(*first, 0, 1), "o");
  const auto second = open_it();  // where the mode asks nothing, without a file of its own
  EXPECT_EQ(read_text(*second, 20'000, 1), "o");
  replace();
  expect_new_content();
}

TEST_P(PathOnlySource, AnOldHandleFetchesNothingOfTheOldFileForOthers) {
  const auto old = open_it();
  EXPECT_EQ(read_text(*old, 0, 1), "o");
  replace();
  ASSERT_TRUE(stat(*cache_, "/f"));  // finds it
  EXPECT_EQ(read_text(*old, 20'000, 1), "n") << "it looks like a change of the file";
  expect_new_content();
}

TEST_P(PathOnlySource, AWriteToAnOldFileIsNotShownAsOneToTheNew) {
  const auto old = open_it(kReadWrite);
  EXPECT_EQ(read_text(*old, 0, 1), "o");
  replace();
  ASSERT_TRUE(stat(*cache_, "/f"));
  expect_new_content();
  ASSERT_TRUE(write_text(*old, 0, "x"));
  expect_new_content();
}

TEST_P(PathOnlySource, AResizeOfAnOldFileIsNotShownAsOneOfTheNew) {
  const auto old = open_it(kReadWrite);
  EXPECT_EQ(read_text(*old, 0, 1), "o");
  replace();
  expect_new_content();
  ASSERT_TRUE(truncate(*memory_, "/f", 100));  // the same size as what is set now, by chance
  ASSERT_TRUE(old->set_attributes({.size = 100}, Caller::self()));
  clock_.advance(seconds(60));
  EXPECT_EQ(read_file(*cache_, "/f").value_or(""), std::string(100, 'n'));
}

TEST_P(PathOnlySource, AFileRemovedElsewhereIsReadThroughItsHandle) {
  const auto old = open_it();
  EXPECT_EQ(read_text(*old, 0, 1), "o");
  ASSERT_TRUE(remove(*memory_, "/f"));
  clock_.advance(seconds(60));
  EXPECT_EQ(errno_of(read_file(*cache_, "/f")), ENOENT);
  EXPECT_EQ(read_text(*old, 20'000, 1), "o");
  EXPECT_EQ(read_text(*old, 0, kSize), std::string(kSize, 'o'));
  EXPECT_EQ(read_text(*old, 0, kSize + 1), "error: " + Error(std::errc::no_such_file_or_directory).message())
      << "what the source says of its end";
}

TEST_P(PathOnlySource, AFileRemovedHereIsReadThroughItsHandleThoughItsNameIsTakenAgain) {
  const auto old = open_it(kReadWrite);
  EXPECT_EQ(read_text(*old, 0, 1), "o");
  ASSERT_TRUE(remove(*cache_, "/f"));
  ASSERT_TRUE(write_file(*cache_, "/f", std::string(kSize, 'n')));
  EXPECT_EQ(read_text(*old, 20'000, 1), "o");
  expect_new_content();
}

TEST_P(PathOnlySource, WhatWasWrittenIsNotReadFromTheSource) {
  const auto file = create(*cache_, "/made").value();
  ASSERT_TRUE(write_text(*file, 0, "ours"));
  const uint64_t reads = cache_->stats().source_reads;
  EXPECT_EQ(read_file(*cache_, "/made").value_or(""), "ours");
  EXPECT_EQ(cache_->stats().source_reads, reads);
}

INSTANTIATE_TEST_SUITE_P(Mode, PathOnlySource,
                         ::testing::Values(CoherenceMode::strict, CoherenceMode::close_to_open,
                                           CoherenceMode::ttl),
                         [](const auto& test) {
                           return test.param == CoherenceMode::strict          ? "Strict"
                                  : test.param == CoherenceMode::close_to_open ? "CloseToOpen"
                                                                               : "Ttl";
                         });

}  // namespace
}  // namespace cachefs
