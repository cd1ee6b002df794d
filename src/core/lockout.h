// Changes after which an open file could not be opened once more.
#pragma once

#include "core/cache_impl.h"

namespace cachefs {

/// A change of ours after which the source may not open the file any more for those who have it open: a name
/// goes away, or mode, owner or access control list change. From before the request until its end is known.
/// Handles that have no file of the source get one before, and none is made without.
class Lockout {
 public:
  /// `file` may be null: then there is nothing to do.
  Lockout(CacheFs::Impl& cache, Node* file) : cache_(cache), file_(file) { cache_.begin_lockout(file_); }
  Lockout(const Lockout&) = delete;
  Lockout& operator=(const Lockout&) = delete;
  ~Lockout() { cache_.end_lockout(file_); }

 private:
  CacheFs::Impl& cache_;
  Node* const file_;
};

}  // namespace cachefs
