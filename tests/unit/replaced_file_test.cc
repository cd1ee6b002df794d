// Files that are replaced elsewhere while they are open here, where only the path tells which file is which.
#include "unit/cache_stack.h"

namespace cachefs {
namespace {

using test::kReadWrite;
using test::read_text;
using test::write_text;

constexpr size_t kSize = 40'000;

class ReplacedFile : public test::CacheStackTest, public ::testing::WithParamInterface<InodeNumbers> {
 protected:
  ReplacedFile()
      : CacheStackTest({.max_bytes = 8 * kMiB, .block_size = 16 * kKiB, .coherence = {}},
                       {.inode_numbers = GetParam()}) {}
  void SetUp() override { given("/f", old_content_); }
  void replace() {
    given("/new", new_content_);
    ASSERT_TRUE(rename(source(), "/new", "/f"));
  }

  const std::string old_content_ = std::string(kSize, 'o');
  const std::string new_content_ = std::string(kSize, 'n');
};

TEST_P(ReplacedFile, IsReadAnewByItsNameWhileAnOldHandleIsOpen) {
  auto old = open_cached("/f");
  EXPECT_EQ(read_text(*old, 0, 1), "o");
  replace();
  outlive_attributes();
  EXPECT_EQ(cached("/f"), new_content_);
  EXPECT_EQ(read_text(*old, 20'000, 1), "o") << "never cached";
  EXPECT_EQ(cached("/f"), new_content_);
}

TEST_P(ReplacedFile, LeadsToTheOldOneWhileTheNameIsTrusted) {
  auto old = open_cached("/f");
  EXPECT_EQ(read_text(*old, 0, 1), "o");
  replace();
  EXPECT_EQ(cached("/f"), old_content_);
  outlive_attributes();
  EXPECT_EQ(cached("/f"), new_content_);
  EXPECT_EQ(read_text(*old, 0, kSize), old_content_);
}

TEST_P(ReplacedFile, IsForgottenWithItsLastHandle) {
  auto old = open_cached("/f");
  EXPECT_EQ(read_text(*old, 0, 1), "o");
  replace();
  outlive_attributes();
  EXPECT_EQ(cached("/f"), new_content_);
  const uint64_t nodes = cache().stats().nodes;
  old.reset();
  EXPECT_EQ(cache().stats().nodes, nodes - 1);
}

TEST_P(ReplacedFile, KeepsItsOldAttributesThroughTheOldHandle) {
  auto old = open_cached("/f");
  given("/new", "short");
  ASSERT_TRUE(rename(source(), "/new", "/f"));
  outlive_attributes();
  EXPECT_EQ(cached("/f"), "short");
  const auto attributes = old->attributes();
  ASSERT_TRUE(attributes);
  EXPECT_EQ(attributes->size, kSize);
  EXPECT_EQ(attributes_of("/f").size, 5U);
}

TEST_P(ReplacedFile, IsNotChangedByAWriteThroughTheOldHandle) {
  auto old = open_cached("/f", kReadWrite);
  EXPECT_EQ(read_text(*old, 0, 1), "o");
  replace();
  outlive_attributes();
  EXPECT_EQ(cached("/f"), new_content_);
  ASSERT_TRUE(write_text(*old, 0, "x"));
  EXPECT_EQ(read_text(*old, 0, 2), "xo");
  EXPECT_EQ(cached("/f"), new_content_);
  EXPECT_EQ(on_source("/f"), new_content_);
}

TEST_P(ReplacedFile, AFileThatOnlyChangedIsStillTheSame) {
  auto handle = open_cached("/f");
  EXPECT_EQ(read_text(*handle, 0, 1), "o");
  given("/f", "changed");
  outlive_attributes();
  EXPECT_EQ(cached("/f"), "changed");
  EXPECT_EQ(read_text(*handle, 0, 10), "changed") << "both look at one file";
  ASSERT_TRUE(write_text(*open_cached("/f", kReadWrite), 0, "C"));
  EXPECT_EQ(read_text(*handle, 0, 10), "Changed");
}

INSTANTIATE_TEST_SUITE_P(PathIdentity, ReplacedFile,
                         ::testing::Values(InodeNumbers::none, InodeNumbers::random), [](const auto& test) {
                           return test.param == InodeNumbers::none ? "NoInodeNumbers" : "RandomInodeNumbers";
                         });

}  // namespace
}  // namespace cachefs
