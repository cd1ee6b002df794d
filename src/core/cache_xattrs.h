// Extended attributes go to the source; a change of theirs changes the file's version.
#pragma once

#include <memory>

#include "core/cache_impl.h"

namespace cachefs {

std::unique_ptr<XattrStore> make_cache_xattrs(CacheFs::Impl& cache);

}  // namespace cachefs
