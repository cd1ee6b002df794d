#include "vfs/posix_node_table.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iterator>

#include "base/request_deadline.h"

namespace cachefs::posix {
namespace {

/// Of a file with more names than this, the oldest are forgotten.
constexpr size_t kNamesMax = 16;

void check(bool holds, const char* invariant) {
  if (holds) return;
  std::fprintf(stderr, "cachefs: invariant broken: %s\n", invariant);
  std::abort();
}

}  // namespace

void PosixNode::release_last() { table_.release(*this); }

NodeTable::~NodeTable() {
  MutexLock lock(mutex_);
  check(by_name_.empty(), "the nodes of a PosixFs are outlived by it");
}

NodeRef NodeTable::make_root(const FileIdentity& identity) {
  MutexLock lock(mutex_);
  root_ = new PosixNode(*this, identity, FileKind::directory);
  if (interns_by_identity_) by_identity_.emplace(identity, root_);
  return NodeRef(root_);
}

NodeRef NodeTable::intern(const Sighting& seen, std::optional<uint64_t> unchanged_since) {
  Names dropped;
  MutexLock lock(mutex_);
  if (unchanged_since &&
      (*unchanged_since != seen.parent.name_changes_ || is_changing(seen.parent, seen.name)))
    return {};
  PosixNode& node = node_for(seen, dropped);
  NodeRef reference(&node);
  add_name(node, seen.parent, seen.name, dropped);
  return reference;
}

PosixNode& NodeTable::node_for(const Sighting& seen, Names& dropped) {
  if (!interns_by_identity_) {
    PosixNode* node = node_at(seen.parent, seen.name);
    if (node != nullptr && node->kind() == seen.kind) return *node;
    if (node != nullptr) take_name(*node, seen.parent, seen.name, dropped);
    return add(seen);
  }
  const auto found = by_identity_.find(seen.identity);
  if (found == by_identity_.end()) return add(seen);
  if (found->second->kind() == seen.kind) return *found->second;
  by_identity_.erase(found);  // an inode number used again, where nothing else tells
  return add(seen);
}

PosixNode& NodeTable::add(const Sighting& seen) {
  auto* node = new PosixNode(*this, seen.identity, seen.kind);
  if (interns_by_identity_) by_identity_.emplace(seen.identity, node);
  return *node;
}

uint64_t NodeTable::name_changes(const PosixNode& directory) const {
  MutexLock lock(mutex_);
  return directory.name_changes_;
}

NodeRef NodeTable::find(PosixNode& parent, std::string_view name) {
  MutexLock lock(mutex_);
  return NodeRef(node_at(parent, name));
}

std::vector<NodeName> NodeTable::names_of(const PosixNode& node) const {
  MutexLock lock(mutex_);
  return {node.names_.rbegin(), node.names_.rend()};
}

bool NodeTable::has_one_name(const PosixNode& node) const {
  MutexLock lock(mutex_);
  return node.names_.size() == 1;
}

PosixNode* NodeTable::node_at(const PosixNode& parent, std::string_view name) const {
  const auto found = by_name_.find(PlaceView{&parent, name});
  return found == by_name_.end() ? nullptr : found->second;
}

void NodeTable::add_name(PosixNode& node, PosixNode& parent, std::string_view name, Names& dropped) {
  if (&node == root_ || &node == &parent) return;  // a mount of the root, or of a directory, within itself
  PosixNode* before = node_at(parent, name);
  if (before == &node) return;
  if (before != nullptr) take_name(*before, parent, name, dropped);
  if (node.kind() == FileKind::directory) {
    take_all_names(node, dropped);
    cut_above(node, parent, dropped);
  }
  if (node.names_.size() >= kNamesMax) {
    const NodeName oldest = node.names_.front();
    take_name(node, as_posix(*oldest.parent), oldest.name, dropped);
  }
  node.names_.push_back({.parent = NodeRef(&parent), .name = std::string(name)});
  by_name_.emplace(PlaceKey{&parent, std::string(name)}, &node);
}

// Directories that were moved elsewhere may seem to be above each other: what was known of the one seen
// earlier is then no longer true. Keeps N3.
void NodeTable::cut_above(PosixNode& node, PosixNode& parent, Names& dropped) {
  PosixNode* at = &parent;
  while (!at->names_.empty()) {
    PosixNode* above = &as_posix(*at->names_.front().parent);
    if (above == &node) return take_all_names(*at, dropped);
    at = above;
  }
}

void NodeTable::take_name(PosixNode& node, const PosixNode& parent, std::string_view name, Names& dropped) {
  const auto found = std::find_if(node.names_.begin(), node.names_.end(), [&](const NodeName& candidate) {
    return candidate.parent.get() == &parent && candidate.name == name;
  });
  if (found == node.names_.end()) return;
  by_name_.erase(by_name_.find(PlaceView{&parent, name}));
  dropped.push_back(std::move(*found));
  node.names_.erase(found);
}

void NodeTable::take_all_names(PosixNode& node, Names& dropped) {
  for (NodeName& name : node.names_) {
    by_name_.erase(by_name_.find(PlaceView{&as_posix(*name.parent), name.name}));
    dropped.push_back(std::move(name));
  }
  node.names_.clear();
}

PosixNode* NodeTable::take_place(const PosixNode& parent, std::string_view name, Names& dropped) {
  PosixNode* node = node_at(parent, name);
  if (node != nullptr) take_name(*node, parent, name, dropped);
  return node;
}

void NodeTable::begin_change(Place place) {
  MutexLock lock(mutex_);
  changing_.push_back({.parent = &as_posix(place.directory), .name = std::string(place.name)});
}

void NodeTable::end_change(Place place) {
  MutexLock lock(mutex_);
  const auto found = std::find_if(changing_.begin(), changing_.end(), [&](const PlaceKey& key) {
    return key.parent == &place.directory && key.name == place.name;
  });
  check(found != changing_.end(), "a change of a name ends once");
  changing_.erase(found);
}

bool NodeTable::is_changing(const PosixNode& parent, std::string_view name) const {
  return std::any_of(changing_.begin(), changing_.end(),
                     [&](const PlaceKey& key) { return key.parent == &parent && key.name == name; });
}

std::shared_ptr<NamesMutex> PosixNode::names_mutex(uint64_t epoch) {
  return table_.names_mutex(*this, epoch);
}

std::shared_ptr<NamesMutex> NodeTable::names_mutex(PosixNode& directory, uint64_t epoch) {
  MutexLock lock(mutex_);
  std::shared_ptr<NamesMutex>& known = directory.names_mutex_;
  if (known == nullptr || known->epoch < epoch) known = std::make_shared<NamesMutex>(epoch);
  return known->epoch == epoch ? known : std::make_shared<NamesMutex>(epoch);
}

NameChange::NameChange(NodeTable& table, uint64_t epoch, Place one, Place other) NO_THREAD_SAFETY_ANALYSIS
    : table_(table),
      one_(one),
      other_(other),
      first_(as_posix(*std::min(&one.directory, &other.directory, std::less<>{})).names_mutex(epoch)),
      second_(as_posix(*std::max(&one.directory, &other.directory, std::less<>{})).names_mutex(epoch)),
      begun_(lock()) {
  if (!begun_) return;
  table_.begin_change(one_);
  table_.begin_change(other_);
}

bool NameChange::lock() const NO_THREAD_SAFETY_ANALYSIS {
  const auto deadline = RequestDeadline::clamp(RequestDeadline::Time::max());
  if (!first_->mutex.try_lock_until(deadline)) return false;
  const bool both = first_ == second_ || second_->mutex.try_lock_until(deadline);
  if (both && !RequestDeadline::has_passed()) return true;
  if (both && first_ != second_) second_->mutex.unlock();
  first_->mutex.unlock();
  return false;
}

Result<void> NameChange::result() const {
  if (begun_) return {};
  RequestDeadline::note_in_vain();
  return fail(std::errc::timed_out, "an earlier change in the directory has not ended yet");
}

NameChange::~NameChange() NO_THREAD_SAFETY_ANALYSIS {
  if (!begun_) return;
  table_.end_change(other_);
  table_.end_change(one_);
  if (first_ != second_) second_->mutex.unlock();
  first_->mutex.unlock();
}

void NodeTable::name_made(PosixNode& directory) {
  MutexLock lock(mutex_);
  ++directory.name_changes_;
}

void NodeTable::name_removed(PosixNode& parent, std::string_view name) {
  Names dropped;
  MutexLock lock(mutex_);
  ++parent.name_changes_;
  take_place(parent, name, dropped);
}

void NodeTable::name_moved(Place from, Place to) {
  Names dropped;
  MutexLock lock(mutex_);
  PosixNode& source = as_posix(from.directory);
  PosixNode& target = as_posix(to.directory);
  ++source.name_changes_;
  ++target.name_changes_;
  PosixNode* moved = node_at(source, from.name);
  if (moved != nullptr && moved == node_at(target, to.name))
    return;  // two names of one file: rename(2) does nothing
  take_place(source, from.name, dropped);
  take_place(target, to.name, dropped);
  if (moved != nullptr) add_name(*moved, target, to.name, dropped);
}

void NodeTable::names_exchanged(Place one, Place other) {
  Names dropped;
  MutexLock lock(mutex_);
  PosixNode& first = as_posix(one.directory);
  PosixNode& second = as_posix(other.directory);
  ++first.name_changes_;
  ++second.name_changes_;
  PosixNode* from_first = take_place(first, one.name, dropped);
  PosixNode* from_second = take_place(second, other.name, dropped);
  if (from_first != nullptr) add_name(*from_first, second, other.name, dropped);
  if (from_second != nullptr) add_name(*from_second, first, one.name, dropped);
}

bool NodeTable::forget_if_last(PosixNode& node, Names& dropped) {
  MutexLock lock(mutex_);
  if (!node.drop_reference()) return false;
  take_all_names(node, dropped);
  const auto found = by_identity_.find(node.identity());
  if (found != by_identity_.end() && found->second == &node) by_identity_.erase(found);
  if (&node == root_) root_ = nullptr;
  return true;
}

void NodeTable::release(PosixNode& node) {
  // Dropping a name may release its parent, and so on to the root: a list in place of a recursion as deep as
  // the tree.
  thread_local Names* draining = nullptr;
  Names dropped;
  if (!forget_if_last(node, dropped)) return;
  cache_.forget(node);
  delete &node;
  if (draining != nullptr) {
    std::move(dropped.begin(), dropped.end(), std::back_inserter(*draining));
    return;
  }
  draining = &dropped;
  while (!dropped.empty()) {
    const NodeName last = std::move(dropped.back());
    dropped.pop_back();
  }
  draining = nullptr;
}

void NodeTable::check_invariants() const {
  MutexLock lock(mutex_);
  for (const auto& [key, node] : by_name_) {
    bool leads = false;
    for (const NodeName& name : node->names_)
      leads = leads || (name.parent.get() == key.parent && name.name == key.name);
    check(leads, "N1: what by_name_ leads to has that name");
    check(node->kind() != FileKind::directory || node->names_.size() == 1, "N3: a directory has one name");
  }
  for (const auto& [identity, node] : by_identity_) {
    check(node->identity() == identity, "N2: a node is found by its own identity");
    for (const NodeName& name : node->names_) {
      check(node_at(as_posix(*name.parent), name.name) == node, "N1: every name of a node is in by_name_");
    }
  }
}

}  // namespace cachefs::posix
