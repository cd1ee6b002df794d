// Locks go to the source; who gets one finds what the holder before him has written.
#pragma once

#include <memory>

#include "cachefs/lock_store.h"
#include "core/cache_impl.h"

namespace cachefs {

std::unique_ptr<LockStore> make_cache_locks(CacheFs::Impl& cache);

}  // namespace cachefs
