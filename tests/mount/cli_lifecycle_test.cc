// The life of a daemon, from mount to umount, and its deaths.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <sstream>

#include "cli/unmount.h"
#include "mount/cli_fixture.h"
#include "server/control_listener.h"
#include "server/control_path.h"
#include "server/unique_fd.h"

namespace cachefs::test {
namespace {

using server::UniqueFd;
using testing::AllOf;
using testing::HasSubstr;

class CliLifecycle : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    CACHEFS_REQUIRE_MOUNT();
  }
  [[nodiscard]] std::string greeting() const {
    std::ifstream file(mountpoint_ + "/greeting");
    std::string line;
    std::getline(file, line);
    return line;
  }
};

TEST_F(CliLifecycle, MountReturnsWhenTheMountIsLive) {
  const Finished run = cachefs({"mount", source_, mountpoint_});
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_EQ(run.errors, "");
  EXPECT_THAT(run.output, AllOf(HasSubstr("Mounted"), HasSubstr("cachefs umount " + mountpoint_)));
  EXPECT_EQ(greeting(), "hello");
}

TEST_F(CliLifecycle, MountTellsInJson) {
  const nlohmann::json told = cachefs({"mount", "--json", source_, "--ram-size", "8M", mountpoint_}).json();
  EXPECT_EQ(told.value("source", ""), source_);
  EXPECT_EQ(told.value("mountpoint", ""), mountpoint_);
  EXPECT_EQ(told.value("state", ""), "mounted");
  EXPECT_TRUE(is_running(told.value("pid", 0)));
}

TEST_F(CliLifecycle, StatusInJson) {
  const pid_t daemon = mount({"--ram-size", "8MiB", "--coherence", "ttl=60s"});
  const nlohmann::json status = cachefs({"status", "--json", mountpoint_}).json();
  EXPECT_EQ(status.value("pid", 0), daemon);
  EXPECT_EQ(status.value("source", ""), source_);
  EXPECT_EQ(status.value("mountpoint", ""), mountpoint_);
  EXPECT_EQ(status.value("state", ""), "mounted");
  EXPECT_EQ(status.value("ram_size", 0), 8 << 20);
  EXPECT_EQ(status.value("coherence", ""), "ttl=60s");
  EXPECT_EQ(status.value("attr_ttl_seconds", 0.0), 60.0);
  EXPECT_GE(status.value("uptime_seconds", -1.0), 0.0);
}

TEST_F(CliLifecycle, StatusShowsTheEvictionPolicy) {
  mount({"--policy", "s3-fifo"});
  EXPECT_EQ(cachefs({"status", "--json", mountpoint_}).json().value("policy", ""), "s3-fifo");
  EXPECT_NE(cachefs({"status", mountpoint_}).output.find("s3-fifo"), std::string::npos);
}

TEST_F(CliLifecycle, StatusShowsWhatBecameOfTheKernelsFeatures) {
  mount({"-o", "kernel_features=no-killpriv_v2:no-read-ahead"});
  const nlohmann::json features = cachefs({"status", "--json", mountpoint_}).json().at("kernel_features");
  EXPECT_EQ(features.size(), 7U);
  EXPECT_EQ(features.at("killpriv_v2"), "off");
  EXPECT_EQ(features.at("read_ahead"), "off");
  EXPECT_EQ(features.at("parallel_lookups"), "on");
  EXPECT_EQ(features.at("export_support"), "on");
  EXPECT_NE(cachefs({"status", mountpoint_}).output.find("off: killpriv_v2, read_ahead"), std::string::npos);
}

