// Tells the kernel what of that which it keeps is no longer true.
#pragma once

#include <fuse_lowlevel.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "cachefs/cache_fs.h"
#include "mount/node_table.h"

namespace cachefs::mount {

/// Collects changes and hands them to the kernel from a thread of its own, without any lock held: the kernel
/// makes that thread wait while a page or a directory is in use by a request. Equal changes count once. The
/// queue is bounded: when it is full, "everything may have changed" stands for all that it held. No caller
/// ever waits. Thread-safe.
class Notifier final : public CacheListener {
 public:
  Notifier(const NodeTable& nodes, size_t queue_max) : nodes_(nodes), queue_max_(queue_max) {}
  ~Notifier() override { stop(); }

  void start(fuse_session* session);
  /// Drops what is queued, but for what is to be called: the kernel keeps nothing any more.
  void stop() EXCLUDES(mutex_);

  /// Nothing is queued, and the kernel has ended what it was told.
  [[nodiscard]] bool has_told_all() EXCLUDES(mutex_);

  /// Nothing needs to be told of the file's data: the kernel drops it itself.
  void forget(const MountNode& node) EXCLUDES(mutex_);
  /// At once, from any thread: the kernel waits for nobody to forget attributes alone.
  void void_attributes(const MountNode& node) const;

  void on_data_changed(const NodeRef& node) override { add_node(node, Change::data); }
  void on_attributes_changed(const NodeRef& node) override { add_node(node, Change::attributes); }
  void on_name_changed(const NodeRef& directory, std::string_view name) override;
  void on_everything_changed() override;

  /// Has the kernel drop its pages of `length` bytes at `offset`, then calls `then`, which must not wait:
  /// from the notifier's thread, from stop(), or at once where nobody is told anything.
  void drop_pages(const MountNodeRef& node, uint64_t offset, uint64_t length, std::function<void()> then)
      EXCLUDES(mutex_);

 private:
  enum class Change : uint8_t { attributes, data };  ///< data includes attributes

  struct NodeChange {
    MountNodeRef node;
    Change change;
  };
  struct NameChanges {
    MountNodeRef directory;
    std::unordered_set<std::string> names;
  };
  struct Range {
    MountNodeRef node;
    uint64_t offset;
    uint64_t length;
    std::function<void()> then;
  };
  struct Queue {
    std::unordered_map<const MountNode*, NodeChange> nodes;
    std::unordered_map<const MountNode*, NameChanges> names;
    std::vector<Range> ranges;  ///< as many as there are requests under way
    size_t size = 0;            ///< of nodes and names
    bool everything = false;

    [[nodiscard]] bool empty() const { return size == 0 && ranges.empty() && !everything; }
  };

  void add_node(const NodeRef& node, Change change) EXCLUDES(mutex_);
  bool full() REQUIRES(mutex_);
  /// Takes a part of the queue out: all of it if everything changed, else one directory's names and one node,
  /// so that the rest can still be forgotten.
  Queue take_some() REQUIRES(mutex_);
  void work() EXCLUDES(mutex_);
  void tell(const Queue& queue) const;
  void tell_everything() const;
  void drop(const std::vector<Range>& ranges) const;

  const NodeTable& nodes_;
  const size_t queue_max_;
  fuse_session* session_ = nullptr;
  Mutex mutex_;
  ConditionVariable changed_;
  Queue queue_ GUARDED_BY(mutex_);
  bool running_ GUARDED_BY(mutex_) = false;
  bool telling_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace cachefs::mount
