// A FileSystem as a mount of this machine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cachefs/cache_fs.h"
#include "cachefs/error.h"
#include "cachefs/file_system.h"
#include "cachefs/time_limits.h"
#include "mount/kernel_features.h"
#include "mount/node_limits.h"

namespace cachefs::mount {

/// The largest write, and answer to a read, of a mount.
inline constexpr uint32_t kMaxRequestBytes = 1024 * 1024;

/// Who keeps the locks of programs.
enum class LockPlace : uint8_t {
  local,   ///< the kernel, for the programs of this mount
  source,  ///< the file system that is served, which must have some (FileSystem::locks)
};

struct SessionOptions {
  std::string mountpoint;                   ///< absolute
  std::string source;                       ///< shown as the mount's source
  std::string subtype = "cachefs";          ///< the file system's type is shown as fuse.SUBTYPE
  std::vector<std::string> fuse_options{};  ///< as after -o: "allow_other", "ro", ...
  /// False: the kernel keeps nothing. Names and attributes are asked for each time, each read of an open file
  /// comes here (FOPEN_DIRECT_IO: files can be mapped privately and executed, but not with MAP_SHARED).
  bool kernel_caches = true;
  uint32_t executor_threads = 64;   ///< requests that are worked on at once, beside a few by their readers
  uint32_t executor_waiting = 512;  ///< requests beside them that the source keeps waiting
  /// Of whole requests: what a request waits for beside the source itself counts too. (That the source's
  /// answers come in time is up to the file system.)
  TimeLimits limits = TimeLimits::none();
  /// How many changes may wait to be told to the kernel; beyond that it is told that everything may have
  /// changed.
  size_t notifications_max = 65'536;
  NodeLimits nodes{};
  LockPlace locks = LockPlace::local;
  KernelFeatures kernel_features = KernelFeatures::all();  ///< those to use, where the kernel offers them
  /// Called by run() when the kernel will ask nothing more, before what is still under way is waited for.
  std::function<void()> on_unmounted{};
};

/// One mount. The kernel checks permissions by mode and owner (default_permissions); the file system is
/// called on behalf of the caller, supplementary groups included where this process is root.
class Session {
 public:
  /// Mounts; what was set right before run() is asked waits in the kernel. `fs` and `view` must outlive the
  /// session. `view` may be null: then every answer comes from `fs`, and the kernel keeps nothing. No thread
  /// is started before run(). Errors: those of mount(2), with what was said about them; enolck (there
  /// are no locks at the source).
  static Result<std::unique_ptr<Session>> create(FileSystem& fs, CacheView* view,
                                                 const SessionOptions& options);
  ~Session();  ///< unmounts if still mounted
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// What became of a feature: known since the kernel was greeted, by create().
  [[nodiscard]] FeatureState feature(KernelFeature feature) const;

  /// How many files the kernel knows now.
  [[nodiscard]] size_t nodes() const;

  /// Serves until unmounted, by anybody, or stop(). Returns once all that was asked is answered, and every
  /// handle and node is given back. To be called once.
  Result<void> run();

  /// Makes the kernel write back what programs wrote through mappings, however long the source takes; then
  /// unmounts lazily and makes run() return: at once, or if files are still open on the mount after a moment
  /// in which their writers may finish. What they write through mappings in that moment is written back too.
  /// Any thread, also in a signal handler.
  void stop();

  /// For a process that is about to end and waits for nothing: makes the kernel answer all that is asked of
  /// the mount with an error, where it lets us (see abort_connection), and unmounts. From any thread, from
  /// create() to destruction.
  void abandon();

 private:
  class Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cachefs::mount
