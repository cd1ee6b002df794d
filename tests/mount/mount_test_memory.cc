// What the daemon keeps in memory for the files that the kernel knows, and what it asks the kernel to forget.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <fstream>

#include "mount/mount_test_fixture.h"
#include "mount/tree_fs.h"
#include "support/scale.h"

namespace cachefs::test {
namespace {

constexpr uint64_t kRamSize = 16 * kMiB;
constexpr uint64_t kBeside = 96 * kMiB;
constexpr uint64_t kPerNode = 256;

uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  uint64_t all = 0, resident = 0;
  file >> all >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

/// A mount of a computed tree through the cache.
class MountedTree : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string obstacle = prepare_mounts(); !obstacle.empty()) {
      ASSERT_EQ(std::getenv("CACHEFS_TEST_REQUIRE_MOUNT"), nullptr) << obstacle;
      GTEST_SKIP() << obstacle;
    }
  }

  void mount(const TreeSize& size, const mount::SessionOptions& options) {
    size_ = size;
    tree_ = std::make_unique<TreeFs>(size);
    auto cache = CacheFs::create(*tree_, {.max_bytes = kRamSize});
    ASSERT_TRUE(cache) << cache.error().message();
    cache_ = std::move(*cache);
    mounted_ = std::make_unique<Mounted>(*cache_, cache_.get(), place_.path().string(), options);
  }

  [[nodiscard]] std::string directory(uint32_t index) const {
    return (place_.path() / TreeFs::directory_name(index)).string();
  }
  [[nodiscard]] std::string file(uint32_t directory_index, uint32_t index) const {
    return directory(directory_index) + "/" + TreeFs::file_name(index);
  }
  /// Looks at each file of a directory.
  void look_at_all(uint32_t directory_index) const {
    struct stat status{};
    for (uint32_t i = 0; i < size_.files; ++i)
      ASSERT_EQ(stat(file(directory_index, i).c_str(), &status), 0) << file(directory_index, i);
  }

  TemporaryDirectory place_;
  TreeSize size_;
  std::unique_ptr<TreeFs> tree_;
  std::unique_ptr<CacheFs> cache_;
  std::unique_ptr<Mounted> mounted_;
};

TEST_F(MountedTree, MemoryStaysWithinItsBoundWhileEveryFileIsLookedUp) {
  const int directories = scaled(1000) >= 10'000 ? 10'000 : scaled(200);
  mount({.directories = static_cast<uint32_t>(directories), .files = 1000}, {});
  for (uint32_t i = 0; i < size_.directories; ++i) {
    look_at_all(i);
    if (kSanitized) continue;  // what a sanitizer takes is no matter of the daemon
    ASSERT_LT(resident_bytes(), kRamSize + kBeside + kPerNode * mounted_->nodes())
        << mounted_->nodes() << " files are known";
  }
}

TEST_F(MountedTree, WhatIsForgottenTakesItsShareOfWhatIsBeside) {
  const int directories = scaled(1000) >= 10'000 ? 1000 : scaled(100);
  mount({.directories = static_cast<uint32_t>(directories), .files = 1000}, {});
  for (uint32_t i = 0; i < size_.directories; ++i) look_at_all(i);
  ASSERT_TRUE(make_kernel_forget_all(*mounted_));
  if (kSanitized) return;
  EXPECT_TRUE(eventually([&] {
    return resident_bytes() < kRamSize + kBeside + kPerNode * mounted_->nodes();
  })) << resident_bytes();
}

/// With the kernel's help, or without.
class CrowdedMount : public MountedTree, public testing::WithParamInterface<bool> {};

std::string way(const testing::TestParamInfo<bool>& info) { return info.param ? "Prune" : "ByName"; }
INSTANTIATE_TEST_SUITE_P(, CrowdedMount, testing::Bool(), way);

mount::SessionOptions small_limit(bool prune) {
  mount::SessionOptions options;
  options.nodes.known = 10'000;
  options.kernel_features.set(mount::KernelFeature::prune, prune);
  return options;
}

/// A round in which the kernel keeps more than it was asked to leaves the rest to the next one, which waits
/// for a sixteenth of the limit in new files.
constexpr size_t kAtRest = 10'000 + 10'000 / 16;

TEST_P(CrowdedMount, TheKernelForgetsWhatIsAboveTheLimit) {
  mount({.directories = 60, .files = 1000}, small_limit(GetParam()));
  size_t most = 0;
  for (uint32_t i = 0; i < size_.directories; ++i) {
    look_at_all(i);
    most = std::max(most, mounted_->nodes());
    EXPECT_TRUE(eventually([&] { return mounted_->nodes() <= kAtRest; })) << mounted_->nodes();
  }
  EXPECT_GT(most, 5'000U) << "not more was forgotten than must be";
}

TEST_P(CrowdedMount, WhatIsInUseStays) {
  mount({.directories = 30, .files = 1000}, small_limit(GetParam()));
  const int open_file = open(file(0, 7).c_str(), O_RDONLY | O_CLOEXEC);
  const int open_directory = open(directory(1).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  const int path_of_file = open(file(2, 8).c_str(), O_PATH | O_CLOEXEC);
  ASSERT_TRUE(open_file >= 0 && open_directory >= 0 && path_of_file >= 0);
  for (uint32_t i = 3; i < size_.directories; ++i) look_at_all(i);
  EXPECT_TRUE(eventually([&] { return mounted_->nodes() <= kAtRest; })) << mounted_->nodes();

  char text[64]{};
  EXPECT_GT(pread(open_file, text, sizeof text, 0), 0);
  EXPECT_STREQ(text, "directory00000/file000007");
  struct stat status{};
  EXPECT_EQ(fstatat(open_directory, TreeFs::file_name(5).c_str(), &status, 0), 0);
  EXPECT_EQ(fstat(path_of_file, &status), 0);
  EXPECT_EQ(status.st_size, 25);
  char path[PATH_MAX]{};
  EXPECT_GT(readlink(fmt::format("/proc/self/fd/{}", open_directory).c_str(), path, sizeof path - 1), 0);
  EXPECT_EQ(path, directory(1)) << "a directory in use keeps its path";
  close(open_file);
  close(open_directory);
  close(path_of_file);
}

}  // namespace
}  // namespace cachefs::test
