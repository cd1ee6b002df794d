// A source that hangs, dies, is unmounted and comes back, seen by programs on the mount.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <memory>
#include <thread>

#include "cli/unmount.h"
#include "mount/cli_fixture.h"

namespace cachefs::test {
namespace {

/// What reading the whole file gives, or the error.
std::string read_all(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::strerror(errno);
  std::string text;
  std::array<char, 4096> chunk;
  ssize_t size = 0;
  while ((size = ::read(fd, chunk.data(), chunk.size())) > 0)
    text.append(chunk.data(), static_cast<size_t>(size));
  if (size < 0) text = std::strerror(errno);
  ::close(fd);
  return text;
}

int errno_of_stat(const std::string& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 ? 0 : errno;
}

class Outage : public CliTest {
 protected:
  void SetUp() override {
    CACHEFS_REQUIRE_MOUNT();
    CliTest::SetUp();
    std::ofstream(source_ + "/known") << "known";
    std::ofstream(source_ + "/unread") << "unread";
    slow_ = std::make_unique<SlowSource>(source_, folder_ / "slow");
    mount_slow();
  }
  void TearDown() override {
    slow_.reset();
    CliTest::TearDown();
  }
  void mount_slow() {
    const Finished run = cachefs({"mount", slow_->path(), mountpoint_, "--json", "--attr-ttl", "0",
                                  "--timeout", "300ms", "--stale-if-error", "1h"});
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    remember(run.json().value("pid", 0));
    ASSERT_EQ(read_all(at("known")), "known");
    ASSERT_EQ(errno_of_stat(at("unread")), 0);
    ASSERT_EQ(list(), 3);
  }
  [[nodiscard]] std::string at(const std::string& name) const { return mountpoint_ + "/" + name; }
  [[nodiscard]] int list() const {
    std::error_code error;
    int count = 0;
    for (std::filesystem::directory_iterator it(mountpoint_, error), end; !error && it != end;
         it.increment(error))
      ++count;
    return error ? -error.value() : count;
  }
  [[nodiscard]] std::string source_state() const {
    return cachefs({"status", "--json", mountpoint_}).json().value("source_state", "");
  }
  /// What must hold as long as the source is away.
  void expect_outage() {
    EXPECT_EQ(read_all(at("known")), "known");
    EXPECT_EQ(errno_of_stat(at("known")), 0);
    EXPECT_EQ(list(), 3);
    EXPECT_THAT(errno_of_stat(at("absent")), testing::AnyOf(EIO, ETIMEDOUT));
    EXPECT_THAT(read_all(at("unread")), testing::AnyOf(std::strerror(EIO), std::strerror(ETIMEDOUT)));
    EXPECT_FALSE(std::ofstream(at("new")).is_open());
    EXPECT_EQ(list(), 3) << "lost by a change that was refused";
  }
  void expect_recovery() {
    EXPECT_TRUE(eventually([&] { return source_state() == "reachable"; }));
    EXPECT_TRUE(eventually([&] { return read_all(at("unread")) == "unread"; }));
    EXPECT_EQ(errno_of_stat(at("absent")), ENOENT);
    std::ofstream(at("new")) << "new";
    EXPECT_EQ(read_all(source_ + "/new"), "new");
    EXPECT_EQ(list(), 4);
  }

