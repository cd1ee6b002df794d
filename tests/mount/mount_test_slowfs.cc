// slowfs as a program: its delays, its faults, its counts.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "cachefs/posix_fs.h"
#include "mount/mount_test_fixture.h"

namespace cachefs::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

struct Finished {
  int exit_code = -1;
  std::string output;  ///< both streams
};

class SlowFs : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string obstacle = prepare_mounts(); !obstacle.empty()) {
      ASSERT_EQ(std::getenv("CACHEFS_TEST_REQUIRE_MOUNT"), nullptr) << obstacle;
      GTEST_SKIP() << obstacle;
    }
    std::filesystem::create_directory(source_);
    std::filesystem::create_directory(mountpoint_);
    for (int i = 0; i < 8; ++i) std::ofstream(source_ / ("file" + std::to_string(i))) << "text";
  }

  void TearDown() override {
    if (daemon_ > 0) {
      kill(daemon_, SIGTERM);
      EXPECT_TRUE(daemon_ends());
    }
  }

  /// A child that runs slowfs, and ends when this process does.
  pid_t spawn(const std::vector<std::string>& arguments, int output) {
    std::vector<char*> words{const_cast<char*>("slowfs")};
    for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
    words.push_back(nullptr);
    const pid_t child = fork();
    if (child != 0) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    execv(SLOWFS_PROGRAM, words.data());
    _exit(127);
  }

  Finished run(const std::vector<std::string>& arguments) {
    const int file = memfd_create("output", MFD_CLOEXEC);
    int status = 0;
    waitpid(spawn(arguments, file), &status, 0);
    Finished finished{.exit_code = WEXITSTATUS(status), .output = std::string(4096, '\0')};
    const ssize_t size = pread(file, finished.output.data(), finished.output.size(), 0);
    finished.output.resize(size > 0 ? static_cast<size_t>(size) : 0);
    close(file);
    return finished;
  }

  /// Serves in the foreground of a child; returns when it answers commands.
  void start(const std::string& op_delay, const std::string& request_delay,
             const std::string& bandwidth = "0") {
    daemon_ = spawn({source_.string(), mountpoint_.string(), "--foreground", "--op-delay", op_delay,
                     "--request-delay", request_delay, "--bandwidth", bandwidth},
                    STDERR_FILENO);
    ASSERT_TRUE(eventually([&] { return run({"--control", mountpoint_.string(), "stats"}).exit_code == 0; }));
  }

  nlohmann::json control(std::vector<std::string> words) {
    words.insert(words.begin(), {"--control", mountpoint_.string(), "--json"});
    const Finished finished = run(words);
    EXPECT_EQ(finished.exit_code, 0) << finished.output;
    return nlohmann::json::parse(finished.output, nullptr, false);
  }

  bool daemon_ends() {
    const bool ended = eventually([&] { return waitpid(daemon_, nullptr, WNOHANG) == daemon_; });
    if (ended) daemon_ = 0;
    return ended;
  }

  [[nodiscard]] std::string file(int i) const {
    return (mountpoint_ / ("file" + std::to_string(i))).string();
  }

  TemporaryDirectory temporary_;
  std::filesystem::path source_ = temporary_.path() / "source";
  std::filesystem::path mountpoint_ = temporary_.path() / "mount";
  pid_t daemon_ = 0;
};

TEST_F(SlowFs, EachOperationTakesItsDelay) {
  start("10ms", "0");
  control({"reset"});
  const auto begin = Clock::now();
  for (int i = 0; i < 8; ++i) EXPECT_EQ(contents_of(file(i)), "text");
  const auto elapsed = Clock::now() - begin;
  const nlohmann::json stats = control({"stats"});
  EXPECT_GE(stats.at("metadata"), 16);  // a look-up and an open for each
  EXPECT_GE(elapsed, stats.at("metadata").get<int>() * 10ms);
}

