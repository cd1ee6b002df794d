// Files that the kernel knows, and of which the mount keeps no more than a name and an identity.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "mount/mount_test_fixture.h"

namespace cachefs::test {
namespace {

/// All that is not in use falls asleep when others are looked up.
class SleepingFiles : public MountTest {
 protected:
  [[nodiscard]] mount::SessionOptions session_options() const override {
    mount::SessionOptions options;
    options.nodes.awake = 0;
    return options;
  }
  void SetUp() override {
    MountTest::SetUp();
    if (mounted_ == nullptr) return;
    ASSERT_EQ(mkdir(at("d").c_str(), 0755), 0);
    ASSERT_EQ(write_file(at("d/file"), "content"), 0);
    for (int i = 0; i < kOthers; ++i) ASSERT_EQ(write_file(at(fmt::format("other{}", i)), "x"), 0);
  }
  void TearDown() override {
    if (place_ >= 0) close(place_);
    MountTest::TearDown();
  }
  /// Keeps the file as a place alone, so that the kernel knows it and it is not in use.
  void hold(const std::string& name) { place_ = open(at(name).c_str(), O_PATH | O_CLOEXEC); }
  void let_sleep() const {
    struct stat status{};
    for (int i = 0; i < kOthers; ++i) ASSERT_EQ(stat(at(fmt::format("other{}", i)).c_str(), &status), 0);
  }
  /// 0 or the errno value of asking for the attributes of what is held.
  int look_at_held() { return fstatat(place_, "", &held_, AT_EMPTY_PATH) == 0 ? 0 : errno; }

  static constexpr int kOthers = 10;
  int place_ = -1;
  struct stat held_{};
};

INSTANTIATE_TEST_SUITE_P(, SleepingFiles, testing::Values(SourceKind::posix, SourceKind::cached),
                         source_name);

TEST_P(SleepingFiles, AreServedAsBefore) {
  hold("d/file");
  let_sleep();
  EXPECT_EQ(look_at_held(), 0);
  EXPECT_EQ(held_.st_size, 7);
  let_sleep();
  EXPECT_EQ(contents_of(fmt::format("/proc/self/fd/{}", place_)), "content");
}

TEST_P(SleepingFiles, OneThatWasReplacedOnTheSourceIsNeverTakenForTheNewOne) {
  hold("d/file");
  const ino_t inode = look_at_held() == 0 ? held_.st_ino : 0;
  let_sleep();
  ASSERT_EQ(write_file((source_directory() / "d/new").string(), "another"), 0);
  std::filesystem::rename(source_directory() / "d/new", source_directory() / "d/file");
  EXPECT_TRUE(eventually([&] { return contents_of(at("d/file")) == "another"; }));
  let_sleep();
  const int error = look_at_held();
  EXPECT_TRUE(error == ESTALE || (error == 0 && held_.st_ino == inode)) << error;
}

TEST_P(SleepingFiles, OneThatIsMovedThroughTheMountStaysWhatItIs) {
  hold("d/file");
  let_sleep();
  ASSERT_EQ(rename(at("d/file").c_str(), at("moved").c_str()), 0);
  let_sleep();
  EXPECT_EQ(look_at_held(), 0);
  ASSERT_EQ(rename(at("moved").c_str(), at("d/again").c_str()), 0);
  ASSERT_EQ(rename(at("d").c_str(), at("e").c_str()), 0);
  let_sleep();
  EXPECT_EQ(look_at_held(), 0) << "its directory was moved";
}

TEST_P(SleepingFiles, OneThatIsRemovedThroughTheMountLivesAsLongAsItIsHeld) {
  hold("d/file");
  let_sleep();
  ASSERT_EQ(unlink(at("d/file").c_str()), 0);
  let_sleep();
  EXPECT_EQ(look_at_held(), 0);
  EXPECT_EQ(held_.st_nlink, 0U);
}

TEST_P(SleepingFiles, OneThatIsReplacedThroughTheMountLivesAsLongAsItIsHeld) {
  hold("d/file");
  const ino_t inode = look_at_held() == 0 ? held_.st_ino : 0;
  let_sleep();
  ASSERT_EQ(rename(at("other0").c_str(), at("d/file").c_str()), 0);
  ASSERT_EQ(write_file(at("other0"), "x"), 0);
  let_sleep();
  EXPECT_EQ(look_at_held(), 0);
  EXPECT_EQ(held_.st_ino, inode);
}

TEST_P(SleepingFiles, ADirectoryWithWhatIsInItIsFoundAgain) {
  hold("d");
  let_sleep();
  struct stat status{};
  EXPECT_EQ(fstatat(place_, "file", &status, 0), 0);
  EXPECT_EQ(status.st_size, 7);
}

/// What the kernel was told holds for an hour.
class SleepingTtl : public SleepingFiles {
 protected:
  [[nodiscard]] CacheOptions cache_options() const override {
    return {.coherence = {.mode = CoherenceMode::ttl, .ttl = std::chrono::hours(1)}};
  }
};
INSTANTIATE_TEST_SUITE_P(, SleepingTtl, testing::Values(SourceKind::cached), source_name);

TEST_P(SleepingTtl, OneThatIsInvalidatedIsAskedForAgain) {
  struct stat status{};
  ASSERT_EQ(stat(at("d/file").c_str(), &status), 0);
  let_sleep();
  ASSERT_EQ(write_file((source_directory() / "d/file").string(), "longer content"), 0);
  cache()->invalidate("d/file");
  EXPECT_TRUE(eventually([&] { return stat(at("d/file").c_str(), &status) == 0 && status.st_size == 14; }));
}

TEST_P(SleepingTtl, OneThatIsHeldIsAskedForAgain) {
  hold("d/file");
  ASSERT_EQ(look_at_held(), 0);
  let_sleep();
  ASSERT_EQ(write_file((source_directory() / "d/file").string(), "longer content"), 0);
  cache()->invalidate("d/file");
  EXPECT_TRUE(eventually([&] { return look_at_held() == 0 && held_.st_size == 14; }));
}

}  // namespace
}  // namespace cachefs::test
