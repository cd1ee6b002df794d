// Mounts for tests: each lives in a mount namespace of the test's process and goes with it, whatever happens.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cachefs/cache_fs.h"
#include "cachefs/decorators.h"
#include "cachefs/file_system.h"
#include "mount/session.h"
#include "support/mount_namespace.h"
#include "support/temporary_directory.h"

namespace cachefs::test {

inline constexpr std::chrono::seconds kDeadline{20};

/// True once `condition` holds; false if it does not in kDeadline.
bool eventually(const std::function<bool()>& condition);

/// A session that serves a file system in threads of this process until its destruction.
class Mounted {
 public:
  /// `view` may be null. Of `options` the place and what it is called are set here.
  Mounted(FileSystem& fs, CacheView* view, const std::string& mountpoint, mount::SessionOptions options);
  ~Mounted();
  Mounted(const Mounted&) = delete;
  Mounted& operator=(const Mounted&) = delete;

  void stop() { session_->stop(); }
  [[nodiscard]] bool has(mount::KernelFeature feature) const {
    return session_->feature(feature) == mount::FeatureState::on;
  }
  /// How many files the kernel knows.
  [[nodiscard]] size_t nodes() const { return session_->nodes(); }
  /// Waits for the end of run().
  void join();

 private:
  std::unique_ptr<mount::Session> session_;
  std::thread thread_;
};

/// What every test of the mount runs over; `cached`: CacheFs over the directory that `posix` serves.
enum class SourceKind { memory, posix, cached };
std::string source_name(const testing::TestParamInfo<SourceKind>& info);

/// A mount over a source, with hooks between: it counts, fails and hangs.
class MountFixture : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  [[nodiscard]] virtual SourceKind source_kind() const = 0;
  /// How the cache of SourceKind::cached is made.
  [[nodiscard]] virtual CacheOptions cache_options() const { return {}; }

  /// What is between the source and the hooks; the source itself unless overridden.
  virtual FileSystem& decorate(FileSystem& source) { return source; }

  /// How the session of SourceKind::cached is made.
  [[nodiscard]] virtual mount::SessionOptions session_options() const { return {}; }

  /// When the loop has ended; then what hangs goes on.
  virtual void on_unmounted() {}

  /// Null but for SourceKind::cached.
  [[nodiscard]] CacheFs* cache() const { return cache_.get(); }
  /// The path of a name on the mount.
  [[nodiscard]] std::string at(std::string_view name) const;
  [[nodiscard]] const std::filesystem::path& source_directory() const { return source_directory_; }

  FaultHook fault_;
  OperationCounter counter_;
  std::unique_ptr<Mounted> mounted_;

 private:
  TemporaryDirectory temporary_;
  std::filesystem::path source_directory_;
  std::filesystem::path mountpoint_;
  std::unique_ptr<FileSystem> source_;
  std::unique_ptr<FileSystem> failing_;
  std::unique_ptr<FileSystem> counted_;
  std::unique_ptr<CacheFs> cache_;
};

/// With the source as its parameter.
class MountTest : public MountFixture, public testing::WithParamInterface<SourceKind> {
 protected:
  [[nodiscard]] SourceKind source_kind() const override { return GetParam(); }
};

/// A thread whose end or wait can be waited for.
class WatchedThread {
 public:
  explicit WatchedThread(std::function<void()> work);
  ~WatchedThread() { join(); }
  WatchedThread(const WatchedThread&) = delete;
  WatchedThread& operator=(const WatchedThread&) = delete;

  /// `wanted` as in /proc/self/task/N/stat: 'S' waits so that a signal wakes it, 'D' so that none does.
  [[nodiscard]] bool ends_or_is_in_state(char wanted) const;
  [[nodiscard]] bool ends() const;
  void join() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  [[nodiscard]] char state() const;

  std::atomic<pid_t> id_{0};
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

/// Makes the kernel forget the names and files that nobody uses, of all file systems.
void drop_kernel_caches();
/// Until it knows the root of the mount alone. False if it goes on knowing more.
[[nodiscard]] bool make_kernel_forget_all(const Mounted& mounted);

/// What a path holds; "?" with an errno name if it cannot be read.
std::string contents_of(const std::string& path);
/// 0, or the errno value of what failed.
int write_file(const std::string& path, std::string_view text, int flags = 0);

struct Identity {
  unsigned uid = 0;
  unsigned gid = 0;
  std::vector<unsigned> groups{};
};
/// Runs `work` in a child process as somebody else; its return value (0 to 255) is returned, or -1 if the
/// child was killed.
int run_as(const Identity& identity, const std::function<int()>& work);

}  // namespace cachefs::test