  std::unique_ptr<SlowSource> slow_;
};

TEST_F(Outage, SourceThatHangs) {
  slow_->control({"hang", "metadata", "data"});
  EXPECT_TRUE(eventually([&] { return errno_of_stat(at("known")) == 0 && source_state() == "unreachable"; }));
  expect_outage();
  slow_->control({"recover"});
  expect_recovery();
}

TEST_F(Outage, SourceThatFails) {
  slow_->control({"fail", "EIO", "metadata", "data"});
  EXPECT_EQ(read_all(at("known")), "known");
  EXPECT_EQ(errno_of_stat(at("absent")), EIO);
  EXPECT_EQ(read_all(at("unread")), std::strerror(EIO));
  slow_->control({"recover"});
  expect_recovery();
}

TEST_F(Outage, SourceThatIsUnmountedAndAnEmptyDirectoryInItsPlace) {
  ASSERT_TRUE(cli::unmount(slow_->path(), cli::UnmountKind::detach));
  EXPECT_TRUE(eventually([&] { return errno_of_stat(at("absent")) == EIO; }));
  ASSERT_TRUE(std::filesystem::is_empty(slow_->path()));
  EXPECT_TRUE(eventually([&] { return source_state() == "unreachable"; }));
  expect_outage();
  slow_.reset();
  slow_ = std::make_unique<SlowSource>(source_, folder_ / "slow");
  expect_recovery();
}

TEST_F(Outage, WhatHangsOnASourceThatWasLetGoOfBindsNobodyOnTheNext) {
  ASSERT_EQ(cachefs({"umount", mountpoint_}).exit_code, 0);
  const SlowSource next(source_, folder_ / "next");
  const std::string place = folder_ / "place";
  std::filesystem::create_directory(place);
  const auto bind = [&](const SlowSource& source) {
    return ::mount(source.path().c_str(), place.c_str(), nullptr, MS_BIND, nullptr) == 0;
  };
  ASSERT_TRUE(bind(*slow_)) << std::strerror(errno);
  const Finished run =
      cachefs({"mount", place, mountpoint_, "--json", "--attr-ttl", "0", "--timeout", "300ms"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  remember(run.json().value("pid", 0));
  slow_->control({"hang", "create"});
  EXPECT_FALSE(std::ofstream(at("new")).is_open());
  const auto hanging = [&] { return slow_->control({"stats"}).value("hanging", 0); };
  EXPECT_TRUE(eventually([&] { return hanging() >= 1; }));
  ASSERT_TRUE(cli::unmount(place, cli::UnmountKind::detach));
  EXPECT_TRUE(eventually([&] { return errno_of_stat(at("absent")) == EIO; }));
  ASSERT_TRUE(bind(next)) << std::strerror(errno);
  EXPECT_TRUE(eventually([&] { return errno_of_stat(at("absent")) == ENOENT; }));
  EXPECT_TRUE(std::ofstream(at("new")).is_open());
  EXPECT_GE(hanging(), 1) << "the old one has returned: nothing was tested";
  ASSERT_EQ(cachefs({"umount", mountpoint_}).exit_code, 0);
  EXPECT_TRUE(cli::unmount(place, cli::UnmountKind::detach));
}

TEST_F(Outage, AnOpenFileGoesOnOnceTheSourceIsBack) {
  const int file = ::open(at("unread").c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(::umount2(slow_->path().c_str(), MNT_FORCE | MNT_DETACH), 0) << std::strerror(errno);
  std::array<char, 16> text{};
  EXPECT_EQ(::read(file, text.data(), text.size()), -1);
  EXPECT_EQ(errno, EIO);
  slow_.reset();
  slow_ = std::make_unique<SlowSource>(source_, folder_ / "slow");
  EXPECT_TRUE(eventually([&] { return ::pread(file, text.data(), text.size(), 0) == 6; }));
  ::close(file);
  expect_recovery();
}

TEST_F(Outage, AnotherFileSystemInItsPlaceIsNotTheSource) {
  ASSERT_TRUE(cli::unmount(slow_->path(), cli::UnmountKind::detach));
  EXPECT_TRUE(eventually([&] { return errno_of_stat(at("absent")) == EIO; }));
  ASSERT_EQ(::mount("none", slow_->path().c_str(), "tmpfs", 0, nullptr), 0) << std::strerror(errno);
  expect_outage();
  EXPECT_TRUE(eventually([&] { return source_state() == "unreachable"; }));
  expect_outage();
  EXPECT_EQ(::umount(slow_->path().c_str()), 0) << "the cache keeps it busy";
  slow_.reset();
  slow_ = std::make_unique<SlowSource>(source_, folder_ / "slow");
  expect_recovery();
}

TEST_F(Outage, HundredsOfReadsThatHangDoNotHinderWhatDoesNot) {
  constexpr int kHanging = 200;
  ASSERT_EQ(cachefs({"umount", mountpoint_}).exit_code, 0);
  const Finished run = cachefs({"mount", slow_->path(), mountpoint_, "--json", "--timeout", "5s"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  remember(run.json().value("pid", 0));
  for (int i = 0; i < kHanging; ++i) std::ofstream(source_ + "/f" + std::to_string(i)) << "text";
  ASSERT_EQ(read_all(at("known")), "known");
  slow_->control({"hang", "data"});
  std::vector<std::thread> readers;
  std::atomic<int> ended = 0;
  readers.reserve(kHanging);
  for (int i = 0; i < kHanging; ++i) {
    readers.emplace_back([this, i, &ended] {
      const std::string text = read_all(at("f" + std::to_string(i)));
      EXPECT_THAT(text, testing::AnyOf("text", std::strerror(ETIMEDOUT)));
      ++ended;
    });
  }
  EXPECT_TRUE(
      eventually([&] { return slow_->control({"stats"}).value("hanging", 0) >= kHanging || ended > 0; }));
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(read_all(at("known")), "known");
    EXPECT_EQ(errno_of_stat(at("absent" + std::to_string(i))), ENOENT);
  }
  EXPECT_EQ(source_state(), "reachable");
  slow_->control({"recover"});
  for (std::thread& reader : readers) reader.join();
  for (int i = 0; i < kHanging; ++i) EXPECT_EQ(read_all(at("f" + std::to_string(i))), "text") << i;
  const auto status = [&] { return cachefs({"status", "--json", mountpoint_}).json(); };
  EXPECT_TRUE(eventually([&] { return status().value("source_hanging", -1) == 0; }));
}

TEST_F(Outage, WhoeverMeetsAWriteThatHangsEndsInHisOwnTime) {
  constexpr size_t kPage = 4096;
  ASSERT_EQ(cachefs({"umount", mountpoint_}).exit_code, 0);
  const Finished run = cachefs({"mount", slow_->path(), mountpoint_, "--json", "--timeout",
                                "metadata=300ms,read=2s,write=1h,sync=1h", "--stale-if-error", "0"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  remember(run.json().value("pid", 0));
  std::ofstream(source_ + "/large") << std::string(16 * kPage, 'a');
  const int reader = ::open(at("large").c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  const int writer = ::open(at("large").c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_TRUE(reader >= 0 && writer >= 0) << std::strerror(errno);
  slow_->control({"hang", "write"});
  std::atomic<bool> written = false;
  std::thread writing([&] {
    EXPECT_EQ(::pwrite(writer, "b", 1, 0), 1) << std::strerror(errno);
    written = true;
  });
  EXPECT_TRUE(eventually([&] { return slow_->control({"stats"}).value("hanging", 0) >= 1; }));
  EXPECT_EQ(read_all(at("large")), std::strerror(ETIMEDOUT)) << "opened though it cannot be checked";
  alignas(kPage) std::array<char, kPage> page{};
  EXPECT_EQ(::pread(reader, page.data(), kPage, 8 * kPage), kPage) << std::strerror(errno);
  EXPECT_EQ(page[0], 'a');
  EXPECT_EQ(read_all(at("known")), "known");
  EXPECT_FALSE(written) << "waited for the write";
  slow_->control({"recover"});
  writing.join();
  EXPECT_EQ(read_all(at("large")), "b" + std::string(16 * kPage - 1, 'a'));
  ::close(reader);
  ::close(writer);
}

}  // namespace
}  // namespace cachefs::test
