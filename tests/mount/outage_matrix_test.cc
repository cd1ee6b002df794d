// Each way in which a source can be out of order, in the middle of each kind of work, through the program and
// the kernel: what a program is told is true or an error, and all is well again once the source is back.
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <thread>

#include "cli/unmount.h"
#include "mount/cli_fixture.h"
#include "mount/outage_work.h"
#include "support/mount_namespace.h"
#include "support/scale.h"

namespace cachefs::test {
namespace {

constexpr std::chrono::milliseconds kLimit{500};
/// A call that has not returned by then would never have.
constexpr std::chrono::seconds kWatchdog{30};
/// Idle threads end within ten seconds.
constexpr std::chrono::seconds kSettling{20};
/// What a daemon has at rest at most: five for each of three executors, the readers, and a handful of others.
const uint64_t kThreadsAtRest = 15 + (std::clamp(std::thread::hardware_concurrency(), 4U, 16U) + 6) + 10;
constexpr int kCallers = 120;  // more than that

/// What is done to a source, and how it is put right again.
class Fault {
 public:
  virtual ~Fault() = default;
  /// Where the source is mounted.
  [[nodiscard]] virtual std::string path() const = 0;
  virtual void strike() = 0;
  virtual void recover() = 0;
  /// Whether programs are to meet errors. Else what they ask for only takes longer.
  [[nodiscard]] virtual bool fails() const { return true; }
};

/// A slowfs that is told what to do.
class Commanded final : public Fault {
 public:
  Commanded(const std::string& files, const std::string& place, std::vector<std::string> command)
      : slow_(files, place), command_(std::move(command)) {}
  [[nodiscard]] std::string path() const override { return slow_.path(); }
  void strike() override { slow_.control(command_); }
  void recover() override { slow_.control({"recover"}); }
  [[nodiscard]] bool fails() const override { return command_.front() != "slow"; }

 private:
  SlowSource slow_;
  const std::vector<std::string> command_;
};

/// A source that is taken from its place and mounted there again. `empty`: another file system is there
/// meanwhile, in which there is nothing.
class Unmounted : public Fault {
 public:
  explicit Unmounted(bool empty) : empty_(empty) {}
  void strike() override {
    ASSERT_TRUE(cli::unmount(path(), cli::UnmountKind::detach));
    if (!empty_) return;
    ASSERT_EQ(::mount("none", path().c_str(), "tmpfs", 0, nullptr), 0) << std::strerror(errno);
  }
  void recover() override {
    const bool free = !empty_ || ::umount(path().c_str()) == 0;
    EXPECT_TRUE(free) << std::strerror(errno);
    mount_again();
  }

 protected:
  virtual void mount_again() = 0;

 private:
  const bool empty_;
};

class UnmountedSlowfs final : public Unmounted {
 public:
  UnmountedSlowfs(std::string files, std::string place, bool empty)
      : Unmounted(empty), files_(std::move(files)), place_(std::move(place)) {
    UnmountedSlowfs::mount_again();
  }
  [[nodiscard]] std::string path() const override { return place_; }

 private:
  void mount_again() override {
    slow_.reset();
    EXPECT_TRUE(eventually([&] { return !is_served(); })) << "the cache keeps the old one alive";
    slow_ = std::make_unique<SlowSource>(files_, place_);
  }
  [[nodiscard]] bool is_served() const {
    return run_command({SLOWFS_PROGRAM, "--control", place_, "stats"}).exit_code == 0;
  }
  const std::string files_;
  const std::string place_;
  std::unique_ptr<SlowSource> slow_;
};

/// A disk, as far as the cache can tell: a tmpfs, which stays the same at another place.
class UnmountedDisk final : public Unmounted {
 public:
  UnmountedDisk(std::string files, std::string place, bool empty)
      : Unmounted(empty), files_(std::move(files)), place_(std::move(place)) {
    std::filesystem::create_directory(place_);
    UnmountedDisk::mount_again();
  }
  [[nodiscard]] std::string path() const override { return place_; }

