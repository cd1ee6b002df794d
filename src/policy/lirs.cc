// Low inter-reference recency: who was used twice within a short time stays; a hundredth of the room is for
// the others.
//
// Jiang and Zhang, LIRS: An Efficient Low Inter-reference Recency Set Replacement Policy, SIGMETRICS 2002. Of
// those that have left, as many are remembered as there are slots; the paper has no limit.
#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "base/check.h"
#include "policy/registry.h"

namespace cachefs {
namespace {

/// Of a slot (even), or of an entry that has left (odd).
using NodeId = uint32_t;
constexpr NodeId kNone = UINT32_MAX;

enum class Kind : uint8_t { unused, low, high, ghost };  // low: LIR; high: HIR that is here

struct Links {
  NodeId previous = kNone;
  NodeId next = kNone;
  bool linked = false;
};

struct Node {
  uint64_t hash = 0;
  Links stack{};         ///< by recency; ends with a low one
  Links queue{};         ///< of the high ones, of the ghosts, or of free ghosts
  NodeId chain = kNone;  ///< of ghosts with the same bucket
  uint32_t weight = 0;
  Kind kind = Kind::unused;
};

class Nodes {
 public:
  void resize(uint32_t count) {
    if (count == 0) {
      std::vector<Node>().swap(nodes_);
      return;
    }
    nodes_.reserve(size_t{count} * 2);
    nodes_.resize(size_t{count} * 2);
  }
  static size_t bytes_for(uint32_t count) { return size_t{count} * 2 * sizeof(Node); }
  Node& operator[](NodeId id) { return nodes_[id]; }
  const Node& operator[](NodeId id) const { return nodes_[id]; }
  [[nodiscard]] size_t size() const { return nodes_.size(); }

 private:
  std::vector<Node> nodes_;
};

/// One of the two orders that a node can be in.
template <Links Node::* Which>
class Order {
 public:
  explicit Order(Nodes& nodes) : nodes_(nodes) {}
  void push_front(NodeId id) {
    Links& links = nodes_[id].*Which;
    links = {.previous = kNone, .next = front_, .linked = true};
    if (front_ != kNone) (nodes_[front_].*Which).previous = id;
    front_ = id;
    if (back_ == kNone) back_ = id;
  }
  void remove(NodeId id) {
    Links& links = nodes_[id].*Which;
    if (!links.linked) return;
    (links.previous == kNone ? front_ : (nodes_[links.previous].*Which).next) = links.next;
    (links.next == kNone ? back_ : (nodes_[links.next].*Which).previous) = links.previous;
    links = {};
  }
  void move_to_front(NodeId id) {
    remove(id);
    push_front(id);
  }
  /// `id`, which is not in the order, gets the place of `old`.
  void replace(NodeId old, NodeId id) {
    const Links links = nodes_[old].*Which;
    nodes_[id].*Which = links;
    nodes_[old].*Which = {};
    (links.previous == kNone ? front_ : (nodes_[links.previous].*Which).next) = id;
    (links.next == kNone ? back_ : (nodes_[links.next].*Which).previous) = id;
  }
  void clear() { front_ = back_ = kNone; }
  [[nodiscard]] NodeId back() const { return back_; }
  [[nodiscard]] NodeId before(NodeId id) const { return (nodes_[id].*Which).previous; }
  [[nodiscard]] bool has(NodeId id) const { return (nodes_[id].*Which).linked; }

  void check_invariants() const {
    NodeId previous = kNone;
    size_t seen = 0;
    for (NodeId id = front_; id != kNone; id = (nodes_[id].*Which).next) {
      CACHEFS_CHECK((nodes_[id].*Which).previous == previous, "R1: neighbours point at each other");
      CACHEFS_CHECK(++seen <= nodes_.size(), "R2: an order has no cycle");
      previous = id;
    }
    CACHEFS_CHECK(back_ == previous, "R3: the back is the last node");
  }

