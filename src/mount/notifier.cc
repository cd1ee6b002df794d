#include "mount/notifier.h"

#include <unistd.h>

#include <cstring>

#include "cachefs/error.h"

namespace cachefs::mount {
namespace {

/// In place of an offset.
constexpr off_t kNoPages = -1;

/// The message that ends the validity of all names (protocol 7.44), which libfuse 3.14 does not know: a bare
/// header. An older kernel refuses it; names are then kept until their time is over.
void forget_all_names(int device) {
  constexpr int32_t kIncreaseEpoch = 8;
  struct {
    uint32_t length = sizeof(uint32_t) + sizeof(int32_t) + sizeof(uint64_t);
    int32_t code = kIncreaseEpoch;
    uint64_t unique = 0;  // none: nobody asked
  } message;
  const ssize_t written = write(device, &message, message.length);
  if (written < 0) return;
}

}  // namespace

void Notifier::start(fuse_session* session) {
  session_ = session;
  {
    MutexLock lock(mutex_);
    running_ = true;
  }
  thread_ = std::thread([this] { work(); });
}

void Notifier::stop() {
  Queue dropped;
  {
    MutexLock lock(mutex_);
    running_ = false;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  {
    MutexLock lock(mutex_);
    dropped = std::exchange(queue_, {});
  }
  for (const Range& range : dropped.ranges) range.then();
}

void Notifier::forget(const MountNode& node) {
  MountNodeRef last;  // dropped after the lock
  MutexLock lock(mutex_);
  const auto entry = queue_.nodes.find(&node);
  if (entry == queue_.nodes.end()) return;
  last = std::move(entry->second.node);
  queue_.nodes.erase(entry);
  --queue_.size;
}

void Notifier::void_attributes(const MountNode& node) const {
  if (session_ == nullptr) return;  // nothing is kept
  fuse_lowlevel_notify_inval_inode(session_, NodeTable::number_of(node), kNoPages, 0);
}

bool Notifier::has_told_all() {
  MutexLock lock(mutex_);
  return !telling_ && queue_.empty();
}

void Notifier::add_node(const NodeRef& node, Change change) {
  MountNodeRef known = nodes_.find(*node);
  if (!known) return;
  {
    MutexLock lock(mutex_);
    if (!running_ || full()) return;
    const auto [entry, added] = queue_.nodes.try_emplace(known.get(), NodeChange{known, change});
    if (added) ++queue_.size;
    if (change == Change::data) entry->second.change = Change::data;
  }
  changed_.notify_one();
}

void Notifier::on_name_changed(const NodeRef& directory, std::string_view name) {
  MountNodeRef known = nodes_.find(*directory);
  if (!known) return;
  {
    MutexLock lock(mutex_);
    if (!running_ || full()) return;
    NameChanges& changes = queue_.names.try_emplace(known.get(), NameChanges{known, {}}).first->second;
    if (changes.names.emplace(name).second) ++queue_.size;
  }
  changed_.notify_one();
}

void Notifier::on_everything_changed() {
  {
    MutexLock lock(mutex_);
    if (!running_) return;
    queue_.everything = true;
  }
  changed_.notify_one();
}

void Notifier::drop_pages(const MountNodeRef& node, uint64_t offset, uint64_t length,
                          std::function<void()> then) {
  {
    MutexLock lock(mutex_);
    if (running_) {
      queue_.ranges.push_back({node, offset, length, std::move(then)});
      changed_.notify_one();
      return;
    }
  }
  then();
}

bool Notifier::full() {
  if (queue_.size >= queue_max_) queue_.everything = true;
  return queue_.everything;
}

Notifier::Queue Notifier::take_some() {
  if (queue_.everything) return std::exchange(queue_, {});
  Queue some;
  some.ranges.swap(queue_.ranges);
  if (!queue_.names.empty()) {
    some.names.insert(queue_.names.extract(queue_.names.begin()));
    queue_.size -= some.names.begin()->second.names.size();
  }
  if (!queue_.nodes.empty()) {
    some.nodes.insert(queue_.nodes.extract(queue_.nodes.begin()));
    --queue_.size;
  }
  return some;
}

void Notifier::work() {
  mutex_.lock();
  while (running_) {
    if (queue_.empty()) {
      changed_.wait(mutex_);
      continue;
    }
    Queue queue = take_some();
    telling_ = true;
    mutex_.unlock();
    drop(queue.ranges);  // first: somebody waits for it
    tell(queue);
    queue = {};
    mutex_.lock();
    telling_ = false;
  }
  mutex_.unlock();
}

void Notifier::tell(const Queue& queue) const {
  if (queue.everything) return tell_everything();
  // What the kernel answers is of no use: it has forgotten the file (ENOENT), or the mount is gone.
  for (const auto& [directory, changes] : queue.names) {
    for (const std::string& name : changes.names) {
      fuse_lowlevel_notify_inval_entry(session_, NodeTable::number_of(*directory), name.data(), name.size());
    }
  }
  for (const auto& [node, change] : queue.nodes) {
    const off_t offset = change.change == Change::data ? 0 : kNoPages;
    fuse_lowlevel_notify_inval_inode(session_, NodeTable::number_of(*node), offset, 0);
  }
}

void Notifier::drop(const std::vector<Range>& ranges) const {
  for (const Range& range : ranges) {
    fuse_lowlevel_notify_inval_inode(session_, NodeTable::number_of(*range.node),
                                     static_cast<off_t>(range.offset), static_cast<off_t>(range.length));
    range.then();
  }
}

void Notifier::tell_everything() const {
  forget_all_names(fuse_session_fd(session_));
  for (const MountNodeRef& node : nodes_.all()) {
    fuse_lowlevel_notify_inval_inode(session_, NodeTable::number_of(*node), 0, 0);
  }
}

}  // namespace cachefs::mount
