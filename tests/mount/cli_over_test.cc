// A mount on its own source, and mounts that would be inside of their own source.
#include <gmock/gmock.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "mount/cli_fixture.h"

namespace cachefs::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class MountOver : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    CACHEFS_REQUIRE_MOUNT();
  }
  /// The daemon's pid.
  pid_t mount_over() { return mount_over(source_); }
  pid_t mount_over(const std::string& source) {
    const Finished run = cachefs({"mount", "--json", "--over", source});
    EXPECT_EQ(run.exit_code, 0) << run.errors;
    const pid_t daemon = run.json().value("pid", 0);
    if (daemon > 0) remember(daemon);
    return daemon;
  }
  [[nodiscard]] std::string greeting() const { return greeting(source_); }
  static std::string greeting(const std::string& directory) {
    std::ifstream file(directory + "/greeting");
    std::string line;
    std::getline(file, line);
    return line;
  }
  void expect_refused(const std::vector<std::string>& arguments, const std::string& why) {
    const Finished run = cachefs(arguments);
    EXPECT_NE(run.exit_code, 0);
    EXPECT_THAT(run.errors, AllOf(testing::StartsWith("cachefs: "), HasSubstr(why)));
  }
};

TEST_F(MountOver, ServesInPlaceOfTheSource) {
  const pid_t daemon = mount_over();
  EXPECT_EQ(greeting(), "hello");
  std::ofstream(source_ + "/new") << "x";
  const nlohmann::json status = cachefs({"status", "--json", source_}).json();
  EXPECT_EQ(status.value("pid", 0), daemon);
  EXPECT_EQ(status.value("mountpoint", ""), source_);
  EXPECT_EQ(status["options"].value("over", ""), "yes");
  EXPECT_EQ(cachefs({"umount", source_}).exit_code, 0);
  EXPECT_FALSE(is_running(daemon));
  EXPECT_TRUE(std::filesystem::exists(source_ + "/new"));
}

TEST_F(MountOver, TheMountPointMayBeNamedIfItIsTheSame) {
  std::filesystem::create_directory_symlink(source_, folder_ / "link");
  expect_refused({"mount", source_, mountpoint_, "-o", "over"}, "leave one of the two out");
  const Finished run = cachefs({"mount", "--json", source_, folder_ / "link", "-o", "over"});
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  remember(run.json().value("pid", 0));
  EXPECT_EQ(greeting(), "hello");
}

/// As of sshfs.
TEST_F(MountOver, TheSourceMayBeTheRootOfAFuseMount) {
  const SlowSource slow(source_, folder_ / "slow");
  const std::vector<std::vector<std::string>> lines{
      {"mount", "--json", "--over", slow.path()},
      {"mount", "--json", slow.path(), slow.path(), "-o", "over"}};
  for (const auto& line : lines) {
    const Finished run = cachefs(line);
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    const pid_t daemon = run.json().value("pid", 0);
    remember(daemon);
    EXPECT_EQ(greeting(slow.path()), "hello");
    EXPECT_EQ(cachefs({"status", "--json", slow.path()}).json().value("source_state", ""), "reachable");
    EXPECT_EQ(cachefs({"umount", slow.path()}).exit_code, 0);
    EXPECT_FALSE(is_running(daemon));
    EXPECT_EQ(greeting(slow.path()), "hello");  // slowfs is still there
  }
}

TEST_F(MountOver, WhatAKilledDaemonLeftOnAFuseMountIsTakenAway) {
  const SlowSource slow(source_, folder_ / "slow");
  kill_hard(mount_over(slow.path()));
  mount_over(slow.path());
  EXPECT_EQ(greeting(slow.path()), "hello");
  EXPECT_EQ(cachefs({"umount", slow.path()}).exit_code, 0);
}

