// Forgetting by path what the cache no longer knows by that path.
#include "unit/cache_stack.h"

namespace cachefs {
namespace {

class Invalidation : public test::CacheStackTest {
 protected:
  Invalidation()
      : CacheStackTest({.max_bytes = 8 * kMiB,
                        .metadata_max_entries = 10,
                        .coherence = test::for_ttl(std::chrono::hours(1))}) {}
  void SetUp() override {
    ASSERT_TRUE(mkdir(source(), "/d"));
    given("/d/f", "old");
  }
  void push_out_all_names() {
    for (int i = 0; i < 200; ++i) ASSERT_FALSE(stat(cache(), "/missing" + std::to_string(i)));
  }
};

TEST_F(Invalidation, ByPrefixReachesAnOpenFileWhoseNameWasEvicted) {
  auto file = open_cached("/d/f");
  EXPECT_EQ(test::read_text(*file, 0, 3), "old");
  push_out_all_names();
  ASSERT_TRUE(stat(cache(), "/d"));  // so that the prefix itself is known
  given("/d/f", "new");
  cache().invalidate_prefix("/d");
  EXPECT_EQ(test::read_text(*file, 0, 3), "new");
}

TEST_F(Invalidation, ByPrefixReachesAnOpenFileThatWasRenamed) {
  auto file = open_cached("/d/f");
  EXPECT_EQ(test::read_text(*file, 0, 3), "old");
  ASSERT_TRUE(rename(cache(), "/d/f", "/d/g"));
  given("/d/g", "new");
  cache().invalidate_prefix("/d");
  EXPECT_EQ(test::read_text(*file, 0, 3), "new");
}

TEST_F(Invalidation, ByPrefixReachesAnOpenFileAfterAClear) {
  auto file = open_cached("/d/f");
  cache().clear();
  EXPECT_EQ(test::read_text(*file, 0, 3), "old");
  ASSERT_TRUE(stat(cache(), "/d"));
  given("/d/f", "new");
  cache().invalidate_prefix("/d");
  EXPECT_EQ(test::read_text(*file, 0, 3), "new");
}

TEST_F(Invalidation, IsCountedWhereSomethingWasDropped) {
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(write_file(cache(), "/d/own" + std::to_string(i), "text"));
  EXPECT_EQ(cache().stats().invalidations, 0U) << "nobody else has changed anything";
  auto file = open_cached("/d/f");
  EXPECT_EQ(test::read_text(*file, 0, 3), "old");
  given("/d/f", "new");
  cache().invalidate("/d/f");
  EXPECT_EQ(cache().stats().invalidations, 1U);
  cache().invalidate("/d/f");
  EXPECT_EQ(cache().stats().invalidations, 1U) << "there was nothing left to drop";
}

/// Counts how often anything may have changed.
class Listener final : public CacheListener {
 public:
  void on_data_changed(const NodeRef& /*node*/) override {}
  void on_attributes_changed(const NodeRef& /*node*/) override {}
  void on_name_changed(const NodeRef& /*directory*/, std::string_view /*name*/) override {}
  void on_everything_changed() override { ++everything; }
  int everything = 0;
};

TEST_F(Invalidation, ByPrefixReachesWhatALayerAboveStillKnowsOfForgottenFiles) {
  ASSERT_TRUE(stat(cache(), "/d/f"));
  for (int i = 0; i < 200; ++i) {
    given("/other" + std::to_string(i), "x");
    ASSERT_TRUE(stat(cache(), "/other" + std::to_string(i)));
  }
  ASSERT_TRUE(stat(cache(), "/d"));
  Listener listener;
  cache().set_listener(&listener);
  cache().invalidate_prefix("/d");
  cache().set_listener(nullptr);
  EXPECT_EQ(listener.everything, 1);
}

}  // namespace
}  // namespace cachefs
