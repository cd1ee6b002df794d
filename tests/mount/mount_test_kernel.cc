// What the kernel keeps in front of a cached mount, and when it is told that it is no longer true.
#include <dirent.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>

#include "mount/mount_test_fixture.h"
#include "mount/node_table.h"

namespace cachefs::test {
namespace {

std::function<bool(Operation)> is(Operation wanted) {
  return [wanted](Operation operation) { return operation == wanted; };
}

auto deadline() { return std::chrono::steady_clock::now() + kDeadline; }

uint64_t size_of(const std::string& path) {
  struct stat status{};
  return stat(path.c_str(), &status) == 0 ? static_cast<uint64_t>(status.st_size) : UINT64_MAX;
}

/// What is known stays so for much longer than a test takes, unless the kernel is told otherwise.
class KilledChange : public MountTest {
 protected:
  [[nodiscard]] CacheOptions cache_options() const override {
    return {.coherence = {.mode = CoherenceMode::ttl, .ttl = std::chrono::hours(1)}};
  }

  /// A child makes a change, is killed while the source works at `operation`, and is answered; the change is
  /// made afterwards. `between` runs before that.
  void kill_during(Operation operation, const std::function<void()>& change,
                   const std::function<void()>& between) {
    fault_.hang_if(is(operation));
    const pid_t child = fork();
    if (child == 0) {
      close_range(3, ~0U, 0);  // a session's device that stays open here would keep the mount alive
      change();
      _exit(0);
    }
    const bool reached = fault_.wait_for_hanging(1, deadline());
    kill(child, SIGKILL);
    int status = 0;
    const bool ended = eventually([&] { return waitpid(child, &status, WNOHANG) == child; });
    if (reached && ended) between();
    fault_.recover();
    ASSERT_TRUE(reached);
    ASSERT_TRUE(ended);
    EXPECT_TRUE(WIFSIGNALED(status));
  }
};
INSTANTIATE_TEST_SUITE_P(, KilledChange, testing::Values(SourceKind::cached), source_name);

TEST_P(KilledChange, OfANameIsToldToTheKernelWhenItIsDone) {
  ASSERT_EQ(write_file(at("file"), "text"), 0);
  kill_during(
      Operation::remove, [&] { unlink(at("file").c_str()); }, [&] { EXPECT_EQ(size_of(at("file")), 4U); });
  EXPECT_TRUE(eventually([&] { return access(at("file").c_str(), F_OK) != 0; }));
}

TEST_P(KilledChange, OfTwoNamesIsToldToTheKernelWhenItIsDone) {
  ASSERT_EQ(write_file(at("old"), "text"), 0);
  kill_during(
      Operation::rename, [&] { rename(at("old").c_str(), at("new").c_str()); },
      [&] {
        EXPECT_EQ(size_of(at("old")), 4U);
        EXPECT_EQ(size_of(at("new")), UINT64_MAX);
      });
  EXPECT_TRUE(eventually([&] { return size_of(at("old")) == UINT64_MAX && size_of(at("new")) == 4; }));
}

TEST_P(KilledChange, ByAnOpenThatTruncatesIsToldToTheKernelWhenItIsDone) {
  ASSERT_EQ(write_file(at("file"), "text"), 0);
  kill_during(
      Operation::set_attributes, [&] { open(at("file").c_str(), O_WRONLY | O_TRUNC); },
      [&] { EXPECT_EQ(size_of(at("file")), 4U); });
  EXPECT_TRUE(eventually([&] { return size_of(at("file")) == 0; }));
  EXPECT_EQ(contents_of(at("file")), "");
}

using KernelCache = MountTest;
INSTANTIATE_TEST_SUITE_P(, KernelCache, testing::Values(SourceKind::cached), source_name);

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

Directory open_directory(const std::string& path) { return Directory(opendir(path.c_str())); }

std::set<std::string> names_in(const Directory& directory) {
  std::set<std::string> names;
  while (const dirent* entry = readdir(directory.get())) names.insert(entry->d_name);
  return names;
}

TEST_P(KernelCache, AnOlderOpenOfADirectoryShowsItsListingToNobodyElse) {
  std::ofstream(source_directory() / "old");
  ASSERT_TRUE(names_in(open_directory(at(""))).contains("old"));
  Directory older = open_directory(at(""));
  std::ofstream(source_directory() / "new");
  const Directory newer = open_directory(at(""));
  names_in(older);  // would be kept by the kernel
  EXPECT_TRUE(names_in(newer).contains("new"));
  EXPECT_TRUE(names_in(open_directory(at(""))).contains("new"));
  older.reset();
  EXPECT_TRUE(names_in(open_directory(at(""))).contains("new"));
}

TEST_P(KernelCache, ARewoundDirectoryIsShownAsItIsThoughNothingWasReadOfItYet) {
  std::ofstream(at("old"));
  names_in(open_directory(at("")));
  const Directory directory = open_directory(at(""));
  std::ofstream(at("new"));
  rewinddir(directory.get());
  EXPECT_EQ(names_in(directory), (std::set<std::string>{".", "..", "old", "new"}));
  unlink(at("old").c_str());
  rewinddir(directory.get());
  EXPECT_EQ(names_in(directory), (std::set<std::string>{".", "..", "new"}));
}

TEST_P(KernelCache, ARewoundDirectoryIsShownAsItIsThoughTheKernelAloneWasAskedBefore) {
  std::ofstream(at("old"));
  names_in(open_directory(at("")));
  const Directory directory = open_directory(at(""));
  EXPECT_EQ(names_in(directory), (std::set<std::string>{".", "..", "old"}));
  std::ofstream(at("new"));
  rewinddir(directory.get());
  EXPECT_EQ(names_in(directory), (std::set<std::string>{".", "..", "old", "new"}));
}

class SmallCache : public MountTest {
 protected:
  [[nodiscard]] CacheOptions cache_options() const override { return {.max_bytes = 1024 * 1024}; }
};
INSTANTIATE_TEST_SUITE_P(, SmallCache, testing::Values(SourceKind::cached), source_name);

TEST_P(SmallCache, TheKernelMayKeepOfADirectoryWhatIsOfOneMoment) {
  constexpr int kFiles = 8000;
  const auto generation = [this] {
    const auto stream = cache()->open_directory(*cache()->root(), {});
    return stream ? cache()->generation_of(**stream) : std::nullopt;
  };
  EXPECT_TRUE(generation().has_value());
  for (int i = 0; i < kFiles; ++i)
    std::ofstream(source_directory() / ("a file with a longer name " + std::to_string(i)));
  EXPECT_FALSE(generation().has_value()) << "too large to be cached, so that the rest is read later";
  EXPECT_EQ(names_in(open_directory(at(""))).size(), kFiles + 2U);
}

char byte_at(int fd, off_t offset) {
  char byte = '?';
  return pread(fd, &byte, 1, offset) == 1 ? byte : '?';
}

TEST_P(KernelCache, PagesAreKeptOnlyOnceTheOpenThatDropsTheOldOnesHasEnded) {
  constexpr size_t kSize = 1024 * 1024;
  constexpr off_t kFarAway = kSize / 2;
  const auto fill = [&](char with) {
    std::fstream(source_directory() / "file", std::ios::in | std::ios::out | std::ios::ate).seekp(0)
        << std::string(kSize, with);
  };
  std::ofstream(source_directory() / "file");
  fill('a');
  const int fd = open(at("file").c_str(), O_RDONLY);
  posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
  ASSERT_EQ(byte_at(fd, kFarAway), 'a');

  // A hung read holds a page, for which an open that drops the pages waits, uninterruptibly.
  fault_.hang_if(is(Operation::read));
  char first_page = '?', far_away = '?';
  WatchedThread reader([&] { first_page = byte_at(fd, 0); });
  EXPECT_TRUE(fault_.wait_for_hanging(1, deadline()));
  fill('b');
  WatchedThread dropping([&] { close(open(at("file").c_str(), O_RDONLY)); });
  EXPECT_TRUE(dropping.ends_or_is_in_state('D'));
  WatchedThread following([&] {
    const int other = open(at("file").c_str(), O_RDONLY);
    far_away = byte_at(other, kFarAway);
    close(other);
  });
  EXPECT_TRUE(following.ends_or_is_in_state('D'));
  fault_.recover();
  for (WatchedThread* thread : {&reader, &dropping, &following}) thread->join();
  close(fd);
  EXPECT_EQ(first_page, 'b');
  EXPECT_EQ(far_away, 'b');
}

/// Writes `size` bytes of 'b' with O_DIRECT, by io_submit(2), and waits for the end. True if all is written.
bool write_directly(const std::string& path, size_t size) {
  constexpr size_t kAlignment = 4096;
  void* const data = std::aligned_alloc(kAlignment, size);
  std::memset(data, 'b', size);
  const int fd = open(path.c_str(), O_RDWR | O_DIRECT);
  aio_context_t context = 0;
  iocb request{};
  request.aio_lio_opcode = IOCB_CMD_PWRITE;
  request.aio_fildes = static_cast<uint32_t>(fd);
  request.aio_buf = reinterpret_cast<uintptr_t>(data);
  request.aio_nbytes = size;
  iocb* requests[] = {&request};
  io_event event{};
  return fd >= 0 && syscall(SYS_io_setup, 1, &context) == 0 &&
         syscall(SYS_io_submit, context, 1, requests) == 1 &&
         syscall(SYS_io_getevents, context, 1, 1, &event, nullptr) == 1 &&
         event.res == static_cast<int64_t>(size);
}

/// What was read once is not asked about again: who reads need not wait for the source.
using DirectWrite = KilledChange;
INSTANTIATE_TEST_SUITE_P(, DirectWrite, testing::Values(SourceKind::cached), source_name);

/// By a process of its own: one that dies with such a write to a mount that it serves itself cannot end.
TEST_P(DirectWrite, LeavesNoPagesThatWereReadWhileItWasUnderWay) {
  constexpr size_t kSize = 4096;
  ASSERT_EQ(write_file(at("file"), std::string(kSize, 'a')), 0);
  const int reading = open(at("file").c_str(), O_RDONLY);
  char found = '?';
  ASSERT_EQ(pread(reading, &found, 1, 0), 1);
  fault_.hang_if(is(Operation::write));
  const pid_t child = fork();
  if (child == 0) {
    close_range(3, ~0U, 0);
    _exit(write_directly(at("file"), kSize) ? 0 : 1);
  }
  const bool reached = fault_.wait_for_hanging(1, deadline());
  EXPECT_EQ(pread(reading, &found, 1, 0), 1);
  EXPECT_EQ(found, 'a');
  fault_.recover();
  int status = -1;
  ASSERT_TRUE(eventually([&] { return waitpid(child, &status, WNOHANG) == child; }));
  EXPECT_TRUE(reached);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(pread(reading, &found, 1, 0), 1);
  EXPECT_EQ(found, 'b');
  close(reading);
}

TEST_P(KernelCache, WhoAppendsFindsWhatHeAppended) {
  constexpr int kRounds = 100;
  const std::string source = (source_directory() / "log").string();
  ASSERT_EQ(write_file(source, ""), 0);
  const int fd = open(at("log").c_str(), O_RDWR | O_APPEND);
  std::string expected;
  for (int i = 0; i < kRounds; ++i) {
    ASSERT_EQ(write_file(source, "theirs", O_APPEND), 0);
    const std::string ours = std::to_string(i);
    ASSERT_EQ(write(fd, ours.data(), ours.size()), static_cast<ssize_t>(ours.size()));
    expected += "theirs" + ours;
    std::string found(expected.size(), '?');
    ASSERT_EQ(pread(fd, found.data(), found.size(), 0), static_cast<ssize_t>(found.size()));
    EXPECT_EQ(found, expected);
  }
  close(fd);
}

/// The part of a file handle of FUSE that tells apart what had one number one after the other; 0: none.
uint32_t generation_in_handle(const std::string& path) {
  constexpr size_t kWords = 3;  // the number in two, the generation
  alignas(file_handle) std::array<std::byte, sizeof(file_handle) + kWords * sizeof(uint32_t)> memory{};
  auto* const handle = reinterpret_cast<file_handle*>(memory.data());
  handle->handle_bytes = kWords * sizeof(uint32_t);
  int mount_id = 0;
  if (name_to_handle_at(AT_FDCWD, path.c_str(), handle, &mount_id, 0) != 0) return 0;
  uint32_t generation = 0;
  std::memcpy(&generation, memory.data() + memory.size() - sizeof generation, sizeof generation);
  return generation;
}

TEST_P(KernelCache, HandlesOfForgottenFilesLeadToNoOtherFile) {
  std::set<uint32_t> generations{0};
  for (const char* name : {"one", "two", "three"}) {
    ASSERT_EQ(write_file(at(name), name), 0);
    EXPECT_TRUE(generations.insert(generation_in_handle(at(name))).second) << name;
    ASSERT_EQ(unlink(at(name).c_str()), 0);  // its number may be given anew
  }
}

TEST(KeptListing, OfOneGenerationAtATime) {
  mount::KeptListing kept;
  const auto opened = [&kept](uint64_t generation) {
    const mount::ListingUse use = kept.open(generation);
    return std::pair(use.caches, use.keeps);
  };
  EXPECT_EQ(opened(1), std::pair(true, false));
  EXPECT_EQ(opened(1), std::pair(true, false)) << "the first open may not have ended yet";
  kept.confirm();
  EXPECT_EQ(opened(1), std::pair(true, true));
  EXPECT_EQ(opened(2), std::pair(false, true)) << "handles of another generation are open";
  for (int i = 0; i < 3; ++i) kept.close();
  EXPECT_EQ(opened(2), std::pair(true, false));
}

/// The queue of what is to be told to the kernel holds three changes.
class FullQueue : public MountTest {
 protected:
  [[nodiscard]] CacheOptions cache_options() const override {
    return {.coherence = {.mode = CoherenceMode::immutable}};
  }
  [[nodiscard]] mount::SessionOptions session_options() const override {
    mount::SessionOptions options;
    options.notifications_max = 3;
    return options;
  }