/// Whoever works in "/" already would go past the mount. (In a namespace of its own, lest this machine's is
/// served.)
TEST_F(MountOver, TheRootIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "a mount namespace needs root";
  std::filesystem::create_directory_symlink("/", folder_ / "root");
  for (const std::vector<std::string>& names :
       std::vector<std::vector<std::string>>{{"/"}, {folder_ / "root"}, {"/", "/"}}) {
    std::vector<std::string> command{"unshare", "-m", CACHEFS_PROGRAM, "mount", "--over"};
    command.insert(command.end(), names.begin(), names.end());
    const Finished run = run_command(command);
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_THAT(run.errors, AllOf(HasSubstr("--over /"), HasSubstr("give a directory below it")));
  }
}

TEST_F(MountOver, ASecondOneIsRefused) {
  mount_over();
  expect_refused({"mount", "--over", source_}, "is in use: cachefs serves");
}

TEST_F(MountOver, WhatAKilledDaemonLeftIsTakenAway) {
  kill_hard(mount_over());
  const Finished again = cachefs({"mount", "--json", "--over", source_});
  EXPECT_EQ(again.exit_code, 0) << again.errors;
  EXPECT_THAT(again.errors, HasSubstr("took away the mount"));
  remember(again.json().value("pid", 0));
  EXPECT_EQ(greeting(), "hello");
}

TEST_F(MountOver, UmountAfterAKilledDaemonShowsTheSourceAgain) {
  kill_hard(mount_over());
  EXPECT_EQ(cachefs({"umount", source_}).exit_code, 0);
  EXPECT_EQ(greeting(), "hello");
}

/// The daemon itself has the source open, by the same name.
TEST_F(MountOver, WhoUsesItIsNotTheDaemon) {
  const pid_t daemon = mount_over();
  const std::ifstream open(source_ + "/greeting");
  const Finished run = cachefs({"umount", source_});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.errors, AllOf(HasSubstr("is in use by " + std::to_string(::getpid())),
                                testing::Not(HasSubstr(std::to_string(daemon) + " (cachefs)"))));
}

TEST_F(MountOver, AMountPointBehindAnotherMountOfTheSourceIsRefused) {
  mount();
  std::filesystem::create_directory(source_ + "/inside");
  expect_refused({"mount", mountpoint_, source_ + "/inside"}, "the mount would contain itself");
}

TEST_F(MountOver, AMountServesNotItself) {
  mount();
  expect_refused({"mount", mountpoint_, mountpoint_}, "is in use");
}

/// Where mounts show in bind mounts of the place too, as they do by default where systemd runs.
TEST_F(MountOver, AMountPointInABindMountOfTheSourceIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "a mount namespace needs root";
  const Finished run =
      run_command({"unshare", "-m", "bash", "-c",
                   R"(mount --bind "$S" "$S"; mount --make-shared "$S"; mkdir -p "$S/part/inside" b
          mount --bind "$S/part" b; "$CACHEFS" mount "$S" b/inside)"},
                  {.directory = folder_, .environment = {"CACHEFS=" CACHEFS_PROGRAM, "S=" + source_}});
  EXPECT_EQ(run.exit_code, 1) << run.output;
  EXPECT_THAT(run.errors, HasSubstr("is inside the source"));
}

/// Somebody shows a mount inside of its own source, once it is there.
TEST_F(MountOver, AMountIsNotEnteredFromWithinItself) {
  if (::geteuid() != 0) GTEST_SKIP() << "a bind mount needs root";
  mount();
  std::filesystem::create_directory(source_ + "/loop");
  ASSERT_EQ(run_command({"mount", "--bind", mountpoint_, source_ + "/loop"}).exit_code, 0);
  const Finished list = run_command({"timeout", "20", "ls", mountpoint_ + "/loop"});
  EXPECT_THAT(list.errors, HasSubstr("Too many levels of symbolic links"));
  const Finished find = run_command({"timeout", "20", "find", mountpoint_, "-name", "greeting"});
  EXPECT_EQ(find.output, mountpoint_ + "/greeting\n");
}

}  // namespace
}  // namespace cachefs::test