 private:
  void mount_again() override {
    EXPECT_EQ(::mount(files_.c_str(), place_.c_str(), nullptr, MS_BIND, nullptr), 0) << std::strerror(errno);
  }
  const std::string files_;
  const std::string place_;
};

struct Case {
  std::string fault;
  std::string work;
};

// NOLINTNEXTLINE(readability-identifier-naming): the name is GoogleTest's
void PrintTo(const Case& which, std::ostream* out) { *out << which.fault << " in " << which.work; }

std::string name_of(const testing::TestParamInfo<Case>& info) { return info.param.fault + info.param.work; }

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const char* fault :
       {"Hang", "Error", "Slow", "Empty", "GoneAndBack", "DiskEmpty", "DiskGoneAndBack"}) {
    for (const char* work : {"SequentialRead", "RandomWrites", "NameStorm"}) cases.push_back({fault, work});
  }
  for (const char* fault : {"Hang", "Error", "Empty", "GoneAndBack"}) {
    for (const char* work : {"Walk", "WalkWithoutStale"}) cases.push_back({fault, work});
  }
  return cases;
}

/// What a process holds.
struct Footprint {
  uint64_t threads = 0;
  uint64_t descriptors = 0;
  uint64_t memory_kib = 0;
};

Footprint footprint_of(pid_t pid) {
  Footprint result;
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  std::string word;
  while (status >> word) {
    if (word == "Threads:") status >> result.threads;
    if (word == "VmRSS:") status >> result.memory_kib;
  }
  std::error_code error;
  for (std::filesystem::directory_iterator it(fmt::format("/proc/{}/fd", pid), error), end;
       !error && it != end; it.increment(error))
    ++result.descriptors;
  return result;
}

bool settles(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kSettling;
  while (std::chrono::steady_clock::now() < deadline) {
    if (eventually(condition)) return true;
  }
  return false;
}

class OutageMatrix : public CliTest, public testing::WithParamInterface<Case> {
 protected:
  void SetUp() override {
    CACHEFS_REQUIRE_MOUNT();
    // Somebody else's copy of a namespace would keep what is unmounted here alive.
    ASSERT_EQ(prepare_mounts(), "");
    CliTest::SetUp();
    const bool is_disk = GetParam().fault.starts_with("Disk");
    if (is_disk) {
      ASSERT_EQ(::mount("none", source_.c_str(), "tmpfs", 0, nullptr), 0) << std::strerror(errno);
    }
    const bool stale = GetParam().work != "WalkWithoutStale";
    auto work = make_work(stale ? GetParam().work : "Walk", mountpoint_, source_, seed());
    work->prepare();
    std::ofstream(source_ + "/known") << "known";
    std::ofstream(source_ + "/unasked") << "text";
    for (int i = 0; i < kCallers; ++i) std::ofstream(fmt::format("{}/unknown{}", source_, i)) << "text";
    fault_ = make_fault();
    const Finished run =
        cachefs({"mount", fault_->path(), mountpoint_, "--json", "--attr-ttl", "0", "--ram-size", "4M",
                 "--timeout", fmt::format("{}ms", kLimit.count()), "--stale-if-error", stale ? "1h" : "0"});
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    daemon_ = run.json().value("pid", 0);
    remember(daemon_);
    worker_ = std::make_unique<Worker>(std::move(work));
  }
  void TearDown() override {
    worker_.reset();
    CliTest::TearDown();
    fault_.reset();
  }

  static uint64_t seed() {
    const char* text = std::getenv("CACHEFS_TEST_SEED");
    return text != nullptr ? std::strtoull(text, nullptr, 10) : 1;
  }
  std::unique_ptr<Fault> make_fault() {
    const std::string kind = GetParam().fault;
    const std::string place = folder_ / "place";
    if (kind == "Hang") return std::make_unique<Commanded>(source_, place, Command{"hang"});
    if (kind == "Error") return std::make_unique<Commanded>(source_, place, Command{"fail", "EIO"});
    if (kind == "Slow") return std::make_unique<Commanded>(source_, place, Command{"slow", "50ms"});
    const bool empty = kind.ends_with("Empty");
    if (kind.starts_with("Disk")) return std::make_unique<UnmountedDisk>(source_, place, empty);
    return std::make_unique<UnmountedSlowfs>(source_, place, empty);
  }

