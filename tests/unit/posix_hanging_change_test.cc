// A change of a name that does not end: others in the same directory wait for it in their own time, and do
// not happen after that.
#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/request_deadline.h"
#include "cachefs/guarded_fs.h"
#include "unit/posix_test_support.h"
#include "vfs/posix_file.h"
#include "vfs/posix_node.h"

namespace cachefs {
namespace {

using namespace std::chrono_literals;

class PosixHangingChange : public PosixFsTest {
 protected:
  /// In the root, without an end: its system call does not return.
  class HangingNameChange {
   public:
    explicit HangingNameChange(FileSystem& fs) NO_THREAD_SAFETY_ANALYSIS
        : mutex_(posix::as_posix(*fs.root()).names_mutex(0)) {
      EXPECT_TRUE(mutex_->mutex.try_lock_until(std::chrono::steady_clock::now()));
    }
    ~HangingNameChange() NO_THREAD_SAFETY_ANALYSIS { mutex_->mutex.unlock(); }
    HangingNameChange(const HangingNameChange&) = delete;
    HangingNameChange& operator=(const HangingNameChange&) = delete;

   private:
    const std::shared_ptr<posix::NamesMutex> mutex_;
  };
  /// Held by a thread of which the system call does not return.
  class Hanging {
   public:
    explicit Hanging(TimedMutex& mutex) NO_THREAD_SAFETY_ANALYSIS : mutex_(mutex) {
      EXPECT_TRUE(mutex_.try_lock_until(std::chrono::steady_clock::now()));
    }
    ~Hanging() NO_THREAD_SAFETY_ANALYSIS { mutex_.unlock(); }
    Hanging(const Hanging&) = delete;
    Hanging& operator=(const Hanging&) = delete;