TEST_F(SlowFs, EachReadReachesItAndTakesItsDelay) {
  start("0", "10ms");
  const int fd = open(file(0).c_str(), O_RDONLY);
  control({"reset"});
  const auto begin = Clock::now();
  char text[4];
  for (int i = 0; i < 5; ++i) EXPECT_EQ(pread(fd, text, 4, 0), 4);
  EXPECT_GE(Clock::now() - begin, 50ms);
  const nlohmann::json stats = control({"stats"});
  EXPECT_EQ(stats.at("reads"), 5);
  EXPECT_EQ(stats.at("read_bytes"), 20);
  close(fd);
}

TEST_F(SlowFs, DelaysOfConcurrentRequestsOverlap) {
  constexpr auto kDelay = 500ms;
  constexpr int kThreads = 8;
  start("0", "500ms");
  std::vector<std::thread> threads;
  const auto begin = Clock::now();
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([this, i] {
      char text[4];
      const int fd = open(file(i).c_str(), O_RDONLY);
      EXPECT_EQ(pread(fd, text, 4, 0), 4);
      close(fd);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto elapsed = Clock::now() - begin;
  EXPECT_GE(elapsed, kDelay);
  EXPECT_LT(elapsed, kDelay * kThreads);  // what they would take one after the other
}

TEST_F(SlowFs, BandwidthIsShared) {
  std::ofstream(source_ / "large") << std::string(1'000'000, 'x');
  start("0", "0", "10MB/s");
  const auto begin = Clock::now();
  EXPECT_EQ(contents_of((mountpoint_ / "large").string()).size(), 1'000'000U);
  EXPECT_GE(Clock::now() - begin, 100ms);
}

TEST_F(SlowFs, FailsOnCommandAndRecovers) {
  start("0", "0");
  control({"fail", "EIO", "read"});
  EXPECT_EQ(contents_of(file(0)), "?EIO");
  control({"fail", "eacces"});
  EXPECT_EQ(contents_of(file(0)), "?EACCES");
  control({"recover"});
  EXPECT_EQ(contents_of(file(0)), "text");
}

TEST_F(SlowFs, FailsClosingOnCommandAndPosixFsTellsIt) {
  start("0", "0");
  control({"fail", "EDQUOT", "flush"});
  EXPECT_EQ(write_file(file(0), "more"), EDQUOT);
  EXPECT_EQ(contents_of(file(0)), "more");
  const auto source = make_posix_fs(mountpoint_.string());
  ASSERT_TRUE(source);
  const auto found = (*source)->lookup(*(*source)->root(), "file0", Caller::self());
  ASSERT_TRUE(found);
  const auto opened = (*source)->open(*found->node, {.read = false, .write = true}, Caller::self());
  ASSERT_TRUE(opened);
  const Result<void> flushed = opened->file->flush();
  EXPECT_EQ(flushed ? 0 : flushed.error().to_errno(), EDQUOT);
  control({"recover"});
  EXPECT_TRUE(opened->file->flush());
}

TEST_F(SlowFs, HangsOnCommandAnswersCommandsAndRecovers) {
  start("0", "0");
  control({"hang"});
  std::string text;
  std::thread reader([&] { text = contents_of(file(0)); });
  EXPECT_TRUE(eventually([&] { return control({"stats"}).at("hanging") == 1; }));
  control({"recover"});
  reader.join();
  EXPECT_EQ(text, "text");
}

TEST_F(SlowFs, SlowsDownOnCommandAndRecovers) {
  start("0", "0");
  control({"slow", "1h", "read"});
  std::string text;
  std::thread reader([&] { text = contents_of(file(0)); });
  EXPECT_TRUE(eventually([&] { return control({"stats"}).at("operations").at("open") == 1; }));
  control({"recover"});
  reader.join();
  EXPECT_EQ(text, "text");
  control({"slow", "50ms", "read"});
  const auto begin = Clock::now();
  EXPECT_EQ(contents_of(file(0)), "text");
  EXPECT_GE(Clock::now() - begin, 50ms);
}

TEST_F(SlowFs, FilesCanBeMappedPrivately) {
  start("0", "0");
  const int fd = open(file(0).c_str(), O_RDONLY);
  void* const mapped = mmap(nullptr, 4, PROT_READ, MAP_PRIVATE, fd, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  EXPECT_EQ(std::string_view(static_cast<char*>(mapped), 4), "text");
  munmap(mapped, 4);
  close(fd);
}

TEST_F(SlowFs, InTheBackgroundItReturnsOnceMountedAndEndsWithTheMount) {
  const Finished started =
      run({source_.string(), mountpoint_.string(), "--op-delay", "0", "--request-delay", "0"});
  ASSERT_EQ(started.exit_code, 0) << started.output;
  EXPECT_EQ(contents_of(file(0)), "text");
  ASSERT_EQ(umount2(mountpoint_.c_str(), 0), 0) << strerrorname_np(errno);
  EXPECT_TRUE(eventually([&] { return run({"--control", mountpoint_.string(), "stats"}).exit_code != 0; }));
}

TEST_F(SlowFs, EndsOnASignalWhileItHangs) {
  start("0", "0");
  control({"hang", "read"});
  std::thread reader([&] { contents_of(file(0)); });
  EXPECT_TRUE(eventually([&] { return control({"stats"}).at("hanging") == 1; }));
  kill(daemon_, SIGTERM);
  EXPECT_TRUE(daemon_ends());
  reader.join();
}

TEST_F(SlowFs, ComplaintsAreOneSentence) {
  const auto complaint = [&](const std::vector<std::string>& arguments) {
    const Finished finished = run(arguments);
    EXPECT_NE(finished.exit_code, 0);
    return finished.output;
  };
  const std::string source = source_.string();
  const std::string mountpoint = mountpoint_.string();
  EXPECT_EQ(complaint({source + "/no", mountpoint}),
            "slowfs: open the source '" + source + "/no': No such file or directory\n");
  EXPECT_EQ(complaint({source, mountpoint + "/no"}),
            "slowfs: look at '" + mountpoint + "/no': No such file or directory\n");
  EXPECT_EQ(complaint({source, source}), "slowfs: the mount point '" + source + "' is inside the source '" +
                                             source + "'; choose one outside\n");
  EXPECT_EQ(complaint({"--control", mountpoint, "stats"}),
            "slowfs: no slowfs of yours serves '" + mountpoint + "'\n");
  EXPECT_EQ(complaint({source}), "slowfs: two places are needed: slowfs SOURCE MOUNTPOINT (see --help)\n");
  EXPECT_EQ(complaint({source, mountpoint, "-o", "nonsense"}),
            "slowfs: mounting on '" + mountpoint + "': fuse: unknown option(s): `-o nonsense'\n");
}

TEST_F(SlowFs, WrongUsageIsTwo) {
  start("0", "0");
  const std::string mountpoint = mountpoint_.string();
  EXPECT_EQ(run({"--nonsense"}).exit_code, 2);
  EXPECT_EQ(run({source_.string()}).exit_code, 2);
  EXPECT_EQ(run({source_.string(), mountpoint, "--op-delay", "banana"}).exit_code, 2);
  EXPECT_EQ(run({"--control", mountpoint, "frobnicate"}).exit_code, 2);
  EXPECT_EQ(run({"--control", mountpoint + "/none", "stats"}).exit_code, 1);
  EXPECT_EQ(run({"--control", mountpoint, "slow"}).exit_code, 2);
  const Finished nameless = run({"--control", mountpoint, "fail"});
  EXPECT_EQ(nameless.exit_code, 2);
  EXPECT_NE(nameless.output.find("needs the name of an error"), std::string::npos) << nameless.output;
}

}  // namespace
}  // namespace cachefs::test
