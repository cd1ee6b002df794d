#include "mount/notifier.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "cachefs/error.h"

namespace cachefs::mount {
namespace {

/// In place of an offset.
constexpr off_t kNoPages = -1;
/// Threads that go through all nodes: as many as there are may wait for the kernel before it stops.
constexpr uint32_t kSweepers = 16;

/// How many files the kernel is asked to forget at once.
constexpr size_t kForgottenAtOnce = 512;

/// The message that asks the kernel to forget what nobody uses of some files (protocol 7.45), which libfuse
/// 3.14 does not know.
void prune(int device, const std::vector<UnusedNode>& unused) {
  constexpr int32_t kPrune = 9;
  struct Header {
    uint32_t length;
    int32_t code = kPrune;
    uint64_t unique = 0;  // none: nobody asked
    uint32_t count;
    uint32_t padding = 0;
    uint64_t spare = 0;
  };
  std::vector<uint64_t> numbers;
  numbers.reserve(unused.size());
  for (const UnusedNode& node : unused) numbers.push_back(node.number);
  Header header{.length = static_cast<uint32_t>(sizeof(Header) + numbers.size() * sizeof(uint64_t)),
                .count = static_cast<uint32_t>(numbers.size())};
  const std::array<iovec, 2> message{
      iovec{.iov_base = &header, .iov_len = sizeof header},
      iovec{.iov_base = numbers.data(), .iov_len = numbers.size() * sizeof(uint64_t)}};
  const ssize_t written = writev(device, message.data(), static_cast<int>(message.size()));
  if (written < 0) return;  // the mount is gone
}

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

struct Notifier::Sweep {
  explicit Sweep(std::vector<uint64_t> all) : numbers(std::move(all)) {}
  const std::vector<uint64_t> numbers;
  std::atomic<size_t> next{0};
};

void Notifier::start(fuse_session* session) {
  session_ = session;
  {
    MutexLock lock(mutex_);
    running_ = true;
  }
  dispatcher_ = std::thread([this] { dispatch(); });
}

void Notifier::stop() {
  std::unordered_map<const MountNode*, Entry> dropped;
  {
    MutexLock lock(mutex_);
    running_ = false;
  }
  wanted_.notify_all();
  if (dispatcher_.joinable()) dispatcher_.join();
  {
    MutexLock lock(mutex_);
    dropped.swap(entries_);
    tasks_.clear();
    size_ = 0;
    sweep_wanted_ = false;
    makes_room_ = false;
  }
  for (const auto& [node, entry] : dropped) {
    for (const Range& range : entry.news.ranges) range.then();
  }
}

/// Who waits for the kernel for long leaves his place to another. All threads are made here, since who has
/// something to tell may be a thread without the device (see Session).
void Notifier::dispatch() {
  Executor executor({.working = kOperationClassCount, .waiting = limits_.waiting});
  mutex_.lock();
  while (running_) {
    if (tasks_.empty()) {
      wanted_.wait(mutex_);
      continue;
    }
    Task task = std::move(tasks_.front());
    tasks_.pop_front();
    mutex_.unlock();
    executor.submit(task.urgency, std::move(task.run));
    mutex_.lock();
  }
  mutex_.unlock();
}

void Notifier::submit(OperationClass urgency, Executor::Task run) {
  tasks_.push_back({urgency, std::move(run)});
  wanted_.notify_one();
}

void Notifier::forget(const MountNode& node) {
  MutexLock lock(mutex_);
  const auto entry = entries_.find(&node);
  if (entry == entries_.end() || entry->second.news.change == Change::none) return;
  entry->second.news.change = Change::none;
  --size_;
}

void Notifier::void_attributes(const MountNode& node) const {
  if (session_ == nullptr) return;  // nothing is kept
  fuse_lowlevel_notify_inval_inode(session_, NodeTable::number_of(node), kNoPages, 0);
}

template <typename Add>
bool Notifier::add(const MountNodeRef& node, Kind kind, Add add) {
  MutexLock lock(mutex_);
  if (!running_) return false;
  if (kind == Kind::change && sweep_wanted_) return true;  // it is told with all the rest
  if (kind == Kind::change && size_ >= limits_.queue_max) {
    want_sweep();
    return true;
  }
  Entry& entry = entries_.try_emplace(node.get(), Entry{.node = node}).first->second;
  size_ -= entry.news.size();
  add(entry.news);
  size_ += entry.news.size();
  if (entry.task >= kind) return true;
  entry.task = kind;
  // Somebody waits for a range: it does not queue behind changes, not even behind this file's own.
  submit(kind == Kind::range ? OperationClass::write : OperationClass::metadata,
         [this, node] { tell_of(*node); });
  return true;
}

void Notifier::add_change(const NodeRef& node, Change change) {
  const MountNodeRef known = nodes_.find(*node);
  if (!known) return;
  add(known, Kind::change, [change](News& news) { news.change = std::max(news.change, change); });
}

void Notifier::on_name_changed(const NodeRef& directory, std::string_view name) {
  const MountNodeRef known = nodes_.find(*directory);
  if (!known) return;
  add(known, Kind::change, [name](News& news) { news.names.emplace(name); });
}

void Notifier::drop_pages(const MountNodeRef& node, uint64_t offset, uint64_t length,
                          std::function<void()> then) {
  const auto add_range = [&](News& news) { news.ranges.push_back({offset, length, std::move(then)}); };
  if (!add(node, Kind::range, add_range)) then();
}

void Notifier::make_room() {
  MutexLock lock(mutex_);
  if (!running_ || std::exchange(makes_room_, true)) return;
  submit(OperationClass::metadata, [this] { forget_some(); });
}

/// Then lets others go before it continues.
void Notifier::forget_some() {
  if (const std::vector<UnusedNode> unused = nodes_.take_unused(kForgottenAtOnce); !unused.empty())
    ask_to_forget(unused);
  MutexLock lock(mutex_);
  makes_room_ = running_ && nodes_.is_crowded();
  if (makes_room_) submit(OperationClass::metadata, [this] { forget_some(); });
}

/// An older kernel can only be told that a name is no longer true. Of a directory that would be seen: whoever
/// works in it could no longer tell its path.
void Notifier::ask_to_forget(const std::vector<UnusedNode>& unused) const {
  if (kernel_.has(KernelFeature::prune)) return prune(fuse_session_fd(session_), unused);
  for (const UnusedNode& node : unused) {
    if (node.kind == FileKind::directory || node.directory == 0) continue;
    fuse_lowlevel_notify_inval_entry(session_, node.directory, node.name.data(), node.name.size());
  }
}

void Notifier::on_everything_changed() {
  MutexLock lock(mutex_);
  if (running_ && !sweep_wanted_) want_sweep();
}

/// It tells all changes that are queued.
void Notifier::want_sweep() {
  sweep_wanted_ = true;
  size_ = 0;
  for (auto& [node, entry] : entries_) entry.news = {.ranges = std::move(entry.news.ranges)};
  submit(OperationClass::metadata, [this] { sweep(); });
}

/// A task of the node's entry, which stays until nothing is left to tell. Another one does nothing meanwhile.
void Notifier::tell_of(const MountNode& node) {
  while (true) {
    News news;
    MountNodeRef last;  // dropped after the lock
    {
      MutexLock lock(mutex_);
      const auto entry = entries_.find(&node);
      if (!running_ || entry == entries_.end()) return;  // stop() takes care of the rest, or nothing is left
      if (entry->second.is_told) return;
      if (entry->second.news.empty()) {
        last = std::move(entry->second.node);
        entries_.erase(entry);
        return;
      }
      news = std::exchange(entry->second.news, {});
      size_ -= news.size();
      entry->second.is_told = true;
    }
    tell(node, news);
    MutexLock lock(mutex_);
    if (const auto entry = entries_.find(&node); entry != entries_.end()) entry->second.is_told = false;
  }
}

/// What the kernel answers is of no use: it has forgotten the file (ENOENT), or the mount is gone.
void Notifier::tell(const MountNode& node, const News& news) const {
  const uint64_t number = NodeTable::number_of(node);
  for (const Range& range : news.ranges) {
    fuse_lowlevel_notify_inval_inode(session_, number, static_cast<off_t>(range.offset),
                                     static_cast<off_t>(range.length));
    range.then();
  }
  for (const std::string& name : news.names)
    fuse_lowlevel_notify_inval_entry(session_, number, name.data(), name.size());
  if (news.change == Change::none) return;
  fuse_lowlevel_notify_inval_inode(session_, number, news.change == Change::data ? 0 : kNoPages, 0);
}

void Notifier::sweep() {
  {
    MutexLock lock(mutex_);
    sweep_wanted_ = false;  // what changes from now on is told by itself
  }
  forget_all_names(fuse_session_fd(session_));
  const auto all = std::make_shared<Sweep>(nodes_.numbers());
  MutexLock lock(mutex_);
  for (uint32_t i = 0; i < kSweepers; ++i) submit(OperationClass::metadata, [this, all] { take_part(*all); });
}

void Notifier::take_part(Sweep& sweep) {
  for (size_t i = sweep.next++; i < sweep.numbers.size() && is_running(); i = sweep.next++)
    fuse_lowlevel_notify_inval_inode(session_, sweep.numbers[i], 0, 0);
}

bool Notifier::is_running() {
  MutexLock lock(mutex_);
  return running_;
}

}  // namespace cachefs::mount
