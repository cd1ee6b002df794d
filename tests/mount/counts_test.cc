// What reaches the source, counted: by the cache, and by slowfs where it is the source. No time is measured
// here.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>

#include "mount/cli_fixture.h"

namespace cachefs::test {
namespace {

constexpr uint64_t kUnit = 4096;
constexpr uint64_t kBlock = 128 * 1024;

/// Reads a file in one request of the kernel's and returns the bytes; -1 for an error.
ssize_t read_at(const std::string& path, uint64_t offset, uint64_t size, int flags = 0) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | flags);
  if (fd < 0) return -1;
  posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
  void* buffer = std::aligned_alloc(kUnit, size);
  const ssize_t read = pread(fd, buffer, size, static_cast<off_t>(offset));
  std::free(buffer);
  close(fd);
  return read;
}

bool waits(pid_t thread) {
  std::ifstream file(fmt::format("/proc/self/task/{}/stat", thread));
  std::string line;
  std::getline(file, line);
  const size_t end = line.rfind(')');
  return end != std::string::npos && end + 2 < line.size() && (line[end + 2] == 'S' || line[end + 2] == 'D');
}

struct Counts {
  uint64_t reads = 0;
  uint64_t read_bytes = 0;
  uint64_t metadata = 0;

  Counts operator-(const Counts& other) const {
    return {reads - other.reads, read_bytes - other.read_bytes, metadata - other.metadata};
  }
};

class CountsTest : public CliTest {
 protected:
  void TearDown() override {
    if (!slow_.empty()) slowfs({"recover"});
    CliTest::TearDown();
  }

  /// Puts slowfs, without delays, between the directory of files and the cache.
  void insert_slowfs() {
    slow_ = folder_ / "slow";
    std::filesystem::create_directory(slow_);
    const Finished run = run_command(
        {SLOWFS_PROGRAM, files_, slow_, "--op-delay", "0", "--request-delay", "0", "--bandwidth", "0"});
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    source_ = slow_;
  }
  nlohmann::json slowfs(std::vector<std::string> words) const {
    words.insert(words.begin(), {SLOWFS_PROGRAM, "--json", "--control", slow_});
    return run_command(words).json();
  }

  void make_files(int count) {
    files_ = source_;
    for (int i = 0; i < count; ++i) {
      std::ofstream(fmt::format("{}/file{}", files_, i)) << std::string(kUnit, 'x');
      names_.push_back(fmt::format("file{}", i));
    }
  }
  /// Waits until the timestamps of all files are old enough to be taken for certain.
  void wait_until_settled() const {
    struct stat newest{};
    ASSERT_EQ(stat((files_ + "/" + names_.back()).c_str(), &newest), 0);
    ASSERT_TRUE(eventually([&] {
      timespec now{};
      clock_gettime(CLOCK_REALTIME, &now);
      return now.tv_sec >= newest.st_ctim.tv_sec + 3;
    }));
  }

  /// Stats, opens, reads and closes every file, and lists the directory.
  void pass() const {
    for (const std::string& name : names_) {
      ASSERT_EQ(read_at(mountpoint_ + "/" + name, 0, kUnit), static_cast<ssize_t>(kUnit));
    }
  }
  void walk() const {
    struct stat stat{};
    for (const std::string& name : names_) ASSERT_EQ(::stat((mountpoint_ + "/" + name).c_str(), &stat), 0);
    DIR* const directory = opendir(mountpoint_.c_str());
    ASSERT_NE(directory, nullptr);
    size_t entries = 0;
    while (readdir(directory) != nullptr) ++entries;
    closedir(directory);
    EXPECT_EQ(entries, names_.size() + 3);  // ".", ".." and the greeting
  }

  [[nodiscard]] Counts counts() const {
    const nlohmann::json stats = cachefs({"stats", "--json", mountpoint_}).json();
    return {stats.value("source_reads", uint64_t{0}), stats.value("source_read_bytes", uint64_t{0}),
            stats.value("source_metadata_ops", uint64_t{0})};
  }