  Progress& progress() { return worker_->progress(); }
  /// Until `counter` has grown by `more`, or the work has met what cannot be.
  bool grows(const std::atomic<uint64_t>& counter, uint64_t more) {
    const uint64_t wanted = counter + more;
    return eventually([&] { return counter >= wanted || progress().complained; }) && !progress().complained;
  }
  [[nodiscard]] nlohmann::json ask(const char* what) const {
    return cachefs({what, "--json", mountpoint_}).json();
  }
  /// What must be so while the source is out of order.
  void expect_service() {
    if (GetParam().work == "WalkWithoutStale") return;
    struct stat status{};
    EXPECT_EQ(::stat((mountpoint_ + "/known").c_str(), &status), 0) << std::strerror(errno);
    std::ostringstream text;
    text << std::ifstream(mountpoint_ + "/known").rdbuf();
    EXPECT_EQ(text.str(), "known");
    EXPECT_TRUE(ask("stats").contains("hits"));
  }
  /// Many at once who ask for what nobody has asked for before, and is there.
  void ask_by_many() {
    std::vector<std::thread> callers;
    callers.reserve(kCallers);
    for (int i = 0; i < kCallers; ++i) {
      callers.emplace_back([path = fmt::format("{}/unknown{}", mountpoint_, i)] {
        struct stat status{};
        const int error = ::stat(path.c_str(), &status) == 0 ? 0 : errno;
        EXPECT_TRUE(error == 0 || error == EIO || error == ETIMEDOUT) << std::strerror(error);
      });
    }
    for (std::thread& caller : callers) caller.join();
  }
  void know() {
    std::ostringstream text;
    text << std::ifstream(mountpoint_ + "/known").rdbuf();
    ASSERT_EQ(text.str(), "known");
  }

  using Command = std::vector<std::string>;
  std::unique_ptr<Fault> fault_;
  std::unique_ptr<Worker> worker_;
  pid_t daemon_ = 0;
};
INSTANTIATE_TEST_SUITE_P(, OutageMatrix, testing::ValuesIn(all_cases()), name_of);

TEST_P(OutageMatrix, TellsTheTruthThroughoutAndIsWellAgain) {
  constexpr uint64_t kWarm = 400;  // all that the work uses has been used
  constexpr uint64_t kSome = 30;
  constexpr uint64_t kFew = 3;
  struct stat status{};
  std::cout << "seed " << seed() << '\n';
  ASSERT_TRUE(grows(progress().succeeded, kWarm)) << progress().complaint;
  know();
  const Footprint before = footprint_of(daemon_);

  fault_->strike();
  ask_by_many();
  const bool all_is_known = GetParam().work == "Walk";  // and served, without an error
  const bool errs = fault_->fails() && !all_is_known;
  EXPECT_TRUE(grows(errs ? progress().failed : progress().succeeded, kFew)) << progress().complaint;
  expect_service();
  EXPECT_TRUE(grows(errs ? progress().failed : progress().succeeded, kFew)) << progress().complaint;

  fault_->recover();
  EXPECT_TRUE(eventually([&] { return ::stat((mountpoint_ + "/unasked").c_str(), &status) == 0; }));
  EXPECT_TRUE(eventually([&] { return ask("status").value("source_state", "") == "reachable"; }));
  EXPECT_TRUE(settles([&] { return ask("status").value("source_hanging", -1) == 0; }));
  EXPECT_TRUE(grows(progress().succeeded, kSome)) << progress().complaint;
  ASSERT_TRUE(worker_->ends());
  EXPECT_FALSE(progress().complained) << progress().complaint;
  EXPECT_LT(std::chrono::nanoseconds(progress().longest_ns), kWatchdog);
  std::cout << fmt::format("longest call: {}, {} ms with a limit of {} ms; {} succeeded, {} failed\n",
                           progress().longest.load(), progress().longest_ns / 1'000'000, kLimit.count(),
                           progress().succeeded.load(), progress().failed.load());

  EXPECT_EQ(ask("status").value("state", ""), "mounted");
  EXPECT_EQ(ask("status").value("source_trouble", "?"), "");
  const bool hung = GetParam().fault == "Hang";  // else no thread was kept longer than its request
  EXPECT_TRUE(!hung || settles([&] { return footprint_of(daemon_).threads <= kThreadsAtRest; }))
      << footprint_of(daemon_).threads << " threads, " << before.threads << " before";
  EXPECT_TRUE(settles([&] {
    return footprint_of(daemon_).descriptors <= before.descriptors + kCallers + kSome;
  })) << footprint_of(daemon_).descriptors
      << " descriptors, " << before.descriptors << " before";
  // The cache, and what allocators keep; a sanitizer's keeps what was freed.
  constexpr uint64_t kMemoryKib = (kSanitized ? 512 : 32) * 1024;
  EXPECT_LE(footprint_of(daemon_).memory_kib, before.memory_kib + kMemoryKib);
}

}  // namespace
}  // namespace cachefs::test