  std::string name_of(int file) const { return "file" + std::to_string(file); }
  std::string on_source(int file) const { return (source_directory() / name_of(file)).string(); }
  static constexpr int kFiles = 200;
};
INSTANTIATE_TEST_SUITE_P(, FullQueue, testing::Values(SourceKind::cached), source_name);

TEST_P(FullQueue, OfChangesMakesTheKernelForgetAllFiles) {
  std::vector<int> open_files;
  for (int i = 0; i < kFiles; ++i) {
    ASSERT_EQ(write_file(on_source(i), "old"), 0);
    ASSERT_EQ(contents_of(at(name_of(i))), "old");
    open_files.push_back(open(at(name_of(i)).c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_EQ(size_of(at(name_of(i))), 3U);
  }
  for (int i = 0; i < kFiles; ++i) ASSERT_EQ(write_file(on_source(i), "changed"), 0);
  EXPECT_EQ(contents_of(at(name_of(0))), "old") << "it is in the kernel";
  EXPECT_EQ(cache()->invalidate_prefix("/"), static_cast<size_t>(kFiles) + 1);
  for (int i = 0; i < kFiles; ++i) {
    EXPECT_TRUE(eventually([&] { return size_of(at(name_of(i))) == 7; })) << name_of(i);
    EXPECT_TRUE(eventually([&] {
      char text[7];
      return pread(open_files[static_cast<size_t>(i)], text, sizeof text, 0) == 7 && text[0] == 'c';
    })) << name_of(i);
  }
  for (const int fd : open_files) close(fd);
}

}  // namespace
}  // namespace cachefs::test
