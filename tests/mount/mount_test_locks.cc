// Locks between processes, kept by the kernel for the mount or by the source.
#include <fcntl.h>
#include <sys/file.h>

#include <array>
#include <csignal>

#include "cachefs/lock_store.h"
#include "cachefs/mem_fs.h"
#include "mount/lock_fixture.h"
#include "unit/path_only_fs.h"

namespace cachefs::test {
namespace {

INSTANTIATE_TEST_SUITE_P(, MountLocksTest,
                         testing::Values(LockCase{"LocalCached", LockPlace::local, SourceKind::cached},
                                         LockCase{"SourceCached", LockPlace::source, SourceKind::cached},
                                         LockCase{"SourceMemory", LockPlace::source, SourceKind::memory}),
                         case_name);

/// Where the locks are those of a directory, behind a cache.
using MountSourceLocks = MountLocksTest;
INSTANTIATE_TEST_SUITE_P(, MountSourceLocks,
                         testing::Values(LockCase{"Cached", LockPlace::source, SourceKind::cached}),
                         case_name);

TEST_P(MountLocksTest, ExclusiveLockKeepsOthersOut) {
  EXPECT_EQ(one_.lock(0, F_WRLCK), 0);
  EXPECT_EQ(other_.lock(0, F_WRLCK), EAGAIN);
  EXPECT_EQ(other_.lock(0, F_RDLCK), EAGAIN);
  EXPECT_EQ(one_.lock(0, F_UNLCK), 0);
  EXPECT_EQ(other_.lock(0, F_WRLCK), 0);
}

TEST_P(MountLocksTest, SharedLocksAreHeldTogether) {
  EXPECT_EQ(one_.lock(0, F_RDLCK), 0);
  EXPECT_EQ(other_.lock(0, F_RDLCK), 0);
  EXPECT_EQ(other_.lock(0, F_WRLCK), EAGAIN);
}

TEST_P(MountLocksTest, RangesAreSplitAndMerged) {
  EXPECT_EQ(one_.lock(0, F_WRLCK, {.start = 0, .length = 10}), 0);
  EXPECT_EQ(one_.lock(0, F_WRLCK, {.start = 10, .length = 20}), 0);
  EXPECT_EQ(one_.lock(0, F_UNLCK, {.start = 5, .length = 10}), 0);
  EXPECT_EQ(other_.lock(0, F_WRLCK, {.start = 5, .length = 10}), 0);
  EXPECT_EQ(other_.lock(0, F_RDLCK, {.start = 4, .length = 1}), EAGAIN);
  EXPECT_EQ(other_.lock(0, F_RDLCK, {.start = 15, .length = 1}), EAGAIN);
  EXPECT_EQ(other_.lock(0, F_RDLCK, {.start = 30}), 0);
}

TEST_P(MountLocksTest, TestTellsTheConflict) {
  struct flock found{};
  EXPECT_EQ(other_.test(0, found), 0);
  EXPECT_EQ(found.l_type, F_UNLCK);
  EXPECT_EQ(one_.lock(0, F_RDLCK, {.start = 3, .length = 4}), 0);
  EXPECT_EQ(other_.test(0, found), 0);
  EXPECT_EQ(found.l_type, F_RDLCK);
  EXPECT_EQ(found.l_start, 3);
  EXPECT_EQ(found.l_len, 4);
  EXPECT_EQ(found.l_pid, one_.pid());
}

TEST_P(MountLocksTest, BlockingLockWaitsAndIsGranted) {
  EXPECT_EQ(one_.lock(0, F_WRLCK), 0);
  other_.begin_lock(0, F_WRLCK);
  EXPECT_TRUE(eventually([&] { return other_.sleeps(); }));
  EXPECT_FALSE(other_.has_ended());
  EXPECT_EQ(one_.lock(0, F_UNLCK), 0);
  EXPECT_EQ(other_.end(), 0);
  EXPECT_EQ(one_.lock(0, F_RDLCK), EAGAIN);
}

TEST_P(MountLocksTest, BlockingFlockWaitsAndIsGranted) {
  EXPECT_EQ(one_.flock(0, LOCK_SH), 0);
  other_.begin_flock(0, LOCK_EX);
  EXPECT_TRUE(eventually([&] { return other_.sleeps(); }));
  EXPECT_FALSE(other_.has_ended());
  EXPECT_EQ(one_.flock(0, LOCK_UN), 0);
  EXPECT_EQ(other_.end(), 0);
  EXPECT_EQ(one_.flock(0, LOCK_SH), EWOULDBLOCK);
}

TEST_P(MountLocksTest, ASignalEndsTheWait) {
  EXPECT_EQ(one_.lock(0, F_WRLCK), 0);
  other_.begin_lock(0, F_WRLCK);
  // A signal that comes before the wait ends nothing.
  EXPECT_TRUE(eventually([&] {
    if (!other_.has_ended()) other_.signal(SIGUSR1);
    return other_.has_ended();
  }));
  EXPECT_EQ(other_.end(), EINTR);
  EXPECT_EQ(one_.lock(0, F_UNLCK), 0);
  EXPECT_EQ(one_.lock(0, F_WRLCK), 0) << "who gave up has not got it";
}

TEST_P(MountLocksTest, AKilledHoldersLocksGo) {
  EXPECT_EQ(one_.lock(0, F_WRLCK), 0);
  EXPECT_EQ(one_.flock(0, LOCK_EX), 0);
  other_.begin_lock(0, F_WRLCK);
  EXPECT_TRUE(one_.kill());
  EXPECT_EQ(other_.end(), 0);
  EXPECT_TRUE(eventually([&] { return other_.flock(0, LOCK_EX) == 0; }));
}

TEST_P(MountLocksTest, AKilledWaiterDiesAndGetsNothing) {
  EXPECT_EQ(one_.lock(0, F_WRLCK), 0);
  other_.begin_lock(0, F_WRLCK);
  EXPECT_TRUE(eventually([&] { return other_.sleeps(); }));
  EXPECT_TRUE(other_.kill());
  EXPECT_EQ(one_.lock(0, F_UNLCK), 0);
  LockProcess third;
  EXPECT_EQ(third.open(0, at("file")), 0);
  EXPECT_EQ(third.lock(0, F_WRLCK), 0);
}

TEST_P(MountLocksTest, ClosingAnyDescriptorDropsRecordLocks) {
  EXPECT_EQ(one_.open(1, at("file"), O_RDONLY), 0);
  EXPECT_EQ(one_.lock(0, F_WRLCK), 0);
  EXPECT_EQ(other_.lock(0, F_WRLCK), EAGAIN);
  EXPECT_EQ(one_.close(1), 0);
  EXPECT_EQ(other_.lock(0, F_WRLCK), 0);
}

TEST_P(MountLocksTest, ALockByADescriptorForReadingGoesWithIt) {
  EXPECT_EQ(one_.open(1, at("file"), O_RDONLY), 0);
  EXPECT_EQ(one_.lock(1, F_RDLCK), 0);
  EXPECT_EQ(other_.lock(0, F_WRLCK), EAGAIN);
  EXPECT_EQ(one_.close(1), 0);
  EXPECT_EQ(other_.lock(0, F_WRLCK), 0);
}

TEST_P(MountLocksTest, AForkedChildHasNoRecordLocksAndDropsNone) {
  EXPECT_EQ(one_.lock(0, F_WRLCK), 0);
  EXPECT_EQ(one_.fork(), 0);
  EXPECT_EQ(one_.end_fork(), 0);  // which closes its copy of the descriptor
  EXPECT_EQ(other_.lock(0, F_WRLCK), EAGAIN);
}

TEST_P(MountLocksTest, FlockIsInheritedByFork) {
  EXPECT_EQ(one_.flock(0, LOCK_EX), 0);
  EXPECT_EQ(one_.fork(), 0);
  EXPECT_EQ(one_.close(0), 0);
  EXPECT_EQ(other_.flock(0, LOCK_EX), EWOULDBLOCK) << "the child of the child has the open file";
  EXPECT_EQ(one_.end_fork(), 0);
  EXPECT_TRUE(eventually([&] { return other_.flock(0, LOCK_EX) == 0; }));
}

TEST_P(MountLocksTest, FlockIsOfTheOpenFile) {
  EXPECT_EQ(one_.duplicate(0, 1), 0);
  EXPECT_EQ(one_.open(2, at("file")), 0);
  EXPECT_EQ(one_.flock(0, LOCK_EX), 0);
  EXPECT_EQ(one_.flock(1, LOCK_EX), 0) << "the same open file";
  EXPECT_EQ(one_.flock(2, LOCK_EX), EWOULDBLOCK) << "another one";
  EXPECT_EQ(one_.close(0), 0);
  EXPECT_EQ(one_.flock(2, LOCK_EX), EWOULDBLOCK) << "it is still open";
  EXPECT_EQ(one_.close(1), 0);
  EXPECT_TRUE(eventually([&] { return one_.flock(2, LOCK_EX) == 0; }));
}

TEST_P(MountLocksTest, FlockChangesItsMode) {
  EXPECT_EQ(one_.flock(0, LOCK_EX), 0);
  EXPECT_EQ(one_.flock(0, LOCK_SH), 0);
  EXPECT_EQ(other_.flock(0, LOCK_SH), 0);
  EXPECT_EQ(one_.flock(0, LOCK_UN), 0);
  EXPECT_EQ(other_.flock(0, LOCK_EX), 0);
}

TEST_P(MountLocksTest, OfTwoWhoWouldChangeASharedFlockOneGetsIt) {
  EXPECT_EQ(one_.flock(0, LOCK_SH), 0);
  EXPECT_EQ(other_.flock(0, LOCK_SH), 0);
  one_.begin_flock(0, LOCK_EX);
  EXPECT_TRUE(eventually([&] { return one_.sleeps(); }));
  other_.begin_flock(0, LOCK_EX);
  EXPECT_TRUE(eventually([&] { return one_.has_ended() || other_.has_ended(); }));
  LockProcess& first = one_.has_ended() ? one_ : other_;
  EXPECT_EQ(first.end(), 0);
  EXPECT_EQ(first.flock(0, LOCK_UN), 0);
  EXPECT_EQ((&first == &one_ ? other_ : one_).end(), 0);
}

TEST_P(MountLocksTest, LocksOfOpenFilesGoWithThem) {
  EXPECT_EQ(one_.open(1, at("file")), 0);
  EXPECT_EQ(one_.lock_open_file(0, F_WRLCK), 0);
  EXPECT_EQ(one_.lock_open_file(1, F_WRLCK), EAGAIN);
  EXPECT_EQ(one_.close(1), 0);
  EXPECT_EQ(other_.lock(0, F_WRLCK), EAGAIN) << "another descriptor was closed";
  EXPECT_EQ(one_.close(0), 0);
  EXPECT_TRUE(eventually([&] { return other_.lock(0, F_WRLCK) == 0; }));
}

TEST_P(MountLocksTest, TheSourceIsAskedOnlyIfItKeepsTheLocks) {
  EXPECT_EQ(one_.lock(0, F_WRLCK), 0);
  EXPECT_EQ(one_.flock(0, LOCK_SH), 0);
  EXPECT_EQ(counter_.count(Operation::set_lock), at_source() ? 2U : 0U);
}

TEST_P(MountLocksTest, EachOfManyProcessesCounts) {
  ASSERT_EQ(write_file(at("count"), "0000000000"), 0);
  constexpr int kTimes = 50;
  std::array<LockProcess, 4> processes;
  for (LockProcess& process : processes) ASSERT_EQ(process.open(0, at("count")), 0);
  for (LockProcess& process : processes) EXPECT_EQ(process.count_up(0, kTimes, false), 0);
  for (LockProcess& process : processes) EXPECT_EQ(process.end(), 0);
  EXPECT_EQ(contents_of(at("count")), "0000000200");
}

TEST_P(MountSourceLocks, WhoUsesTheSourceItselfIsKeptOut) {
  LockProcess beside;
  ASSERT_EQ(beside.open(0, on_source()), 0);
  EXPECT_EQ(one_.lock(0, F_WRLCK), 0);
  EXPECT_EQ(beside.lock(0, F_RDLCK), EAGAIN);
  EXPECT_EQ(one_.lock(0, F_UNLCK), 0);
  EXPECT_EQ(beside.lock(0, F_WRLCK), 0);
  EXPECT_EQ(one_.lock(0, F_RDLCK), EAGAIN);
  EXPECT_EQ(beside.flock(0, LOCK_SH), 0);
  EXPECT_EQ(one_.flock(0, LOCK_EX), EWOULDBLOCK);
  struct flock found{};
  EXPECT_EQ(one_.test(0, found), 0);
  EXPECT_EQ(found.l_pid, beside.pid());
}

TEST_P(MountSourceLocks, ALockSeesWhatItsLastHolderWrote) {
  LockProcess beside;
  ASSERT_EQ(beside.open(0, on_source()), 0);
  ASSERT_EQ(one_.read(0, 0, 10), "0123456789");
  ASSERT_EQ(beside.lock(0, F_WRLCK), 0);
  ASSERT_EQ(beside.write(0, 0, "abcdefghij"), 0);
  one_.begin_lock(0, F_RDLCK);
  ASSERT_EQ(beside.lock(0, F_UNLCK), 0);
  EXPECT_EQ(one_.end(), 0);
  EXPECT_EQ(one_.read(0, 0, 10), "abcdefghij") << "though the kernel had pages of it";
  EXPECT_EQ(one_.lock(0, F_UNLCK), 0);
  ASSERT_EQ(beside.lock(0, F_WRLCK), 0);
  ASSERT_EQ(beside.write(0, 8, "and more"), 0);
  ASSERT_EQ(beside.lock(0, F_UNLCK), 0);
  EXPECT_EQ(one_.lock(0, F_RDLCK), 0);
  EXPECT_EQ(one_.read(0, 0, 20), "abcdefghand more") << "though the kernel had its size";
}

TEST_P(MountSourceLocks, AProgramKilledWhileTheSourceHangsLeavesNoLock) {
  ASSERT_EQ(one_.lock(0, F_WRLCK), 0);
  hang(Operation::release_lock);
  EXPECT_TRUE(one_.kill());
  fault_.recover();
  EXPECT_TRUE(eventually([&] { return other_.lock(0, F_WRLCK) == 0; }));
}

TEST_P(MountSourceLocks, AProgramKilledWhileItLocksLeavesNoLock) {
  hang(Operation::set_lock);
  one_.begin_lock(0, F_WRLCK);
  ASSERT_TRUE(hangs());
  one_.signal(SIGKILL);
  fault_.recover();
  EXPECT_TRUE(one_.kill());
  EXPECT_TRUE(eventually([&] { return other_.lock(0, F_WRLCK) == 0; }));
}

TEST_P(MountSourceLocks, TheEndOfTheMountEndsTheWaitAndTheLocks) {
  LockProcess beside;
  ASSERT_EQ(beside.open(0, on_source()), 0);
  ASSERT_EQ(one_.lock(0, F_WRLCK), 0);
  other_.begin_lock(0, F_WRLCK);
  EXPECT_TRUE(eventually([&] { return other_.sleeps(); }));
  mounted_.reset();
  EXPECT_EQ(other_.end(), ENOTCONN);
  EXPECT_EQ(beside.lock(0, F_WRLCK), 0);
}

TEST_P(MountSourceLocks, AFileSystemWithoutLocksIsRefused) {
  const auto memory = make_mem_fs();
  PathOnlyFs without(*memory);
  const auto session = mount::Session::create(
      without, nullptr, {.mountpoint = at(""), .source = "test", .locks = LockPlace::source});
  ASSERT_FALSE(session);
  EXPECT_TRUE(session.error().is(std::errc::no_lock_available)) << session.error().message();
}

TEST_P(MountSourceLocks, LocksOfAFileWithoutANameHold) {
  ASSERT_EQ(::unlink(at("file").c_str()), 0);
  EXPECT_EQ(one_.lock(0, F_WRLCK), 0);
  EXPECT_EQ(other_.lock(0, F_WRLCK), EAGAIN);
  EXPECT_EQ(one_.close(0), 0);
  EXPECT_EQ(other_.lock(0, F_WRLCK), 0);
}

TEST_P(MountSourceLocks, AnOpenFileRemovedOnTheSourceCanBeLocked) {
  ASSERT_EQ(one_.flock(0, LOCK_EX), 0);
  other_.begin_flock(0, LOCK_EX);
  EXPECT_TRUE(eventually([&] { return other_.sleeps(); }));
  ASSERT_EQ(::unlink(on_source().c_str()), 0);
  EXPECT_TRUE(eventually([&] { return access(at("file").c_str(), F_OK) != 0; }));
  EXPECT_EQ(one_.close(0), 0);
  EXPECT_EQ(other_.end(), 0);
}

TEST_P(MountSourceLocks, AnUnchangedFileKeepsTheKernelsPages) {
  ASSERT_EQ(one_.read(0, 0, 10), "0123456789");
  ASSERT_EQ(one_.lock(0, F_RDLCK), 0);
  ASSERT_EQ(one_.read(0, 0, 10), "0123456789");
  const uint64_t hits = cache()->stats().hits;
  ASSERT_EQ(one_.lock(0, F_WRLCK), 0);
  ASSERT_EQ(one_.read(0, 0, 10), "0123456789");
  EXPECT_EQ(cache()->stats().hits, hits);
}

}  // namespace
}  // namespace cachefs::test