TEST_F(CliLifecycle, StatusTellsWhatTheMountWasGiven) {
  mount({"--access-check", "source", "--timeout", "20s", "--stale-if-error", "2h", "-o", "ro,noexec"});
  EXPECT_THAT(cachefs({"status", mountpoint_}).output,
              AllOf(testing::ContainsRegex("access check +source"), HasSubstr("read=20s"),
                    HasSubstr("up to 2h over their time"), testing::ContainsRegex("mount options +ro,")));
  const auto options =
      cachefs({"status", "--json", mountpoint_}).json().at("mount_options").get<std::vector<std::string>>();
  EXPECT_THAT(options, testing::IsSupersetOf({"ro", "noexec", "nosuid"}));
  EXPECT_THAT(options, testing::Not(testing::Contains("rw")));
  if (::geteuid() == 0) {
    EXPECT_THAT(options, testing::Contains("allow_other"));
  }
}

TEST_F(CliLifecycle, StatusTellsHowLongAttributesAreReliedUpon) {
  mount({"--attr-ttl", "250ms"});
  EXPECT_EQ(cachefs({"status", "--json", mountpoint_}).json().value("attr_ttl_seconds", 0.0), 0.25);
  EXPECT_THAT(cachefs({"status", mountpoint_}).output, HasSubstr("for 250 ms"));
}

TEST_F(CliLifecycle, StatusTellsThatAttributesAreReliedUponForEver) {
  mount({"--coherence", "immutable"});
  EXPECT_TRUE(cachefs({"status", "--json", mountpoint_}).json().at("attr_ttl_seconds").is_null());
  EXPECT_THAT(cachefs({"status", mountpoint_}).output, AllOf(HasSubstr("immutable"), HasSubstr("for ever")));
}

TEST_F(CliLifecycle, StatusAndStatsForPeople) {
  mount();
  EXPECT_THAT(cachefs({"status", mountpoint_}).output, AllOf(HasSubstr("mounted"), HasSubstr(source_)));
  EXPECT_THAT(cachefs({"stats", mountpoint_}).output, AllOf(HasSubstr("hit ratio"), HasSubstr("100.0 MiB")));
}

TEST_F(CliLifecycle, StatsHaveEveryKey) {
  mount();
  EXPECT_EQ(greeting(), "hello");
  const nlohmann::json stats = cachefs({"stats", mountpoint_, "--json"}).json();
  for (const char* key :
       {"hits", "misses", "hit_ratio", "bytes_used", "bytes_limit", "entries", "evictions", "source_reads",
        "source_read_bytes", "source_writes", "source_write_bytes", "source_metadata_ops", "metadata_hits",
        "metadata_misses", "bypasses", "invalidations", "nodes", "names"}) {
    EXPECT_TRUE(stats.contains(key) && stats[key].is_number()) << key;
  }
  EXPECT_EQ(stats.value("source_reads", 0), 1);
  EXPECT_EQ(stats.value("source_read_bytes", 0), 6);
  EXPECT_GT(stats.value("source_metadata_ops", 0), 0);
}

TEST_F(CliLifecycle, CommandsAskTheSourceNothing) {
  mount();
  EXPECT_EQ(greeting(), "hello");
  const nlohmann::json before = cachefs({"stats", mountpoint_, "--json"}).json();
  EXPECT_EQ(cachefs({"status", mountpoint_}).exit_code, 0);
  EXPECT_EQ(cachefs({"stats", "mountpoint/"}, {.directory = folder_, .environment = {}}).exit_code, 0);
  const nlohmann::json after = cachefs({"stats", mountpoint_, "--json"}).json();
  EXPECT_EQ(before, after);
}

TEST_F(CliLifecycle, MountpointByAnyName) {
  mount();
  std::filesystem::create_directory_symlink(mountpoint_, folder_ / "link");
  for (const std::string& name : {mountpoint_ + "/", mountpoint_ + "/.", (folder_ / "link").string(),
                                  folder_.string() + "//mountpoint", source_ + "/../mountpoint"}) {
    EXPECT_EQ(cachefs({"status", name}).exit_code, 0) << name;
  }
  EXPECT_EQ(cachefs({"status", "."}, {.directory = mountpoint_, .environment = {}}).exit_code, 0);
}

