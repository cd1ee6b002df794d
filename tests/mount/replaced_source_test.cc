// A directory whose file system is taken away and comes back, or another one in its place.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <latch>
#include <optional>
#include <sstream>
#include <thread>

#include "cachefs/guarded_fs.h"
#include "cachefs/path_operations.h"
#include "cachefs/posix_fs.h"
#include "support/mount_namespace.h"
#include "support/temporary_directory.h"
#include "vfs/posix_root.h"

namespace cachefs::test {
namespace {

int errno_of(const Result<void>& result) { return result ? 0 : result.error().to_errno(); }

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

constexpr int kNumbersMax = 64;

/// What is mounted at `place` is a directory of `room` at first; both are the test's own.
class ReplacedSource : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(prepare_mounts(), "");
    for (const std::string& directory : {place_, one_, other_}) std::filesystem::create_directory(directory);
  }
  void TearDown() override {
    for (const std::string& directory : {place_, one_, other_}) {
      while (::umount2(directory.c_str(), MNT_DETACH) == 0) {  // they may be stacked
      }
    }
  }
  /// `type` without a device, which is called "disk".
  static void mount_new(const std::string& at, const char* type) {
    ASSERT_EQ(::mount("disk", at.c_str(), type, 0, nullptr), 0) << std::strerror(errno);
  }
  static void show(const std::string& directory, const std::string& at) {
    ASSERT_EQ(::mount(directory.c_str(), at.c_str(), nullptr, MS_BIND, nullptr), 0) << std::strerror(errno);
  }
  void take_away() { ASSERT_EQ(::umount2(place_.c_str(), MNT_DETACH), 0) << std::strerror(errno); }

