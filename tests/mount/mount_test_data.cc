// Data through the mount.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>

#include "mount/mount_test_fixture.h"

namespace cachefs::test {
namespace {

using MountData = MountTest;
INSTANTIATE_TEST_SUITE_P(, MountData,
                         testing::Values(SourceKind::memory, SourceKind::posix, SourceKind::cached),
                         source_name);

std::string random_text(size_t size) {
  std::mt19937_64 random(size);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

TEST_P(MountData, LargeFilesComeBackAsWritten) {
  const std::string text = random_text(5'000'001);
  ASSERT_EQ(write_file(at("large"), text), 0);
  EXPECT_EQ(contents_of(at("large")), text);
}

TEST_P(MountData, WritesFarBeyondTheEndLeaveAHole) {
  const int fd = open(at("sparse").c_str(), O_RDWR | O_CREAT, 0644);
  ASSERT_EQ(pwrite(fd, "end", 3, 10'000'000), 3);
  char text[4] = {'x', 'x', 'x', 'x'};
  EXPECT_EQ(pread(fd, text, 4, 5'000'000), 4);
  EXPECT_EQ(std::string(text, 4), std::string(4, '\0'));
  EXPECT_GT(lseek(fd, 0, SEEK_DATA), 0);
  EXPECT_EQ(lseek(fd, 0, SEEK_HOLE), 0);
  EXPECT_EQ(lseek(fd, 10'000'003, SEEK_DATA), -1);
  EXPECT_EQ(errno, ENXIO);
  close(fd);
}

TEST_P(MountData, OpenTruncates) {
  ASSERT_EQ(write_file(at("file"), "long text"), 0);
  ASSERT_EQ(write_file(at("file"), "x", O_TRUNC), 0);
  EXPECT_EQ(contents_of(at("file")), "x");
}

TEST_P(MountData, ExclusiveCreationRefusesAnExistingFile) {
  ASSERT_EQ(write_file(at("file"), "x"), 0);
  EXPECT_EQ(write_file(at("file"), "y", O_EXCL), EEXIST);
}

TEST_P(MountData, AppendersInSeveralProcessesLoseNothing) {
  constexpr int kProcesses = 4;
  constexpr int kLines = 100;
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      const int fd = open(at("log").c_str(), O_WRONLY | O_APPEND | O_CREAT, 0644);
      const std::string line(15, static_cast<char>('a' + i));
      bool ok = fd >= 0;
      for (int j = 0; j < kLines; ++j) ok = ok && write(fd, (line + "\n").c_str(), 16) == 16;
      _exit(ok ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  const std::string text = contents_of(at("log"));
  ASSERT_EQ(text.size(), 16U * kProcesses * kLines);
  for (size_t i = 0; i < text.size(); i += 16) EXPECT_EQ(text.substr(i, 16), std::string(15, text[i]) + "\n");
}

TEST_P(MountData, PrivateMappingsReadTheFile) {
  const std::string text = random_text(100'000);
  ASSERT_EQ(write_file(at("file"), text), 0);
  const int fd = open(at("file").c_str(), O_RDONLY);
  void* const mapped = mmap(nullptr, text.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  ASSERT_NE(mapped, MAP_FAILED) << strerrorname_np(errno);
  EXPECT_EQ(std::string_view(static_cast<char*>(mapped), text.size()), text);
  static_cast<char*>(mapped)[0] ^= 1;  // stays private
  munmap(mapped, text.size());
  close(fd);
  EXPECT_EQ(contents_of(at("file")), text);
}

TEST_P(MountData, ProgramsRunFromTheMount) {
  std::string program = contents_of("/bin/true");
  ASSERT_EQ(write_file(at("true"), program), 0);
  ASSERT_EQ(chmod(at("true").c_str(), 0755), 0);
  EXPECT_EQ(run_as({},
                   [&] {
                     execl(at("true").c_str(), "true", nullptr);
                     return 126;
                   }),
            0);
}

TEST_P(MountData, EachReadReachesTheSource) {
  if (GetParam() == SourceKind::cached) return;  // that is what a cache is for
  ASSERT_EQ(write_file(at("file"), "text"), 0);
  const int fd = open(at("file").c_str(), O_RDONLY);
  counter_.reset();
  char text[4];
  for (int i = 0; i < 3; ++i) ASSERT_EQ(pread(fd, text, 4, 0), 4);
  EXPECT_EQ(counter_.reads(), 3U);
  close(fd);
}

TEST_P(MountData, SpaceIsAllocatedAndPunched) {
  const int fd = open(at("file").c_str(), O_RDWR | O_CREAT, 0644);
  ASSERT_EQ(fallocate(fd, 0, 0, 8192), 0) << strerrorname_np(errno);
  ASSERT_EQ(pwrite(fd, "xxxx", 4, 4096), 4);
  ASSERT_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096), 0)
      << strerrorname_np(errno);
  char text[4];
  ASSERT_EQ(pread(fd, text, 4, 4096), 4);
  EXPECT_EQ(std::string(text, 4), std::string(4, '\0'));
  EXPECT_EQ(lseek(fd, 0, SEEK_END), 8192);
  EXPECT_EQ(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096), -1);
  EXPECT_EQ(errno, EOPNOTSUPP);
  close(fd);
}

TEST_P(MountData, RangesAreCopiedBetweenFiles) {
  const std::string text = random_text(300'000);
  ASSERT_EQ(write_file(at("from"), text), 0);
  const int from = open(at("from").c_str(), O_RDONLY);
  const int to = open(at("to").c_str(), O_RDWR | O_CREAT, 0644);
  ssize_t size = 0;
  while ((size = copy_file_range(from, nullptr, to, nullptr, 1'000'000, 0)) > 0) {
  }
  EXPECT_EQ(size, 0);
  close(from);
  close(to);
  EXPECT_EQ(contents_of(at("to")), text);
}

TEST_P(MountData, SyncReachesTheSource) {
  const int fd = open(at("file").c_str(), O_WRONLY | O_CREAT, 0644);
  ASSERT_EQ(write(fd, "x", 1), 1);
  counter_.reset();
  EXPECT_EQ(fsync(fd), 0);
  EXPECT_EQ(fdatasync(fd), 0);
  EXPECT_EQ(counter_.count(Operation::sync), 2U);
  close(fd);
  EXPECT_TRUE(eventually([&] { return counter_.count(Operation::close) == 1; }));
}

TEST_P(MountData, CloseTellsEachWriterWhatTheSourceTellsOnlyThen) {
  const int first = open(at("file").c_str(), O_WRONLY | O_CREAT, 0644);
  const int second = dup(first);
  const int other = open(at("file").c_str(), O_RDWR);
  const int reader = open(at("file").c_str(), O_RDONLY);
  ASSERT_EQ(write(first, "x", 1), 1);
  ASSERT_EQ(pwrite(other, "y", 1, 1), 1);
  fault_.fail_if([](Operation operation) { return operation == Operation::flush; },
                 Error(std::errc::no_space_on_device));
  counter_.reset();
  for (const int writer : {first, second, other}) {
    EXPECT_EQ(close(writer), -1);
    EXPECT_EQ(errno, ENOSPC);
  }
  EXPECT_EQ(close(reader), 0);
  EXPECT_EQ(counter_.count(Operation::flush), 3U);
  EXPECT_EQ(counter_.metadata(), 0U);
}

}  // namespace
}  // namespace cachefs::test
