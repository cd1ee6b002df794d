// What a file system shows of itself when it is tried.
#pragma once

#include "cachefs/posix_fs.h"
#include "vfs/posix_source_traits.h"

namespace cachefs::posix {

/// Capabilities of the file system that the directory `root` is in: by its type, by trial where a trial
/// leaves no trace, and by the options' word over both. Takes 50 ms at most. Errors: those of statvfs.
Result<Capabilities> probe(int root, const MountInfo& mount, const PosixFsOptions& options);

/// How far apart two changes of the regular file `fd` must be to show in its timestamps: 0 if every write
/// after a look shows (Linux 6.13 and later on the common file systems), else twice the step seen. Writes one
/// byte.
std::chrono::nanoseconds measure_timestamp_granule(int fd, const Clock& clock);

inline constexpr std::chrono::nanoseconds kUnknownGranule = std::chrono::seconds(2);

}  // namespace cachefs::posix
