// Sources that read short, that hang, that come back.
#include <thread>

#include "unit/cache_stack.h"

namespace cachefs {
namespace {

using test::errno_of;
using test::kReadWrite;
using test::read_text;
using test::write_text;

std::chrono::steady_clock::time_point deadline() {
  return std::chrono::steady_clock::now() + std::chrono::seconds(20);
}

std::string numbered(size_t size) {
  std::string text;
  while (text.size() < size) text += std::to_string(text.size()) + ' ';
  text.resize(size);
  return text;
}

class SourceTrouble : public test::CacheStackTest {
 protected:
  SourceTrouble() : CacheStackTest({.max_bytes = 2 * kMiB, .block_size = 16 * 1024, .coherence = {}}) {}
  void hang(Operation at) {
    faults().hang_if([at](Operation operation) { return operation == at; });
  }
};

class ShortReads : public SourceTrouble, public ::testing::WithParamInterface<uint64_t> {};

TEST_P(ShortReads, GiveTheRightData) {
  const std::string content = numbered(40'000);
  given("/f", content);
  faults().limit_reads(GetParam());
  EXPECT_EQ(cached("/f"), content);
  EXPECT_EQ(cached("/f"), content) << "from the cache";
  EXPECT_GE(requests().reads(), 40'000 / GetParam());
}

TEST_P(ShortReads, GiveTheRightDataWhereNothingFits) {
  const std::string content = numbered(40'000);
  test::CacheStack tiny({.max_bytes = 1024, .block_size = 16 * 1024, .coherence = {}});
  ASSERT_TRUE(write_file(*tiny.memory, "/f", content));
  tiny.faults.limit_reads(GetParam());
  EXPECT_EQ(read_file(*tiny.cache, "/f").value_or("?"), content);
}

TEST_P(ShortReads, GiveTheRightDataInTheMiddleOfAFile) {
  const std::string content = numbered(100'000);
  given("/f", content);
  faults().limit_reads(GetParam());
  auto file = open_cached("/f");
  EXPECT_EQ(read_text(*file, 16'000, 20'000), content.substr(16'000, 20'000));
  EXPECT_EQ(read_text(*file, 99'990, 20'000), content.substr(99'990));
}

INSTANTIATE_TEST_SUITE_P(Bytes, ShortReads, ::testing::Values(1, 100, 4095));

TEST_F(SourceTrouble, AHungReadDoesNotBlockOtherFiles) {
  given("/hung", "cold");
  given("/warm", "warm");
  cached("/warm");
  auto hung = open_cached("/hung");
  hang(Operation::read);
  std::jthread reader([&] { EXPECT_EQ(read_text(*hung, 0, 4), "cold"); });
  ASSERT_TRUE(faults().wait_for_hanging(1, deadline()));
  EXPECT_EQ(cached("/warm"), "warm");
  ASSERT_TRUE(write_text(*open_cached("/warm", kReadWrite), 0, "WARM"));
  EXPECT_EQ(cached("/warm"), "WARM");
  EXPECT_EQ(cache().stats().source_reads, 2U);
  faults().recover();
}

TEST_F(SourceTrouble, AHungWriteDoesNotBlockOtherFiles) {
  given("/hung", "cold");
  given("/warm", "warm");
  cached("/warm");
  auto hung = open_cached("/hung", kReadWrite);
  hang(Operation::write);
  std::jthread writer([&] { EXPECT_TRUE(write_text(*hung, 0, "COLD")); });
  ASSERT_TRUE(faults().wait_for_hanging(1, deadline()));
  EXPECT_EQ(cached("/warm"), "warm");
  ASSERT_TRUE(chmod(cache(), "/warm", 0600));
  EXPECT_EQ(attributes_of("/warm").mode, 0600U);
  faults().recover();
  writer.join();
  EXPECT_EQ(cached("/hung"), "COLD");
}

TEST_F(SourceTrouble, AHungLookUpDoesNotBlockKnownNames) {
  given("/warm", "warm");
  cached("/warm");
  hang(Operation::lookup);
  std::jthread looker([&] { EXPECT_EQ(errno_of(stat(cache(), "/unknown")), ENOENT); });
  ASSERT_TRUE(faults().wait_for_hanging(1, deadline()));
  EXPECT_EQ(cached("/warm"), "warm");
  EXPECT_EQ(attributes_of("/warm").size, 4U);
  faults().recover();
}

TEST_F(SourceTrouble, AHungRemovalDoesNotBlockReadsInTheDirectory) {
  given("/doomed", "x");
  given("/warm", "warm");
  cached("/warm");
  hang(Operation::remove);
  std::jthread remover([&] { EXPECT_TRUE(remove(cache(), "/doomed")); });
  ASSERT_TRUE(faults().wait_for_hanging(1, deadline()));
  EXPECT_EQ(cached("/warm"), "warm");
  faults().recover();
  remover.join();
  EXPECT_EQ(errno_of(stat(cache(), "/doomed")), ENOENT);
}

TEST_F(SourceTrouble, AHungReadDoesNotBlockClearAndStats) {
  given("/hung", "cold");
  auto hung = open_cached("/hung");
  hang(Operation::read);
  std::jthread reader([&] { EXPECT_EQ(read_text(*hung, 0, 4), "cold"); });
  ASSERT_TRUE(faults().wait_for_hanging(1, deadline()));
  cache().clear();
  cache().invalidate("/hung");
  EXPECT_LE(cache().stats().bytes_used, cache().stats().bytes_limit);
  faults().recover();
}

TEST_F(SourceTrouble, ADeadSourceGivesErrorsAndRecovers) {
  given("/f", "hello");
  faults().fail_if([](Operation) { return true; }, std::errc::io_error);
  EXPECT_EQ(errno_of(read_file(cache(), "/f")), EIO);
  EXPECT_EQ(errno_of(stat(cache(), "/f")), EIO);
  EXPECT_EQ(errno_of(write_file(cache(), "/g", "x")), EIO);
  faults().recover();
  EXPECT_EQ(cached("/f"), "hello");
  EXPECT_EQ(errno_of(stat(cache(), "/g")), ENOENT);
}

TEST_F(SourceTrouble, AReplacedSourceFileIsFoundAgainByItsName) {
  given("/f", "first");
  EXPECT_EQ(cached("/f"), "first");
  ASSERT_TRUE(remove(source(), "/f"));
  given("/f", "second");
  outlive_attributes();
  EXPECT_EQ(cached("/f"), "second");
}

TEST_F(SourceTrouble, AFileRemovedOnTheSourceIsGone) {
  given("/f", "first");
  EXPECT_EQ(cached("/f"), "first");
  ASSERT_TRUE(remove(source(), "/f"));
  outlive_attributes();
  EXPECT_EQ(errno_of(read_file(cache(), "/f")), ENOENT);
}

}  // namespace
}  // namespace cachefs
