// Descriptors and threads of a daemon: bounded, whatever programs do.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <thread>

#include "mount/cli_fixture.h"

namespace cachefs::test {
namespace {

class CliLimits : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    rlimit limit{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  }
  void make_files(int count) const {
    for (int i = 0; i < count; ++i) std::ofstream(source_ + "/" + name(i)) << i;
  }
  static std::string name(int index) { return fmt::format("file{}", index); }
  static size_t entries_of(const std::string& directory) {
    const std::filesystem::directory_iterator begin(directory);
    return static_cast<size_t>(std::distance(begin, std::filesystem::directory_iterator()));
  }
};

TEST_F(CliLimits, TenThousandFilesAreOpenAtOnceAndReadable) {
  CACHEFS_REQUIRE_MOUNT();
  constexpr int kFiles = 10'000;
  constexpr size_t kDescriptorsMax = 20'000;
  make_files(kFiles);
  const pid_t daemon = mount();
  const rlimit limit{.rlim_cur = kDescriptorsMax, .rlim_max = kDescriptorsMax};
  prlimit(daemon, RLIMIT_NOFILE, &limit, nullptr);  // it may be that already
  std::vector<int> files;
  for (int i = 0; i < kFiles; ++i) {
    files.push_back(open((mountpoint_ + "/" + name(i)).c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_GE(files.back(), 0) << name(i) << ": " << strerrorname_np(errno);
  }
  int unreadable = 0;
  for (int i = 0; i < kFiles; ++i) {
    char text[16]{};
    if (pread(files[static_cast<size_t>(i)], text, sizeof text, 0) <= 0 || std::to_string(i) != text)
      ++unreadable;
  }
  EXPECT_EQ(unreadable, 0);
  // One for each file that is open, and a quarter of the limit for places that are known.
  EXPECT_LE(entries_of(fmt::format("/proc/{}/fd", daemon)), kFiles + kDescriptorsMax / 4 + 100);
  for (const int file : files) close(file);
}

TEST_F(CliLimits, ThreadsAreBoundedWhileManyProgramsRead) {
  CACHEFS_REQUIRE_MOUNT();
  constexpr int kFiles = 2000;
  constexpr int kReaders = 800;
  make_files(kFiles);
  const pid_t daemon = mount();
  std::atomic<int> next{0};
  std::atomic<int> failed{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < kReaders; ++i) {
    readers.emplace_back([&] {
      for (int file = next++; file < kFiles; file = next++) {
        std::ifstream stream(mountpoint_ + "/" + name(file));
        int number = -1;
        if (!(stream >> number) || number != file) ++failed;
      }
    });
  }
  size_t most = 0;
  while (next < kFiles) most = std::max(most, entries_of(fmt::format("/proc/{}/task", daemon)));
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(failed, 0);
  EXPECT_LE(most, 22U + 64 + 512 + 20) << "readers of requests, working and waiting ones, and a few more";
}

}  // namespace
}  // namespace cachefs::test