   private:
    TimedMutex& mutex_;
  };
  [[nodiscard]] bool exists(const char* name) const { return std::filesystem::exists(root_ / name); }
  const Caller caller_ = Caller::self();
};

TEST_F(PosixHangingChange, OthersInTheDirectoryEndWithTheirRequests) {
  write_outside("root/old", "text");
  const NodeRef root = fs_->root();
  std::optional<HangingNameChange> hanging(*fs_);
  std::thread([&] {
    const RequestDeadline limited(std::chrono::steady_clock::now() + 20ms);
    EXPECT_ERRNO(fs_->create({*root, "new"}, {}, caller_), ETIMEDOUT);
    EXPECT_ERRNO(fs_->make({*root, "new"}, {.kind = FileKind::directory}, caller_), ETIMEDOUT);
    EXPECT_ERRNO(fs_->rename({*root, "old"}, {*root, "new"}, RenameMode::replace, caller_), ETIMEDOUT);
    EXPECT_ERRNO(fs_->remove({*root, "old"}, RemoveKind::file, caller_), ETIMEDOUT);
  }).join();
  EXPECT_TRUE(fs_->lookup(*root, "old", caller_)) << "no change";
  hanging.reset();
  EXPECT_TRUE(exists("old"));
  EXPECT_FALSE(exists("new"));
  EXPECT_TRUE(fs_->create({*root, "new"}, {}, caller_));
}

TEST_F(PosixHangingChange, WhatWaitedInVainDoesNotHappenLater) {
  GuardOptions options;
  options.limits.name_change = 50ms;
  const std::shared_ptr<FileSystem> shared(std::move(fs_));  // which the guard's last task outlives else
  const auto guarded = GuardedFs::create(shared, options);
  FileSystem& guard = *guarded;
  const NodeRef root = guard.root();
  std::optional<HangingNameChange> hanging(*shared);
  EXPECT_ERRNO(guard.create({*root, "new"}, {}, caller_), ETIMEDOUT);
  while (guarded->health().hanging != 0) std::this_thread::yield();  // though the other change still hangs
  hanging.reset();
  EXPECT_FALSE(exists("new"));
  EXPECT_TRUE(guard.create({*root, "new"}, {}, caller_));
}

/// Each waits for his turn within the source until his time is over.
TEST_F(PosixHangingChange, NothingIsAskedForAnewAfterChangesThatWaitedInVain) {
  constexpr int kWaiting = 16;
  GuardOptions options;
  options.limits.name_change = 100ms;
  const std::shared_ptr<FileSystem> shared(std::move(fs_));  // which the guard's last task outlives else
  const auto guarded = GuardedFs::create(shared, options);
  std::atomic<int> told = 0;
  guarded->set_on_late_change([&] { ++told; });
  FileSystem& guard = *guarded;
  const NodeRef root = guard.root();
  std::optional<HangingNameChange> hanging(*shared);
  std::vector<std::thread> threads;
  for (int i = 0; i < kWaiting; ++i) {
    threads.emplace_back(
        [&, i] { EXPECT_ERRNO(guard.create({*root, "new" + std::to_string(i)}, {}, caller_), ETIMEDOUT); });
  }
  for (std::thread& thread : threads) thread.join();
  while (guarded->health().hanging != 0) std::this_thread::yield();
  EXPECT_EQ(told, 0);
  hanging.reset();
  guarded->set_on_late_change({});
}

TEST_F(PosixHangingChange, WhatHangsOnARootThatWasLetGoOfHoldsNobodyUp) {
  posix::PosixNode& root = posix::as_posix(*fs_->root());
  EXPECT_EQ(root.names_mutex(0), root.names_mutex(0));
  const auto old = root.names_mutex(0);
  EXPECT_NE(root.names_mutex(1), old);
  EXPECT_EQ(root.names_mutex(1), root.names_mutex(1));
  EXPECT_NE(root.names_mutex(0), root.names_mutex(1)) << "who is late must not hang where others wait";
}

/// The kernel has one position for both, so that one waits for the other.
TEST_F(PosixHangingChange, AnAppendBehindASearchForHolesEndsWithItsRequest) {
  write_outside("root/file", "text");
  auto found = fs_->lookup(*fs_->root(), "file", caller_);
  ASSERT_OK(found);
  auto opened = fs_->open(*found->node, {.read = true, .write = true}, caller_);
  ASSERT_OK(opened);
  File& file = *opened->file;
  TimedMutex& position = dynamic_cast<posix::PosixFile&>(file).position_mutex();
  std::optional<Hanging> hanging(position);
  std::thread([&] {
    const RequestDeadline limited(std::chrono::steady_clock::now() + 20ms);
    EXPECT_ERRNO(file.append(std::as_bytes(std::span("late"))), ETIMEDOUT);
  }).join();
  std::thread([&] {
    const RequestDeadline limited(std::chrono::steady_clock::now() + 20ms);
    EXPECT_ERRNO(file.seek(SeekKind::hole, 0), ETIMEDOUT);
  }).join();
  hanging.reset();
  EXPECT_EQ(std::filesystem::file_size(root_ / "file"), 4U);
  EXPECT_OK(file.append(std::as_bytes(std::span("late"))));
  EXPECT_OK(file.close());
}

/// Such as one whose thread was stuck in what comes before.
TEST_F(PosixHangingChange, ARequestWhoseTimeIsOverBeginsNothing) {
  write_outside("root/old", "text");
  const NodeRef root = fs_->root();
  auto old = fs_->lookup(*root, "old", caller_);
  ASSERT_OK(old);
  const RequestDeadline over(std::chrono::steady_clock::now());
  EXPECT_ERRNO(fs_->create({*root, "new"}, {}, caller_), ETIMEDOUT);
  EXPECT_ERRNO(fs_->remove({*root, "old"}, RemoveKind::file, caller_), ETIMEDOUT);
  EXPECT_ERRNO(fs_->set_attributes(*old->node, {.size = 0}, caller_), ETIMEDOUT);
  EXPECT_TRUE(exists("old"));
  EXPECT_FALSE(exists("new"));
  EXPECT_EQ(std::filesystem::file_size(root_ / "old"), 4U);
}

}  // namespace
}  // namespace cachefs
