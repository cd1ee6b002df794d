// Locks of programs on two mounts of one source.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <fstream>
#include <memory>

#include "mount/cli_fixture.h"
#include "mount/lock_process.h"

namespace cachefs::test {
namespace {

using testing::HasSubstr;

std::string line_of(const std::string& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

/// From here on no file system has locks of open files, for this process and its children.
void take_locks_away() {
  constexpr uint32_t kAllow = SECCOMP_RET_ALLOW;
  constexpr uint32_t kRefuse = SECCOMP_RET_ERRNO | ENOLCK;
  std::array<sock_filter, 6> filter{
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fcntl, 0, 3),
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, F_OFD_GETLK, 0, 1),
      sock_filter BPF_STMT(BPF_RET | BPF_K, kRefuse),
      sock_filter BPF_STMT(BPF_RET | BPF_K, kAllow),
  };
  const sock_fprog program{.len = filter.size(), .filter = filter.data()};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) _exit(125);
}

class TwoMounts : public CliTest {
 protected:
  void SetUp() override {
    CACHEFS_REQUIRE_MOUNT();
    CliTest::SetUp();
    second_ = folder_ / "second";
    std::filesystem::create_directory(second_);
  }
  void mount_both(const std::vector<std::string>& options = {}) {
    std::vector<std::string> all{"--locks", "source"};
    all.insert(all.end(), options.begin(), options.end());
    mount(all);
    all.insert(all.begin(), {"mount", source_, second_, "--json"});
    const Finished run = cachefs(all);
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    remember(run.json().value("pid", 0));
  }
  /// Processes on both mounts, each with the file open throughout, add to the number in it.
  void count_up(bool by_flock) {
    constexpr int kTimes = 100;
    std::ofstream(source_ + "/count") << "0000000000";
    std::array<LockProcess, 4> processes;
    for (size_t i = 0; i < processes.size(); ++i)
      ASSERT_EQ(processes[i].open(0, (i % 2 == 0 ? mountpoint_ : second_) + "/count"), 0);
    for (LockProcess& process : processes) EXPECT_EQ(process.count_up(0, kTimes, by_flock), 0);
    for (LockProcess& process : processes) EXPECT_EQ(process.end(), 0);
    EXPECT_EQ(line_of(source_ + "/count"), "0000000400");
    EXPECT_EQ(processes[0].lock(0, F_RDLCK), 0);
    EXPECT_EQ(processes[0].read(0, 0, 10), "0000000400");
  }

  std::string second_;
};

TEST_F(TwoMounts, LocksOfOneKeepOutWhoIsOnTheOther) {
  mount_both();
  LockProcess one, other;
  ASSERT_EQ(one.open(0, mountpoint_ + "/greeting"), 0);
  ASSERT_EQ(other.open(0, second_ + "/greeting"), 0);
  EXPECT_EQ(one.lock(0, F_WRLCK, {.start = 0, .length = 10}), 0);
  EXPECT_EQ(other.lock(0, F_RDLCK, {.start = 9, .length = 1}), EAGAIN);
  EXPECT_EQ(other.lock(0, F_WRLCK, {.start = 10}), 0);
  EXPECT_EQ(one.flock(0, LOCK_SH), 0);
  EXPECT_EQ(other.flock(0, LOCK_EX), EWOULDBLOCK);
  other.begin_flock(0, LOCK_EX);
  EXPECT_TRUE(one.kill());
  EXPECT_EQ(other.end(), 0);
}

TEST_F(TwoMounts, CountExactlyUnderRecordLocks) {
  mount_both();
  count_up(false);
}

TEST_F(TwoMounts, CountExactlyUnderFlock) {
  mount_both();
  count_up(true);
}

TEST_F(TwoMounts, CountExactlyWhereVersionsAreCoarse) {
  // What slowfs serves counts as a source whose timestamps move in steps of 2 s.
  const std::string files = folder_ / "files";
  std::filesystem::create_directory(files);
  const SlowSource slow(files, folder_ / "slow");
  source_ = slow.path();
  mount_both();
  count_up(false);
  cachefs({"umount", mountpoint_});
  cachefs({"umount", second_});
}

TEST_F(TwoMounts, FlockProgram) {
  mount_both();
  const std::string script = fmt::format(
      "flock {0}/greeting flock -n -E 9 {1}/greeting true; echo $?; flock -s {0}/greeting flock -n -s "
      "{1}/greeting "
      "echo shared",
      mountpoint_, second_);
  EXPECT_EQ(run_command({"sh", "-c", script}).output, "9\nshared\n");
}

