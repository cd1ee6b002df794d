#include "mount/mount_node.h"

namespace cachefs::mount {

ListingUse KeptListing::open(uint64_t generation) {
  MutexLock lock(mutex_);
  if (generation != generation_) {
    if (handles_ > 0) return {.caches = false, .keeps = true};
    generation_ = generation;
    confirmed_ = false;
  }
  ++handles_;
  return {.caches = true, .keeps = confirmed_};
}

void KeptListing::confirm() {
  MutexLock lock(mutex_);
  confirmed_ = true;
}

void KeptListing::close() {
  MutexLock lock(mutex_);
  --handles_;
}

void MountNode::release(MountNode* node) {
  if (node->counts_.fetch_sub(kReference, std::memory_order_acq_rel) != kReference) return;
  MountNode* const directory = node->directory_;
  delete node;
  release_child_of(directory);
}

// A loop, for trees may be deeper than a stack.
void MountNode::release_child_of(MountNode* directory) {
  while (directory != nullptr && directory->counts_.fetch_sub(kChild, std::memory_order_acq_rel) == kChild) {
    MountNode* const above = directory->directory_;
    delete directory;
    directory = above;
  }
}

}  // namespace cachefs::mount
