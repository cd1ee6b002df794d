#include "vfs/mem_fs_inode.h"

#include <algorithm>

namespace cachefs::mem {

uint64_t NumberPool::take() {
  MutexLock lock(mutex_);
  if (free_.empty()) return next_++;
  return free_.extract(free_.begin()).value();
}

void NumberPool::give_back(uint64_t number) {
  if (!reuse_) return;
  MutexLock lock(mutex_);
  free_.insert(number);
}

std::string DirectoryTable::key(std::string_view name) const {
  std::string key(name);
  if (!case_sensitive_) {
    std::ranges::transform(
        key, key.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  }
  return key;
}

DirectorySlot* DirectoryTable::find(std::string_view name) {
  const auto position = positions_.find(key(name));
  return position == positions_.end() ? nullptr : &slots_.find(position->second)->second;
}

void DirectoryTable::insert(std::string_view name, NodeRef node) {
  positions_.emplace(key(name), next_position_);
  slots_.emplace_hint(slots_.end(), next_position_, DirectorySlot{std::string(name), std::move(node)});
  ++next_position_;
}

NodeRef DirectoryTable::erase(std::string_view name) {
  const auto position = positions_.find(key(name));
  NodeRef node = std::move(slots_.extract(position->second).mapped().node);
  positions_.erase(position);
  return node;
}

const DirectorySlot* DirectoryTable::next(uint64_t& position) const {
  const auto slot = slots_.lower_bound(position);
  if (slot == slots_.end()) return nullptr;
  position = slot->first + 1;
  return &slot->second;
}

void DirectoryTable::drain(std::vector<NodeRef>& into) {
  for (auto& [position, slot] : slots_) into.push_back(std::move(slot.node));
  slots_.clear();
  positions_.clear();
}

Inode::Inode(InodeOwner& owner, FileKind kind_of_file, uint64_t generation_of_file, bool case_sensitive)
    : kind(kind_of_file),
      number(owner.numbers.take()),
      generation(generation_of_file),
      data(owner.space),
      entries(case_sensitive),
      owner_(owner) {
  owner_.inode_count.fetch_add(1, std::memory_order_relaxed);
}

Inode::~Inode() {
  owner_.inode_count.fetch_sub(1, std::memory_order_relaxed);
  owner_.numbers.give_back(number);
}

}  // namespace cachefs::mem