/// SQLite makes and removes a journal beside the database, whose name both mounts must see at once.
TEST_F(TwoMounts, SqliteWritesFromBoth) {
  mount_both({"--attr-ttl", "0"});
  constexpr int kTransactions = 40;
  const auto sql = [](const std::string& database, const std::string& text) {
    return run_command({"sqlite3", "-bail", "-cmd", ".timeout 60000", database, text});
  };
  ASSERT_EQ(
      sql(mountpoint_ + "/db", "CREATE TABLE c(v); INSERT INTO c VALUES(0); CREATE TABLE t(w, n);").exit_code,
      0);
  {
    std::ofstream script(folder_ / "script");
    for (int i = 0; i < kTransactions; ++i)
      script << "BEGIN IMMEDIATE; UPDATE c SET v = v + 1; INSERT INTO t VALUES(1, " << i << "); COMMIT;\n";
  }
  const std::string both = fmt::format(
      "run() {{ sqlite3 -bail -cmd '.timeout 60000' \"$1/db\" <{2}/script 2>&1; }}\n"
      "run {0} & run {1} & run {0} & run {1} & wait",
      mountpoint_, second_, folder_.string());
  EXPECT_EQ(run_command({"sh", "-c", both}).output, "");
  const std::string ask = "SELECT v FROM c; SELECT count(*) FROM t; PRAGMA integrity_check;";
  const std::string expected = fmt::format("{0}\n{0}\nok\n", 4 * kTransactions);
  EXPECT_EQ(sql(mountpoint_ + "/db", ask).output, expected);
  EXPECT_EQ(sql(second_ + "/db", ask).output, expected);
  EXPECT_EQ(sql(source_ + "/db", ask).output, expected);
}

class LockOptions : public CliTest {
 protected:
  void SetUp() override {
    CACHEFS_REQUIRE_MOUNT();
    CliTest::SetUp();
  }
  nlohmann::json status() { return cachefs({"status", "--json", mountpoint_}).json(); }
};

TEST_F(LockOptions, StatusTellsThatTheyAreLocal) {
  mount();
  EXPECT_EQ(status().value("locks", ""), "local");
  EXPECT_EQ(status().value("lock_reach", ""), "mount");
  EXPECT_THAT(cachefs({"status", mountpoint_}).output, HasSubstr("this mount"));
}

TEST_F(LockOptions, StatusTellsThatTheyAreTheSources) {
  mount({"--locks", "source"});
  EXPECT_EQ(status().value("locks", ""), "source");
  EXPECT_EQ(status().value("lock_reach", ""), "everywhere");
  EXPECT_THAT(cachefs({"status", mountpoint_}).output, HasSubstr("source: among all who use it"));
}

TEST_F(LockOptions, StatusTellsWhereLocksMayStayOnThisMachine) {
  const SlowSource slow(source_, folder_ / "slow");
  source_ = slow.path();
  mount({"-o", "locks=source"});
  EXPECT_EQ(status().value("lock_reach", ""), "machine");
  EXPECT_EQ(cachefs({"umount", mountpoint_}).exit_code, 0);
}

TEST_F(LockOptions, ThatALockShowsNothingNewInImmutableIsNoted) {
  const Finished run =
      cachefs({"mount", "--json", source_, mountpoint_, "--locks", "source", "--coherence", "immutable"});
  EXPECT_THAT(run.errors, HasSubstr("note: --locks source: with immutable"));
  remember(run.json().value("pid", 0));
}

TEST_F(LockOptions, WhatIsNeitherIsRefused) {
  const Finished run = cachefs({"mount", source_, mountpoint_, "--locks", "everywhere"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.errors, HasSubstr("'everywhere' is neither local nor source"));
}

TEST_F(LockOptions, ASourceWithoutLocksIsRefused) {
  const Finished run =
      cachefs({"mount", source_, mountpoint_, "--locks", "source"}, {.prepare = take_locks_away});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.errors, HasSubstr("--locks source: '" + source_ + "' ("));
  EXPECT_THAT(run.errors, HasSubstr("has no locks; leave it out, and they hold within the mount"));
  EXPECT_FALSE(is_mounted());
}

TEST_F(LockOptions, ALockOfASourceThatHangsEndsInTime) {
  const SlowSource slow(source_, folder_ / "slow");
  source_ = slow.path();
  mount({"--locks", "source", "--timeout", "300ms"});
  LockProcess one, other;
  ASSERT_EQ(one.open(0, mountpoint_ + "/greeting"), 0);
  ASSERT_EQ(other.open(0, mountpoint_ + "/greeting"), 0);
  ASSERT_EQ(one.lock(0, F_WRLCK), 0);
  slow.control({"hang", "metadata", "data"});
  EXPECT_THAT(other.lock(0, F_RDLCK), testing::AnyOf(ETIMEDOUT, EIO, EAGAIN));
  EXPECT_TRUE(one.kill());
  slow.control({"recover"});
  EXPECT_TRUE(eventually([&] { return other.lock(0, F_WRLCK) == 0; })) << "the killed holder's is given back";
  EXPECT_TRUE(other.kill());
  EXPECT_EQ(cachefs({"umount", mountpoint_}).exit_code, 0);
}

}  // namespace
}  // namespace cachefs::test