TEST_F(CliLifecycle, UmountReturnsWhenTheDaemonHasEnded) {
  const pid_t daemon = mount();
  std::ofstream(mountpoint_ + "/written") << "kept";
  const Finished run = cachefs({"umount", mountpoint_});
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_FALSE(is_running(daemon));
  EXPECT_FALSE(is_mounted());
  EXPECT_FALSE(std::filesystem::exists(socket_path()));
  EXPECT_EQ(std::filesystem::file_size(source_ + "/written"), 4U);
}

TEST_F(CliLifecycle, UmountTellsInJson) {
  mount();
  const nlohmann::json told = cachefs({"umount", "--json", mountpoint_}).json();
  EXPECT_EQ(told, (nlohmann::json{{"mountpoint", mountpoint_}, {"state", "unmounted"}}));
}

TEST_F(CliLifecycle, SecondMountIsRefused) {
  const pid_t daemon = mount();
  const Finished run = cachefs({"mount", source_, mountpoint_});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.errors, AllOf(HasSubstr("is in use"), HasSubstr(source_), HasSubstr("cachefs umount")));
  EXPECT_TRUE(is_running(daemon));
  EXPECT_EQ(greeting(), "hello");
}

TEST_F(CliLifecycle, BusyMountStays) {
  const pid_t daemon = mount();
  const UniqueFd open_file(::open((mountpoint_ + "/greeting").c_str(), O_RDONLY | O_CLOEXEC));
  const Finished run = cachefs({"umount", mountpoint_});
  EXPECT_NE(run.exit_code, 0);
  EXPECT_THAT(run.errors,
              AllOf(HasSubstr(mountpoint_), HasSubstr("in use"), HasSubstr(std::to_string(::getpid()))));
  EXPECT_TRUE(is_running(daemon));
  EXPECT_EQ(greeting(), "hello");
}

TEST_F(CliLifecycle, ForeignUnmountEndsTheDaemon) {
  const pid_t daemon = mount();
  ASSERT_TRUE(cli::unmount(mountpoint_, cli::UnmountKind::if_unused));
  EXPECT_TRUE(eventually([&] { return !is_running(daemon); }));
  EXPECT_FALSE(std::filesystem::exists(socket_path()));
}

TEST_F(CliLifecycle, SignalsUnmount) {
  for (const int signal : {SIGTERM, SIGINT}) {
    const pid_t daemon = mount();
    ASSERT_EQ(::kill(daemon, signal), 0);
    EXPECT_TRUE(eventually([&] { return !is_running(daemon); }));
    EXPECT_FALSE(is_mounted());
    EXPECT_FALSE(std::filesystem::exists(socket_path()));
  }
}

TEST_F(CliLifecycle, ForegroundEndsWithTheTerminal) {
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const pid_t program = ::fork();
    if (program == 0) {
      ::dup2(null.get(), STDOUT_FILENO);
      ::execl(CACHEFS_PROGRAM, CACHEFS_PROGRAM, "mount", "--foreground", source_.c_str(), mountpoint_.c_str(),
              nullptr);
      ::_exit(127);
    }
    remember(program);
    ASSERT_TRUE(eventually([&] { return cachefs({"status", mountpoint_}).exit_code == 0; }));
    EXPECT_EQ(greeting(), "hello");
    ASSERT_EQ(::kill(program, signal), 0);
    int status = -1;
    ASSERT_EQ(::waitpid(program, &status, 0), program);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << signal << " " << status;
    EXPECT_FALSE(is_mounted());
  }
}

