// What the handlers of one mount share.
#pragma once

#include <fuse_lowlevel.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <semaphore>
#include <thread>
#include <utility>

#include "base/executor.h"
#include "base/request_deadline.h"
#include "cachefs/cache_fs.h"
#include "cachefs/file_system.h"
#include "cachefs/time_limits.h"
#include "mount/handles.h"
#include "mount/kernel_room.h"
#include "mount/mount_locks.h"
#include "mount/node_table.h"
#include "mount/notifier.h"
#include "mount/request.h"
#include "mount/session.h"

namespace cachefs::mount {

/// Writes of data that the kernel asked for, and those that are answered or given up.
struct WriteCounts {
  std::atomic<uint64_t> begun{0};
  std::atomic<uint64_t> ended{0};
};

/// Requests that are worked on by the threads that read them, at a time. Handing one to the executor costs
/// more than a local disk takes for it. There are fewer places than readers: whatever hangs, some go on
/// reading, and what finds no place goes to the executor.
inline constexpr uint32_t kReadersOnly = 6;  ///< that do nothing else
inline uint32_t reader_threads() {
  return std::clamp(std::thread::hardware_concurrency(), 4U, 16U) + kReadersOnly;
}

/// Without the feature nobody asks for what the kernel has forgotten.
inline NodeLimits node_limits(const SessionOptions& options) {
  NodeLimits limits = options.nodes;
  if (!options.kernel_features.has(KernelFeature::export_support)) limits.forgotten = 0;
  return limits;
}

struct MountState {
  MountState(FileSystem& file_system, CacheView* cache_view, const SessionOptions& options)
      : fs(file_system),
        view(cache_view),
        kernel_caches(cache_view != nullptr && options.kernel_caches),
        kernel(options.kernel_features),
        limits(options.limits),
        nodes(file_system.root(), file_system.capabilities().stable_identity, node_limits(options),
              std::random_device{}()),
        notifier(nodes, kernel,
                 {.queue_max = options.notifications_max, .waiting = options.executor_waiting}),
        places(0),
        executor({.working = options.executor_threads, .waiting = options.executor_waiting}) {
    if (options.locks == LockPlace::source && fs.locks() != nullptr) {
      locks.emplace(MountLocks::Parts{.source = *fs.locks(),
                                      .view = kernel_caches ? view : nullptr,
                                      .notifier = notifier,
                                      .executor = executor,
                                      .limits = limits});
    }
  }

  FileSystem& fs;
  CacheView* const view;     ///< null: nothing can be answered at once
  const bool kernel_caches;  ///< whether the kernel may keep anything; only with a view
  KernelRoom kernel;
  const TimeLimits limits;  ///< of whole requests
  /// Whether a write past the kernel's pages (FOPEN_DIRECT_IO) drops those that it makes void. Set by INIT.
  bool direct_writes_drop_pages = false;
  NodeTable nodes;
  std::atomic<size_t> forgotten{0};  ///< files, since their memory last went back to the system
  OpenFiles files;
  OpenDirectories directories;
  Notifier notifier;
  InterruptWatcher interrupts;
  WriteCounts writes;
  std::optional<MountLocks> locks;   ///< none: the kernel keeps them
  std::counting_semaphore<> places;  ///< free ones; there are none before readers are there
  Executor executor;                 ///< the last member: its tasks use all the others
};

/// Counts a write as under way, as long as it lives.
class UnderWay {
 public:
  explicit UnderWay(WriteCounts& counts) : counts_(&counts) { ++counts.begun; }
  UnderWay(UnderWay&& other) noexcept : counts_(std::exchange(other.counts_, nullptr)) {}
  UnderWay& operator=(UnderWay&&) = delete;
  ~UnderWay() {
    if (counts_ != nullptr) ++counts_->ended;
  }

 private:
  WriteCounts* counts_;
};

inline MountState& mount_of(fuse_req_t req) { return *static_cast<MountState*>(fuse_req_userdata(req)); }

/// Whether a request must end within its class's limit, whatever it is made of, or only each of its parts:
/// a large listing, or all that is to reach a disk, takes as long as it takes.
enum class Span : bool { limited, open_ended };

/// When a request that begins now must have ended.
inline RequestDeadline::Time deadline_of(const TimeLimits& limits, OperationClass operation_class) {
  const std::chrono::nanoseconds all[] = {limits.metadata, limits.read, limits.write, limits.name_change};
  static_assert(std::size(all) == kOperationClassCount);
  const std::chrono::nanoseconds limit = all[static_cast<size_t>(operation_class)];
  return limit.count() == 0 ? RequestDeadline::Time::max() : std::chrono::steady_clock::now() + limit;
}

/// What becomes of a request whose asker is killed before it is worked on.
enum class WhenKilled : bool { dropped, runs_too };

/// Runs a task that may wait for the source: at once, or on the executor.
template <typename Task>
void run(MountState& mount, OperationClass operation_class, Task task,
         Executor::Subject about = Executor::kNoSubject) {
  if (!mount.places.try_acquire()) return mount.executor.submit(operation_class, std::move(task), about);
  {
    Task own(std::move(task));
    own();
  }  // what it held may have taken long to let go of
  mount.places.release();
}

/// Has a request worked on, which is about the node with that number. `work(Request&)` answers it; if who
/// asked was killed before, it does not run, unless it `runs_too`.
template <typename Work>
void submit(fuse_req_t req, fuse_ino_t about, OperationClass operation_class, Work work,
            Span span = Span::limited, WhenKilled when_killed = WhenKilled::dropped) {
  MountState& mount = mount_of(req);
  const auto deadline =
      span == Span::limited ? deadline_of(mount.limits, operation_class) : RequestDeadline::Time::max();
  auto task = [request = Request::make(req, mount.interrupts), deadline, when_killed,
               work = std::move(work)]() mutable {
    const RequestDeadline limited(deadline);
    if (when_killed == WhenKilled::runs_too || !request->answered()) work(*request);
  };
  run(mount, operation_class, std::move(task), about);
}

/// The handlers, one function for each file of them.
void add_namespace_operations(fuse_lowlevel_ops& operations);
void add_attribute_operations(fuse_lowlevel_ops& operations);
void add_data_operations(fuse_lowlevel_ops& operations);
void add_open_operations(fuse_lowlevel_ops& operations);
void add_directory_operations(fuse_lowlevel_ops& operations, bool with_attributes);
void add_xattr_operations(fuse_lowlevel_ops& operations);
void add_lock_operations(fuse_lowlevel_ops& operations);

}  // namespace cachefs::mount
