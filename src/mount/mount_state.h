// What the handlers of one mount share.
#pragma once

#include <fuse_lowlevel.h>

#include <atomic>
#include <memory>
#include <utility>

#include "base/executor.h"
#include "cachefs/cache_fs.h"
#include "cachefs/file_system.h"
#include "mount/handles.h"
#include "mount/kernel_room.h"
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

struct MountState {
  MountState(FileSystem& file_system, CacheView* cache_view, const SessionOptions& options)
      : fs(file_system),
        view(cache_view),
        kernel_caches(cache_view != nullptr && options.kernel_caches),
        kernel(options.kernel_features),
        nodes(file_system.root()),
        notifier(nodes, options.notifications_max),
        executor(options.executor_threads) {}

  FileSystem& fs;
  CacheView* const view;     ///< null: nothing can be answered at once
  const bool kernel_caches;  ///< whether the kernel may keep anything; only with a view
  KernelRoom kernel;
  /// Whether a write past the kernel's pages (FOPEN_DIRECT_IO) drops those that it makes void. Set by INIT.
  bool direct_writes_drop_pages = false;
  NodeTable nodes;
  OpenFiles files;
  OpenDirectories directories;
  Notifier notifier;
  InterruptWatcher interrupts;
  WriteCounts writes;
  Executor executor;  ///< the last member: its tasks use all the others
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

/// Hands a request to the executor. `work(Request&)` runs there and answers; not at all if who asked was
/// killed before.
template <typename Work>
void submit(fuse_req_t req, OperationClass operation_class, Work work) {
  MountState& mount = mount_of(req);
  auto task = [request = Request::make(req, mount.interrupts), work = std::move(work)]() mutable {
    if (!request->answered()) work(*request);
  };
  mount.executor.submit(operation_class, std::move(task));
}

/// The handlers, one function for each file of them.
void add_namespace_operations(fuse_lowlevel_ops& operations);
void add_attribute_operations(fuse_lowlevel_ops& operations);
void add_data_operations(fuse_lowlevel_ops& operations);
void add_open_operations(fuse_lowlevel_ops& operations);
void add_directory_operations(fuse_lowlevel_ops& operations, bool with_attributes);
void add_xattr_operations(fuse_lowlevel_ops& operations);

}  // namespace cachefs::mount