/// One whose file is still open is taken away all the same, as --help says.
TEST_F(CliLifecycle, ForegroundTellsOfItsEnd) {
  const std::string script = "exec \"$@\" >out 2>errors";
  const pid_t program = ::fork();
  if (program == 0) {
    if (::chdir(folder_.c_str()) != 0) ::_exit(127);
    ::execlp("sh", "sh", "-c", script.c_str(), "sh", CACHEFS_PROGRAM, "mount", "--foreground",
             source_.c_str(), mountpoint_.c_str(), nullptr);
    ::_exit(127);
  }
  remember(program);
  ASSERT_TRUE(eventually([&] { return cachefs({"status", mountpoint_}).exit_code == 0; }));
  const UniqueFd open_file(::open((mountpoint_ + "/greeting").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::kill(program, SIGINT), 0);
  int status = -1;
  ASSERT_EQ(::waitpid(program, &status, 0), program);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  const auto content = [&](const char* name) {
    std::ostringstream text;
    text << std::ifstream(folder_ / name).rdbuf();
    return text.str();
  };
  EXPECT_THAT(content("errors"), AllOf(HasSubstr("unmounting '" + mountpoint_), HasSubstr("lose it")));
  EXPECT_THAT(content("out"), testing::EndsWith("Unmounted '" + mountpoint_ + "'.\n"));
  EXPECT_FALSE(is_mounted());
}

TEST_F(CliLifecycle, DeadDaemonIsTold) {
  kill_hard(mount());
  for (const char* command : {"status", "stats"}) {
    const Finished run = cachefs({command, mountpoint_});
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_THAT(run.errors, AllOf(HasSubstr("has died"), HasSubstr("cachefs umount " + mountpoint_)));
  }
}

TEST_F(CliLifecycle, UmountCleansUpAfterADeadDaemon) {
  kill_hard(mount());
  const Finished run = cachefs({"umount", mountpoint_});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.errors, AllOf(HasSubstr("had died"), HasSubstr("cleaned up")));
  EXPECT_FALSE(is_mounted());
  EXPECT_FALSE(std::filesystem::exists(socket_path()));
}

TEST_F(CliLifecycle, UmountCleansUpABusyMountWithoutSocket) {
  const pid_t daemon = mount();
  const UniqueFd open_file(::open((mountpoint_ + "/greeting").c_str(), O_RDONLY | O_CLOEXEC));
  kill_hard(daemon);
  std::filesystem::remove(socket_path());
  const Finished run = cachefs({"umount", mountpoint_});
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_FALSE(is_mounted());
}

TEST_F(CliLifecycle, MountCleansUpAfterADeadDaemon) {
  kill_hard(mount());
  const Finished run = cachefs({"mount", source_, mountpoint_});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.errors, HasSubstr("took away the mount that a dead daemon had left"));
  EXPECT_EQ(greeting(), "hello");
}

TEST_F(CliLifecycle, LeftoverSocketIsReplacedSilently) {
  kill_hard(mount());
  ASSERT_TRUE(cli::unmount(mountpoint_, cli::UnmountKind::detach));
  ASSERT_TRUE(std::filesystem::exists(socket_path()));
  const Finished run = cachefs({"mount", source_, mountpoint_});
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_EQ(run.errors, "");
  EXPECT_EQ(cachefs({"status", mountpoint_}).exit_code, 0);
}

TEST_F(CliLifecycle, MountAgainRightAfterAForeignUnmount) {
  for (int round = 0; round < 5; ++round) {
    mount();
    EXPECT_EQ(greeting(), "hello");
    ASSERT_TRUE(cli::unmount(mountpoint_, cli::UnmountKind::if_unused));
  }
}

TEST_F(CliLifecycle, SocketIsForItsOwnerAlone) {
  mount();
  struct stat status{};
  ASSERT_EQ(::lstat(socket_path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
  EXPECT_EQ(status.st_uid, ::geteuid());
  ASSERT_EQ(::lstat(std::filesystem::path(socket_path()).parent_path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700U);
}

TEST_F(CliLifecycle, NoteOnMoreThanThereIsMemory) {
  const Finished run = cachefs({"mount", source_, mountpoint_, "--ram-size", "900T"});
  EXPECT_THAT(run.errors, HasSubstr("note: --ram-size 900T is more than this machine's memory"));
}

TEST_F(CliLifecycle, ReadOnlyOption) {
  mount({"-o", "ro,noatime"});
  EXPECT_EQ(greeting(), "hello");
  EXPECT_EQ(::open((mountpoint_ + "/new").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600), -1);
  EXPECT_EQ(errno, EROFS);
}

}  // namespace
}  // namespace cachefs::test
