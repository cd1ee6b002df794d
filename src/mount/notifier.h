// Tells the kernel what of that which it keeps is no longer true.
#pragma once

#include <fuse_lowlevel.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "base/mutex.h"
#include "cachefs/cache_fs.h"
#include "mount/kernel_room.h"
#include "mount/node_table.h"

namespace cachefs::mount {

struct NotifierLimits {
  /// How many changes may wait; beyond that "everything may have changed" stands for all of them.
  size_t queue_max = 65'536;
  /// Files for which the kernel may keep a thread waiting: a request uses the page or the directory that is
  /// to be dropped, and the source does not answer it. What is to be told of others goes on.
  uint32_t waiting = 512;
};

/// Collects changes and hands them to the kernel from threads of its own, without any lock held: the kernel
/// makes such a thread wait while a page or a directory is in use by a request. Equal changes count once; of
/// one file, one thread tells at a time. No caller ever waits. Thread-safe.
class Notifier final : public CacheListener {
 public:
  Notifier(NodeTable& nodes, const KernelRoom& kernel, const NotifierLimits& limits)
      : nodes_(nodes), kernel_(kernel), limits_(limits) {}
  ~Notifier() override { stop(); }

  void start(fuse_session* session);
  /// Drops what is queued, but for what is to be called: the kernel keeps nothing any more.
  void stop() EXCLUDES(mutex_);

  /// Nothing needs to be told of the file's data: the kernel drops it itself.
  void forget(const MountNode& node) EXCLUDES(mutex_);
  /// At once, from any thread: the kernel waits for nobody to forget attributes alone.
  void void_attributes(const MountNode& node) const;

  /// Has the kernel forget files that nobody seems to use, since it knows more than it should.
  void make_room() EXCLUDES(mutex_);

  void on_data_changed(const NodeRef& node) override { add_change(node, Change::data); }
  void on_attributes_changed(const NodeRef& node) override { add_change(node, Change::attributes); }
  void on_name_changed(const NodeRef& directory, std::string_view name) override;
  void on_everything_changed() override;

  /// Has the kernel drop its pages of `length` bytes at `offset` (0: all from there on), of which it writes
  /// back those that are dirty, then calls `then`, which must not wait:
  /// from a thread of the notifier, from stop(), or at once where nobody is told anything.
  void drop_pages(const MountNodeRef& node, uint64_t offset, uint64_t length, std::function<void()> then)
      EXCLUDES(mutex_);

 private:
  enum class Change : uint8_t { none, attributes, data };  ///< each includes those before it

  struct Range {
    uint64_t offset;
    uint64_t length;
    std::function<void()> then;
  };
  /// What there is to tell of a file or directory.
  struct News {
    Change change = Change::none;
    std::unordered_set<std::string> names{};  ///< in the directory
    std::vector<Range> ranges{};              ///< as many as there are requests under way

    [[nodiscard]] bool empty() const { return size() == 0 && ranges.empty(); }
    [[nodiscard]] size_t size() const { return names.size() + (change == Change::none ? 0 : 1); }
  };
  enum class Kind : uint8_t { none, change, range };  ///< the last is more urgent
  struct Entry {
    MountNodeRef node;
    News news{};
    Kind task = Kind::none;  ///< somebody tells of it, or is about to, since there is one of these
    bool is_told = false;    ///< by one at this moment
  };
  /// All nodes, of which several threads take one after the other.
  struct Sweep;

  struct Task {
    OperationClass urgency;
    Executor::Task run;
  };

  /// Adds to what is to be told of a node with `add(News&)`. False if nobody tells anything.
  template <typename Add>
  bool add(const MountNodeRef& node, Kind kind, Add add) EXCLUDES(mutex_);
  void add_change(const NodeRef& node, Change change) EXCLUDES(mutex_);
  void want_sweep() REQUIRES(mutex_);
  void dispatch() EXCLUDES(mutex_);
  void submit(OperationClass urgency, Executor::Task run) REQUIRES(mutex_);
  void tell_of(const MountNode& node) EXCLUDES(mutex_);
  void tell(const MountNode& node, const News& news) const;
  void sweep() EXCLUDES(mutex_);
  void take_part(Sweep& sweep) EXCLUDES(mutex_);
  void forget_some() EXCLUDES(mutex_);
  void ask_to_forget(const std::vector<UnusedNode>& unused) const;
  [[nodiscard]] bool is_running() EXCLUDES(mutex_);

  NodeTable& nodes_;
  const KernelRoom& kernel_;
  const NotifierLimits limits_;
  fuse_session* session_ = nullptr;
  Mutex mutex_;
  std::unordered_map<const MountNode*, Entry> entries_ GUARDED_BY(mutex_);
  size_t size_ GUARDED_BY(mutex_) = 0;         ///< of all news, without ranges
  std::deque<Task> tasks_ GUARDED_BY(mutex_);  ///< that no thread has yet
  ConditionVariable wanted_;
  bool sweep_wanted_ GUARDED_BY(mutex_) = false;
  bool makes_room_ GUARDED_BY(mutex_) = false;  ///< there is a task for it
  bool running_ GUARDED_BY(mutex_) = false;
  std::thread dispatcher_;
};

}  // namespace cachefs::mount