  /// How many reads reach the source when `readers` threads at once read one of `blocks` cold blocks each.
  /// The source hangs until all of them wait.
  uint64_t reads_for(int readers, int blocks) {
    const std::string path = mountpoint_ + "/large";
    slowfs({"reset"});
    slowfs({"hang", "read"});
    std::vector<std::atomic<pid_t>> ids(static_cast<size_t>(readers));
    std::atomic<int> complete{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < readers; ++i) {
      threads.emplace_back([&, i] {
        ids[static_cast<size_t>(i)] = gettid();
        // O_DIRECT, or the kernel's own page lock would let only one of them come to the cache.
        const ssize_t size = read_at(path, kBlock * static_cast<uint64_t>(i % blocks), kBlock, O_DIRECT);
        if (size == static_cast<ssize_t>(kBlock)) ++complete;
      });
    }
    EXPECT_TRUE(eventually([&] {
      const bool all =
          std::all_of(ids.begin(), ids.end(), [](const auto& id) { return id != 0 && waits(id); });
      return all && slowfs({"stats"}).value("hanging", 0) == blocks;
    }));
    slowfs({"recover"});
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(complete, readers);
    return slowfs({"stats"}).value("reads", uint64_t{0});
  }

  std::string files_;  ///< where the files really are
  std::string slow_;   ///< empty: there is no slowfs
  std::vector<std::string> names_;
};

TEST_F(CountsTest, NothingIsAskedAgainWithinTtl) {
  CACHEFS_REQUIRE_MOUNT();
  make_files(20);
  wait_until_settled();
  mount({"--coherence", "ttl=60s"});
  pass();
  walk();
  const Counts first = counts();
  EXPECT_GE(first.reads, names_.size());
  EXPECT_GE(first.metadata, names_.size());
  pass();
  walk();
  const Counts second = counts() - first;
  EXPECT_EQ(second.reads, 0);
  EXPECT_EQ(second.metadata, 0);
}

TEST_F(CountsTest, SecondPassInCloseToOpenAsksTwiceAnOpenAndReadsNothing) {
  CACHEFS_REQUIRE_MOUNT();
  make_files(50);
  insert_slowfs();
  wait_until_settled();
  mount();
  pass();
  const Counts first = counts();
  const uint64_t arrived = slowfs({"stats"}).value("reads", uint64_t{0});
  EXPECT_EQ(first.reads, names_.size());
  EXPECT_EQ(arrived, first.reads);
  pass();
  const Counts second = counts() - first;
  EXPECT_EQ(second.reads, 0);
  EXPECT_EQ(slowfs({"stats"}).value("reads", uint64_t{0}), arrived);
  EXPECT_GE(second.metadata, names_.size());  // each open is checked
  const uint64_t directory_checks = 2;        // its attributes may have expired meanwhile
  EXPECT_LE(second.metadata, 2 * names_.size() + directory_checks);
}

TEST_F(CountsTest, ConcurrentReadersOfOneColdBlockMakeOneSourceRead) {
  CACHEFS_REQUIRE_MOUNT();
  make_files(1);
  std::ofstream(files_ + "/large") << std::string(kBlock, 'x');
  insert_slowfs();
  mount();
  EXPECT_EQ(reads_for(8, 1), 1);
}

TEST_F(CountsTest, ConcurrentReadersOfDifferentBlocksReadEachForItself) {
  CACHEFS_REQUIRE_MOUNT();
  make_files(1);
  std::ofstream(files_ + "/large") << std::string(8 * kBlock, 'x');
  insert_slowfs();
  mount();
  EXPECT_EQ(reads_for(8, 8), 8);
}

TEST_F(CountsTest, SmallReadOfAHugeSparseFileReadsOneUnit) {
  CACHEFS_REQUIRE_MOUNT();
  const uint64_t size = uint64_t{10} << 30;
  std::ofstream(source_ + "/sparse").close();
  std::filesystem::resize_file(source_ + "/sparse", size);
  mount();
  const Counts before = counts();
  EXPECT_EQ(read_at(mountpoint_ + "/sparse", size / 2 + 3 * kUnit, kUnit), static_cast<ssize_t>(kUnit));
  const Counts read = counts() - before;
  EXPECT_EQ(read.reads, 1);
  EXPECT_EQ(read.read_bytes, kUnit);
}

}  // namespace
}  // namespace cachefs::test
