#include "mount/node_table.h"

#include <fuse_lowlevel.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/hash.h"

namespace cachefs::mount {
namespace {

uint64_t hash_of_pointer(const void* pointer) { return mix64(reinterpret_cast<uintptr_t>(pointer)); }

uint64_t hash_of_place(const MountNode& directory, std::string_view name) {
  return combine_hashes(hash_of_pointer(&directory), hash_bytes(name));
}

uint64_t hash_of_identity(const FileIdentity& identity) {
  return combine_hashes(combine_hashes(identity.inode, identity.generation), identity.device);
}

std::unique_ptr<char[]> packed(std::string_view name) {
  auto copy = std::make_unique_for_overwrite<char[]>(name.size() + 1);
  std::memcpy(copy.get(), name.data(), name.size());
  copy[name.size()] = '\0';
  return copy;
}

}  // namespace

uint64_t ByNumber::hash(const MountNode& node) { return hash_of_pointer(&node); }
uint64_t ByPlace::hash(const MountNode& node) { return hash_of_place(*node.directory_, node.name_.get()); }
uint64_t ByNode::hash(const MountNode& node) { return hash_of_pointer(node.node_.get()); }
uint64_t ByFormerNode::hash(const MountNode& node) { return hash_of_pointer(node.former_); }
uint64_t ByIdentity::hash(const MountNode& node) { return hash_of_identity(node.identity); }

NodeTable::Leftovers::~Leftovers() {
  for (MountNode* directory : directories) MountNode::release_child_of(directory);
}

NodeTable::NodeTable(NodeRef root, bool by_identity, const NodeLimits& limits, uint32_t first_generation)
    : by_identity_(by_identity),
      limits_{.known = limits.known,
              .awake = std::min(limits.awake, limits.known / 2),
              .forgotten = by_identity ? limits.forgotten : 0},
      first_generation_(first_generation),
      root_(new MountNode(std::move(root), FUSE_ROOT_ID, {}, FileKind::directory)) {}

MountNodeRef NodeTable::at(uint64_t number) const {
  if (number == FUSE_ROOT_ID) return root_;
  auto* node = reinterpret_cast<MountNode*>(static_cast<uintptr_t>(number));
  const uint64_t before = node->counts_.fetch_add(MountNode::kReference, std::memory_order_acq_rel);
  if ((before & MountNode::kFallingAsleep) != 0) MutexLock asleep(mutex_);
  if (!node->used_.load(std::memory_order_relaxed)) node->used_.store(true, std::memory_order_relaxed);
  return MountNodeRef(node);
}

MountNodeRef NodeTable::find_number(uint64_t number) {
  if (number == FUSE_ROOT_ID) return root_;
  const auto* const address = reinterpret_cast<const MountNode*>(static_cast<uintptr_t>(number));
  MutexLock lock(mutex_);
  MountNode* const found =
      numbers_.find(hash_of_pointer(address), [&](const MountNode& known) { return &known == address; });
  if (found != nullptr) found->retain();
  return MountNodeRef(found);
}

uint64_t NodeTable::number_of(const MountNode& node) {
  if (node.fallback_inode == FUSE_ROOT_ID) return FUSE_ROOT_ID;
  return reinterpret_cast<uintptr_t>(&node);
}

uint32_t NodeTable::generation_of(const MountNode& node) const {
  if (node.fallback_inode == FUSE_ROOT_ID) return 0;  // as the kernel has it before it asks anything
  return first_generation_ + static_cast<uint32_t>(node.fallback_inode);
}

MountNodeRef NodeTable::enter(MountNode& directory, std::string_view name, const Entry& entry) {
  if (entry.node == root_->node()) return root_;
  Leftovers left;
  MutexLock lock(mutex_);
  MountNode* node = awake_by_node_.find(hash_of_pointer(entry.node.get()),
                                        [&](const MountNode& known) { return known.node_ == entry.node; });
  if (node == nullptr) {
    node = find_sleeping(directory, name, entry);
    if (node != nullptr) wake(*node, entry.node);
  }
  if (node == nullptr) node = &add(entry);
  know(*node);
  node->retain();
  set_place(*node, directory, name, left);
  put_some_to_sleep(left);
  return MountNodeRef(node);
}

bool NodeTable::enter_again(MountNode& node) {
  if (&node == root_.get()) return true;
  MutexLock lock(mutex_);
  if (!contains(node)) return false;
  know(node);
  return true;
}

bool NodeTable::contains(const MountNode& node) {
  const auto is_it = [&](const MountNode& known) { return &known == &node; };
  return numbers_.find(ByNumber::hash(node), is_it) != nullptr;
}

NodeOrder& NodeTable::order_of(const MountNode& node) {
  if (node.is_awake()) return awake_;
  return node.lookups_ > 0 ? sleeping_ : forgotten_;
}

/// The kernel is told of the node, which is awake.
void NodeTable::know(MountNode& node) {
  if (node.lookups_++ > 0) return;
  size_.fetch_add(1, std::memory_order_relaxed);
  ++made_since_round_;
  begin_round_if_crowded();
}

/// Its order is up to the caller.
void NodeTable::unknow(MountNode& node) {
  if (std::exchange(node.lookups_, 0) > 0) size_.fetch_sub(1, std::memory_order_relaxed);
}

MountNode* NodeTable::find_sleeping(const MountNode& directory, std::string_view name, const Entry& entry) {
  if (!by_identity_) {
    MountNode* const node = at_place(directory, name);
    return node != nullptr && !node->is_awake() && node->kind == entry.attributes.kind ? node : nullptr;
  }
  return sleeping_by_identity_.find(hash_of_identity(entry.attributes.identity), [&](const MountNode& known) {
    return known.identity == entry.attributes.identity && known.kind == entry.attributes.kind;
  });
}

MountNode* NodeTable::at_place(const MountNode& directory, std::string_view name) {
  return places_.find(hash_of_place(directory, name), [&](const MountNode& node) {
    return node.directory_ == &directory && node.name_.get() == name;
  });
}

MountNode& NodeTable::add(const Entry& entry) {
  auto* node =
      new MountNode(entry.node, next_fallback_inode_++, entry.attributes.identity, entry.attributes.kind);
  numbers_.insert(*node);
  add_awake(*node);
  return *node;
}

void NodeTable::add_awake(MountNode& node) {
  awake_by_node_.insert(node);
  awake_.add_newest(node);
}

void NodeTable::wake(MountNode& node, const NodeRef& with) {
  order_of(node).remove(node);
  sleeping_by_node_.erase(node);
  if (by_identity_) sleeping_by_identity_.erase(node);
  node.node_ = with;
  node.awake_.store(true, std::memory_order_release);
  add_awake(node);
}

/// Unless somebody uses it.
void NodeTable::put_to_sleep(MountNode& node, Leftovers& left) {
  uint64_t counts = node.counts_.load(std::memory_order_relaxed);
  if ((counts & MountNode::kReferences) != MountNode::kReference) return;
  if (!node.counts_.compare_exchange_strong(counts, counts | MountNode::kFallingAsleep,
                                            std::memory_order_acq_rel)) {
    return;
  }
  awake_.remove(node);
  awake_by_node_.erase(node);
  node.awake_.store(false, std::memory_order_release);
  node.former_ = node.node_.get();
  left.nodes.push_back(std::move(node.node_));
  order_of(node).add_newest(node);
  sleeping_by_node_.insert(node);
  if (by_identity_) sleeping_by_identity_.insert(node);
  node.counts_.fetch_and(~MountNode::kFallingAsleep, std::memory_order_acq_rel);
}

/// A few at a time, since it is done by whoever enters one.
void NodeTable::put_some_to_sleep(Leftovers& left) {
  constexpr int kLookedAtMax = 4;
  for (int i = 0; i < kLookedAtMax && awake_.size() > limits_.awake; ++i) {
    MountNode& oldest = *awake_.oldest();
    awake_.make_newest(oldest);
    if (oldest.used_.exchange(false, std::memory_order_relaxed) || oldest.directory_ == nullptr) continue;
    put_to_sleep(oldest, left);
  }
  drop_oldest(left);
}

void NodeTable::set_place(MountNode& node, MountNode& directory, std::string_view name, Leftovers& left) {
  MountNode* const before = at_place(directory, name);
  if (before == &node) return;
  if (before != nullptr) lose_place(*before, left);
  if (&node == &directory) return;
  take_place(node, left);
  if (node.kind == FileKind::directory) cut_above(node, directory, left);
  directory.counts_.fetch_add(MountNode::kChild, std::memory_order_relaxed);
  node.directory_ = &directory;
  node.name_ = packed(name);
  places_.insert(node);
}

void NodeTable::take_place(MountNode& node, Leftovers& left) {
  if (node.directory_ == nullptr) return;
  places_.erase(node);
  left.directories.push_back(std::exchange(node.directory_, nullptr));
  node.name_.reset();
}

/// Nothing is known to lead to the node any more.
void NodeTable::lose_place(MountNode& node, Leftovers& left) {
  take_place(node, left);
  if (node.lookups_ == 0) take_out(node, left);
}

// Directories that were moved elsewhere may seem to be above each other: what was known of the one seen
// earlier is then no longer true. Keeps N3.
void NodeTable::cut_above(const MountNode& node, MountNode& directory, Leftovers& left) {
  for (MountNode* at = &directory; at->directory_ != nullptr; at = at->directory_) {
    if (at->directory_ == &node) return lose_place(*at, left);
  }
}

void NodeTable::forget(uint64_t number, uint64_t count) {
  if (number == FUSE_ROOT_ID) return;
  auto& node = *reinterpret_cast<MountNode*>(static_cast<uintptr_t>(number));
  Leftovers left;
  MutexLock lock(mutex_);
  CACHEFS_CHECK(node.lookups_ >= count, "N1: the kernel forgets only what it was told");
  if (node.lookups_ > count) {
    node.lookups_ -= count;
    return;
  }
  if (node.directory_ == nullptr || limits_.forgotten == 0) return take_out(node, left);
  if (node.is_awake()) {
    unknow(node);
    put_to_sleep(node, left);
  } else {
    sleeping_.remove(node);
    unknow(node);
    forgotten_.add_newest(node);
  }
  drop_oldest(left);
}

/// Keeps N1.
void NodeTable::drop_oldest(Leftovers& left) {
  constexpr int kDirectoriesMax = 8;
  for (int directories = 0; forgotten_.size() > limits_.forgotten;) {
    MountNode& oldest = *forgotten_.oldest();
    // A directory goes after what is in it, to which it leads: not worth a long search.
    if (oldest.has_children() && directories++ < kDirectoriesMax) {
      forgotten_.make_newest(oldest);
    } else {
      take_out(oldest, left);
    }
  }
}

void NodeTable::take_out(MountNode& node, Leftovers& left) {
  order_of(node).remove(node);
  if (node.is_awake()) {
    awake_by_node_.erase(node);
  } else {
    sleeping_by_node_.erase(node);
    if (by_identity_) sleeping_by_identity_.erase(node);
  }
  numbers_.erase(node);
  take_place(node, left);
  unknow(node);
  left.forgotten.push_back(MountNodeRef(&node));
}

MountNodeRef NodeTable::find(const Node& node) {
  if (&node == root_->node().get()) return root_;
  MutexLock lock(mutex_);
  const uint64_t hash = hash_of_pointer(&node);
  MountNode* found =
      awake_by_node_.find(hash, [&](const MountNode& known) { return known.node_.get() == &node; });
  if (found == nullptr)
    found = sleeping_by_node_.find(
        hash, [&](const MountNode& known) { return known.former_ == &node && known.lookups_ > 0; });
  if (found != nullptr) found->retain();
  return MountNodeRef(found);
}

MountNodeRef NodeTable::find_at(const MountNode& directory, std::string_view name) {
  MutexLock lock(mutex_);
  MountNode* const found = at_place(directory, name);
  if (found != nullptr) found->retain();
  return MountNodeRef(found);
}

std::optional<NodePlace> NodeTable::place_of(const MountNode& node) const {
  MutexLock lock(mutex_);
  if (node.directory_ == nullptr) return std::nullopt;
  node.directory_->retain();
  return NodePlace{.directory = MountNodeRef(node.directory_), .name = node.name_.get()};
}

bool NodeTable::rouse(MountNode& node, const Entry& found) {
  Leftovers left;
  MutexLock lock(mutex_);
  if (node.is_awake()) return true;
  if (found.attributes.kind != node.kind) return false;
  if (by_identity_ && found.attributes.identity != node.identity) return false;
  const bool is_another = awake_by_node_.find(hash_of_pointer(found.node.get()), [&](const MountNode& known) {
    return known.node_ == found.node;
  }) != nullptr;
  if (is_another || found.node == root_->node() || !contains(node)) return false;
  wake(node, found.node);
  put_some_to_sleep(left);
  return true;
}

void NodeTable::name_removed(const MountNode& directory, std::string_view name) {
  Leftovers left;
  MutexLock lock(mutex_);
  if (MountNode* const node = at_place(directory, name)) lose_place(*node, left);
}

void NodeTable::name_moved(const MountNode& from, std::string_view from_name, MountNode& to,
                           std::string_view to_name) {
  Leftovers left;
  MutexLock lock(mutex_);
  MountNode* const moved = at_place(from, from_name);
  MountNode* const replaced = at_place(to, to_name);
  if (moved != nullptr) {
    set_place(*moved, to, to_name, left);
  } else if (replaced != nullptr) {
    lose_place(*replaced, left);
  }
}

void NodeTable::names_exchanged(MountNode& one, std::string_view one_name, MountNode& other,
                                std::string_view other_name) {
  Leftovers left;
  MutexLock lock(mutex_);
  MountNode* const from_one = at_place(one, one_name);
  MountNode* const from_other = at_place(other, other_name);
  if (from_one != nullptr) take_place(*from_one, left);
  if (from_other != nullptr) take_place(*from_other, left);
  if (from_one != nullptr) set_place(*from_one, other, other_name, left);
  if (from_other != nullptr) set_place(*from_other, one, one_name, left);
}

/// A round makes room for an eighth of the limit more, so that there is not one for each file; and where the
/// kernel forgets nothing, since all is in use, the next one waits for a sixteenth. It begins by as much
/// before the limit.
void NodeTable::begin_round_if_crowded() {
  constexpr size_t kLeastRoom = 64;
  const size_t size = size_.load(std::memory_order_relaxed);
  const size_t step = limits_.known / 16;
  const size_t begin = limits_.known - step;
  if (size <= begin || to_forget_ > 0 || made_since_round_ < step) return;
  made_since_round_ = 0;
  const size_t room = 2 * step + kLeastRoom;
  to_forget_ = std::min(size - begin, room) + room;
  to_look_at_ = sleeping_.size();
  crowded_.store(true, std::memory_order_relaxed);
}

std::vector<UnusedNode> NodeTable::take_unused(size_t count_max) {
  std::vector<UnusedNode> unused;
  MutexLock lock(mutex_);
  size_t looked_at = 0;
  while (to_forget_ > 0 && to_look_at_ > 0 && sleeping_.size() > 0 && looked_at < 4 * count_max &&
         unused.size() < count_max) {
    MountNode& oldest = *sleeping_.oldest();
    sleeping_.make_newest(oldest);
    --to_look_at_;
    ++looked_at;
    // A directory goes after what is in it.
    if (oldest.has_children()) continue;
    --to_forget_;
    unused.push_back({.number = number_of(oldest),
                      .directory = oldest.directory_ == nullptr ? 0 : number_of(*oldest.directory_),
                      .name = oldest.directory_ == nullptr ? "" : oldest.name_.get(),
                      .kind = oldest.kind});
  }
  if (to_look_at_ == 0 || sleeping_.size() == 0) to_forget_ = 0;
  if (to_forget_ == 0) crowded_.store(false, std::memory_order_relaxed);
  return unused;
}

std::vector<uint64_t> NodeTable::numbers() const {
  std::vector<uint64_t> numbers{FUSE_ROOT_ID};
  MutexLock lock(mutex_);
  for (const NodeOrder* order : {&awake_, &sleeping_}) {
    for (const MountNode* node = order->oldest(); node != nullptr; node = NodeOrder::newer(*node))
      numbers.push_back(number_of(*node));
  }
  return numbers;
}

size_t NodeTable::awake() const {
  MutexLock lock(mutex_);
  return awake_.size();
}

size_t NodeTable::forgotten() const {
  MutexLock lock(mutex_);
  return forgotten_.size();
}

void NodeTable::check_invariants() {
  MutexLock lock(mutex_);
  size_t known = 1;
  for (NodeOrder* order : {&awake_, &sleeping_, &forgotten_}) {
    for (MountNode* node = order->oldest(); node != nullptr; node = NodeOrder::newer(*node)) {
      CACHEFS_CHECK(&order_of(*node) == order, "N1: a node is in the order of its state");
      CACHEFS_CHECK(contains(*node), "N1: a node of the table is found by its number");
      CACHEFS_CHECK(node->lookups_ > 0 || node->directory_ != nullptr, "N1: what is forgotten has a place");
      CACHEFS_CHECK(node->is_awake() || !node->node_, "N2: what sleeps keeps no node");
      size_t steps = 0;
      for (const MountNode* at = node; at != nullptr; at = at->directory_)
        CACHEFS_CHECK(++steps <= numbers_.size() + 2, "N3: going from directory to directory ends");
      known += node->lookups_ > 0 ? 1 : 0;
    }
  }
  CACHEFS_CHECK(known == size(), "N1: as many are known as are counted");
  CACHEFS_CHECK(forgotten_.size() <= limits_.forgotten, "N1: no more are kept than may be");
  CACHEFS_CHECK(numbers_.size() == awake_.size() + sleeping_.size() + forgotten_.size(),
                "N1: each node is in one order");
}

void NodeTable::clear() {
  constexpr size_t kAtOnce = 1024;
  for (bool more = true; more;) {
    Leftovers left;
    MutexLock lock(mutex_);
    for (size_t i = 0; i < kAtOnce; ++i) {
      MountNode* node = awake_.oldest() != nullptr ? awake_.oldest() : sleeping_.oldest();
      if (node == nullptr) node = forgotten_.oldest();
      more = node != nullptr;
      if (!more) break;
      take_out(*node, left);
    }
  }
}

}  // namespace cachefs::mount