 private:
  Nodes& nodes_;
  NodeId front_ = kNone;
  NodeId back_ = kNone;
};

class Lirs final : public EvictionPolicy {
 public:
  void resize(uint32_t count) override;
  [[nodiscard]] size_t bytes_for(uint32_t count) const override {
    return count == 0 ? 0 : Nodes::bytes_for(count) + std::bit_ceil(count) * sizeof(NodeId);
  }
  void on_insert(SlotIndex slot, uint64_t key_hash, uint32_t weight) override;
  void on_hits(std::span<const SlotIndex> slots) override;
  void on_weight_change(SlotIndex slot, uint32_t weight) override;
  void on_remove(SlotIndex slot) override;
  void on_evict(SlotIndex slot) override;
  std::optional<SlotIndex> victim(const Evictable& evictable) override;
  void check_invariants() const override;

 private:
  static NodeId id_of(SlotIndex slot) { return static_cast<uint32_t>(slot) * 2; }
  static SlotIndex slot_of(NodeId id) { return SlotIndex{id / 2}; }

  /// All but a hundredth, and at least one entry.
  [[nodiscard]] uint64_t low_room() const {
    return room_ == UINT64_MAX ? room_ : room_ - std::max(room_ / 100, room_ / std::max<uint64_t>(size_, 1));
  }
  void make_low(NodeId id);
  void demote_until_fits();
  void prune();
  void leave(NodeId id);
  void add_ghost(NodeId leaving, uint64_t hash);
  NodeId take_ghost(uint64_t hash);
  void drop_ghost(NodeId id);
  NodeId& bucket_of(uint64_t hash) { return buckets_[hash & (buckets_.size() - 1)]; }

