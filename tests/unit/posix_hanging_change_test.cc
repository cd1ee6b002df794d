// A change of a name that does not end: others in the same directory wait for it in their own time, and do
// not happen after that.
#include <chrono>
#include <thread>

#include "base/request_deadline.h"
#include "cachefs/guarded_fs.h"
#include "unit/posix_test_support.h"
#include "vfs/posix_node.h"

namespace cachefs {
namespace {

using namespace std::chrono_literals;

class PosixHangingChange : public PosixFsTest {
 protected:
  /// As it is held by a change whose system call does not return.
  TimedMutex& names_mutex() { return posix::as_posix(*fs_->root()).names_mutex; }
  [[nodiscard]] bool exists(const char* name) const { return std::filesystem::exists(root_ / name); }
  const Caller caller_ = Caller::self();
};

TEST_F(PosixHangingChange, OthersInTheDirectoryEndWithTheirRequests) {
  write_outside("root/old", "text");
  const NodeRef root = fs_->root();
  ASSERT_TRUE(names_mutex().try_lock_until(std::chrono::steady_clock::now()));
  std::thread([&] {
    const RequestDeadline limited(std::chrono::steady_clock::now() + 20ms);
    EXPECT_ERRNO(fs_->create({*root, "new"}, {}, caller_), ETIMEDOUT);
    EXPECT_ERRNO(fs_->make({*root, "new"}, {.kind = FileKind::directory}, caller_), ETIMEDOUT);
    EXPECT_ERRNO(fs_->rename({*root, "old"}, {*root, "new"}, RenameMode::replace, caller_), ETIMEDOUT);
    EXPECT_ERRNO(fs_->remove({*root, "old"}, RemoveKind::file, caller_), ETIMEDOUT);
    EXPECT_TRUE(fs_->lookup(*root, "old", caller_)) << "no change";
  }).join();
  names_mutex().unlock();
  EXPECT_TRUE(exists("old"));
  EXPECT_FALSE(exists("new"));
  EXPECT_TRUE(fs_->create({*root, "new"}, {}, caller_));
}

TEST_F(PosixHangingChange, WhatWaitedInVainDoesNotHappenLater) {
  GuardOptions options;
  options.limits.name_change = 50ms;
  const std::shared_ptr<FileSystem> shared(fs_.get(), [](FileSystem*) {});
  const auto guarded = GuardedFs::create(shared, options);
  FileSystem& guard = *guarded;
  const NodeRef root = guard.root();
  ASSERT_TRUE(names_mutex().try_lock_until(std::chrono::steady_clock::now()));
  EXPECT_ERRNO(guard.create({*root, "new"}, {}, caller_), ETIMEDOUT);
  while (guarded->health().hanging != 0) std::this_thread::yield();  // though the other change still hangs
  names_mutex().unlock();
  EXPECT_FALSE(exists("new"));
  EXPECT_TRUE(guard.create({*root, "new"}, {}, caller_));
}

}  // namespace
}  // namespace cachefs