  /// Of what is at the place now.
  std::unique_ptr<posix::PosixRoot> root(bool stable_identity) {
    posix::UniqueFd fd(::open(place_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    const uint64_t device = posix::read_device(fd.get());
    auto signature = posix::signature_of(fd.get(), stable_identity);
    return std::make_unique<posix::PosixRoot>(place_, std::move(fd), device, std::move(signature),
                                              posix::PosixRoot::IsOwnMount{});
  }
  static uint64_t device_at(const std::string& path) {
    struct stat status{};
    EXPECT_EQ(::stat(path.c_str(), &status), 0);
    return status.st_dev;
  }

  const TemporaryDirectory room_;
  const std::string place_ = room_.path() / "place";
  const std::string one_ = room_.path() / "one";
  const std::string other_ = room_.path() / "other";
};

TEST_F(ReplacedSource, AnotherDiskOfTheSameNameIsNotTaken) {
  mount_new(one_, "tmpfs");
  show(one_, place_);
  const auto known = root(true);
  ASSERT_EQ(errno_of(known->check()), 0);
  take_away();
  mount_new(place_, "tmpfs");
  EXPECT_EQ(errno_of(known->check()), ENOTCONN);
  EXPECT_EQ(known->fd(), nullptr);
  EXPECT_EQ(::umount(place_.c_str()), 0) << "it is kept busy";
  show(one_, place_);
  EXPECT_EQ(errno_of(known->check()), 0);
  EXPECT_EQ(known->epoch(), 1U);
  EXPECT_EQ(known->instance(), 0U) << "what hangs in it still arrives";
}

TEST_F(ReplacedSource, IsTakenUpOnceThoughTwoChecksFindIt) {
  mount_new(one_, "tmpfs");
  show(one_, place_);
  posix::UniqueFd fd(::open(place_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const uint64_t device = posix::read_device(fd.get());
  auto signature = posix::signature_of(fd.get(), true);
  std::atomic<int> checks = 0;
  std::latch second_has_ended(1);
  posix::PosixRoot root(place_, std::move(fd), device, std::move(signature), [&](uint64_t /*device*/) {
    if (++checks == 1) second_has_ended.wait();  // the first one is in the middle of it
    return false;
  });
  take_away();
  show(one_, place_);
  auto first = std::async(std::launch::async, [&] { return errno_of(root.check()); });
  ASSERT_TRUE(eventually([&] { return checks == 1; }));
  EXPECT_EQ(errno_of(root.check()), 0);
  const auto taken = root.fd();
  second_has_ended.count_down();
  EXPECT_EQ(first.get(), 0);
  EXPECT_EQ(root.epoch(), 1U);
  EXPECT_EQ(root.fd(), taken);
}

TEST_F(ReplacedSource, WhoHasGotItsNumberHasItsNewOneInExchange) {
  mount_new(place_, "ramfs");  // which does not tell who it is
  const auto known = root(false);
  const uint64_t first = device_at(place_);
  take_away();
  ASSERT_EQ(errno_of(known->check()), ENOTCONN);
  for (int i = 0; i < kNumbersMax; ++i) {  // whoever is next gets the first number that is free
    mount_new(one_, "ramfs");
    if (device_at(one_) == first) break;
  }
  mount_new(place_, "ramfs");
  ASSERT_EQ(errno_of(known->check()), 0);
  const uint64_t now = device_at(place_);
  ASSERT_NE(now, first);
  EXPECT_EQ(known->lasting_device(now), first);
  EXPECT_EQ(known->lasting_device(first), now);
  const uint64_t third = device_at("/proc");
  EXPECT_EQ(known->lasting_device(third), third);
}

class ReplacedPosixFs : public ReplacedSource {
 protected:
  /// Two file systems that nothing tells apart, the first of them at the place, each with a file.
  void SetUp() override {
    ReplacedSource::SetUp();
    for (const std::string& at : {one_, other_}) {
      mount_new(at, "ramfs");
      std::ofstream(at + "/file") << at;
    }
    show(one_, place_);
    PosixFsOptions options;
    options.stable_identity = false;
    fs_ = make_posix_fs(place_, options).value();
  }
  void replace() {
    take_away();
    show(other_, place_);
  }

  std::shared_ptr<FileSystem> fs_;
};

TEST_F(ReplacedPosixFs, AHandleForWritingWritesToNeitherOfTheTwo) {
  const auto before = open(*fs_, "/file", {.read = true, .write = true}).value();
  replace();
  ASSERT_EQ(errno_of(fs_->reachability()->check()), 0);
  EXPECT_EQ(fs_->reachability()->epoch(), 1U);
  const std::span<const std::byte> data = std::as_bytes(std::span("XX", 2));
  EXPECT_EQ(before->write_at(0, data).error().to_errno(), ENOTCONN);
  EXPECT_EQ(before->append(data).error().to_errno(), ENOTCONN);
  EXPECT_EQ(before->set_attributes({.size = 0}, Caller::self()).error().to_errno(), ENOTCONN);
  EXPECT_EQ(errno_of(before->allocate(AllocateMode::extend, 0, 8192)), ENOTCONN);
  EXPECT_EQ(errno_of(before->sync(SyncKind::all)), ENOTCONN);
  EXPECT_EQ(text_of(one_ + "/file"), one_);
  EXPECT_EQ(text_of(other_ + "/file"), other_);
  const auto after = open(*fs_, "/file", {.read = true, .write = true}).value();
  EXPECT_TRUE(after->write_at(0, data));
  EXPECT_EQ(text_of(one_ + "/file"), one_);
}

/// Keeps who opens a file waiting until it goes: the kernel asks the holder of a lease first.
class Lease {
 public:
  explicit Lease(const std::string& path) : fd_(::open(path.c_str(), O_RDWR | O_CLOEXEC)) {
    ::signal(SIGIO, SIG_IGN);  // which says that somebody waits
    EXPECT_EQ(::fcntl(fd_, F_SETLEASE, F_WRLCK), 0) << std::strerror(errno);
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease() { ::close(fd_); }
  [[nodiscard]] bool is_waited_for() const { return ::fcntl(fd_, F_GETLEASE) != F_WRLCK; }

 private:
  const int fd_;
};

TEST_F(ReplacedPosixFs, AHandleWhoseOpenTookLongerIsOfWhereItBegan) {
  std::optional<Lease> lease(one_ + "/file");
  auto slow =
      std::async(std::launch::async, [this] { return open(*fs_, "/file", {.read = true, .write = true}); });
  ASSERT_TRUE(eventually([&] { return lease->is_waited_for(); }));
  replace();
  ASSERT_EQ(errno_of(fs_->reachability()->check()), 0);
  ASSERT_EQ(fs_->reachability()->epoch(), 1U);
  lease.reset();
  const auto file = slow.get();
  ASSERT_TRUE(file) << file.error().message();
  const std::span<const std::byte> data = std::as_bytes(std::span("XX", 2));
  const auto written = (*file)->write_at(0, data);
  EXPECT_FALSE(written);
  EXPECT_EQ(text_of(one_ + "/file"), one_) << "written to the file system that was taken away";
  EXPECT_EQ(text_of(other_ + "/file"), other_);
  EXPECT_EQ(read_file(*fs_, "/file").value_or(""), other_);
}

TEST_F(ReplacedPosixFs, ThatNobodyAskedMeanwhileIsToldAllTheSame) {
  std::atomic<int> told = 0;
  const auto guarded = GuardedFs::create(fs_, {});
  guarded->set_on_late_change([&told] { ++told; });
  replace();
  EXPECT_TRUE(eventually([&] { return told > 0; }));
  EXPECT_TRUE(guarded->health().reachable);
  EXPECT_EQ(read_file(*guarded, "/file").value_or(""), other_);
  guarded->set_on_late_change({});
}

}  // namespace
}  // namespace cachefs::test