  Nodes nodes_;
  Order<&Node::stack> stack_{nodes_};
  Order<&Node::queue> high_{nodes_};
  Order<&Node::queue> ghosts_{nodes_};
  std::vector<NodeId> buckets_;
  NodeId free_ = kNone;  ///< ghosts
  uint64_t weight_ = 0;
  uint64_t low_weight_ = 0;
  uint32_t size_ = 0;
  uint64_t room_ = UINT64_MAX;  ///< what was there when a victim was wanted last
};

void Lirs::resize(uint32_t count) {
  const auto old = static_cast<uint32_t>(nodes_.size());
  nodes_.resize(count);
  if (count == 0) {
    std::vector<NodeId>().swap(buckets_);
    stack_.clear();
    ghosts_.clear();
    free_ = kNone;
    return;
  }
  for (NodeId id = old + 1; id < count * 2; id += 2) nodes_[id].chain = std::exchange(free_, id);
  if (std::bit_ceil(count) == buckets_.size()) return;
  std::vector<NodeId>(std::bit_ceil(count), kNone).swap(buckets_);
  for (NodeId id = 1; id < old; id += 2) {
    if (nodes_[id].kind == Kind::ghost) nodes_[id].chain = std::exchange(bucket_of(nodes_[id].hash), id);
  }
}

void Lirs::on_insert(SlotIndex slot, uint64_t key_hash, uint32_t weight) {
  const NodeId id = id_of(slot);
  nodes_[id] = {.hash = key_hash, .weight = weight};
  weight_ += weight;
  ++size_;
  const bool came_back = take_ghost(key_hash) != kNone;
  stack_.push_front(id);
  if (came_back || low_weight_ + weight <= low_room()) {
    make_low(id);
    demote_until_fits();
  } else {
    nodes_[id].kind = Kind::high;
    high_.push_front(id);
  }
  prune();
}

void Lirs::on_hits(std::span<const SlotIndex> slots) {
  for (const SlotIndex slot : slots) {
    const NodeId id = id_of(slot);
    const bool promoted = nodes_[id].kind == Kind::high && stack_.has(id);
    stack_.move_to_front(id);
    if (promoted) {
      high_.remove(id);
      make_low(id);
      demote_until_fits();
    } else if (nodes_[id].kind == Kind::high) {
      high_.move_to_front(id);
    }
    prune();
  }
}

void Lirs::on_weight_change(SlotIndex slot, uint32_t weight) {
  Node& node = nodes_[id_of(slot)];
  weight_ = weight_ - node.weight + weight;
  if (node.kind == Kind::low) low_weight_ = low_weight_ - node.weight + weight;
  node.weight = weight;
}

void Lirs::on_remove(SlotIndex slot) {
  leave(id_of(slot));
  prune();
}

void Lirs::on_evict(SlotIndex slot) {
  const NodeId id = id_of(slot);
  if (stack_.has(id)) add_ghost(id, nodes_[id].hash);
  leave(id);
  prune();
}

std::optional<SlotIndex> Lirs::victim(const Evictable& evictable) {
  room_ = weight_;
  demote_until_fits();
  prune();
  for (NodeId id = high_.back(), first = kNone; id != kNone && id != first; id = high_.back()) {
    if (evictable(slot_of(id))) return slot_of(id);
    if (first == kNone) first = id;
    high_.move_to_front(id);
  }
  for (NodeId id = stack_.back(); id != kNone; id = stack_.before(id)) {
    if (nodes_[id].kind == Kind::low && evictable(slot_of(id))) return slot_of(id);
  }
  return std::nullopt;
}

void Lirs::make_low(NodeId id) {
  nodes_[id].kind = Kind::low;
  low_weight_ += nodes_[id].weight;
}

/// The one at the bottom of the stack, who was not used twice for longest, becomes one of the others.
void Lirs::demote_until_fits() {
  while (low_weight_ > low_room()) {
    prune();
    const NodeId id = stack_.back();
    stack_.remove(id);
    nodes_[id].kind = Kind::high;
    low_weight_ -= nodes_[id].weight;
    high_.push_front(id);
  }
}

/// Below the lowest low one recency says nothing.
void Lirs::prune() {
  for (NodeId id = stack_.back(); id != kNone && nodes_[id].kind != Kind::low; id = stack_.back()) {
    if (nodes_[id].kind == Kind::ghost) {
      drop_ghost(id);
    } else {
      stack_.remove(id);
    }
  }
}

void Lirs::leave(NodeId id) {
  Node& node = nodes_[id];
  weight_ -= node.weight;
  --size_;
  if (node.kind == Kind::low) low_weight_ -= node.weight;
  if (node.kind == Kind::high) high_.remove(id);
  stack_.remove(id);
  node.kind = Kind::unused;
}

/// Takes the place in the stack of the one that leaves.
void Lirs::add_ghost(NodeId leaving, uint64_t hash) {
  if (free_ == kNone) drop_ghost(ghosts_.back());
  const NodeId id = std::exchange(free_, nodes_[free_].chain);
  Node& ghost = nodes_[id];
  ghost = {.hash = hash, .kind = Kind::ghost};
  ghost.chain = std::exchange(bucket_of(hash), id);
  ghosts_.push_front(id);
  stack_.replace(leaving, id);
}

NodeId Lirs::take_ghost(uint64_t hash) {
  if (buckets_.empty()) return kNone;
  for (NodeId id = bucket_of(hash); id != kNone; id = nodes_[id].chain) {
    if (nodes_[id].hash != hash) continue;
    drop_ghost(id);
    return id;
  }
  return kNone;
}

void Lirs::drop_ghost(NodeId id) {
  NodeId* link = &bucket_of(nodes_[id].hash);
  while (*link != id) link = &nodes_[*link].chain;
  *link = nodes_[id].chain;
  stack_.remove(id);
  ghosts_.remove(id);
  nodes_[id] = {};
  nodes_[id].chain = std::exchange(free_, id);
}

void Lirs::check_invariants() const {
  stack_.check_invariants();
  high_.check_invariants();
  ghosts_.check_invariants();
  uint64_t weight = 0;
  uint64_t low_weight = 0;
  for (NodeId id = 0; id < nodes_.size(); id += 2) {
    const Node& node = nodes_[id];
    if (node.kind == Kind::unused) continue;
    weight += node.weight;
    if (node.kind == Kind::low) low_weight += node.weight;
    CACHEFS_CHECK(node.kind != Kind::low || stack_.has(id), "R4: a low one is in the stack");
    CACHEFS_CHECK((node.kind == Kind::high) == high_.has(id), "R5: the high ones are in their queue");
  }
  CACHEFS_CHECK(weight == weight_ && low_weight == low_weight_, "R6: weights are sums");
}

}  // namespace

std::unique_ptr<EvictionPolicy> make_lirs() { return std::make_unique<Lirs>(); }

}  // namespace cachefs
