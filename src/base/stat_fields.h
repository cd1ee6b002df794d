// The fields of stat(2) that attributes.h has other words for, both ways.
#pragma once

#include <sys/stat.h>

#include <ctime>

#include "cachefs/attributes.h"

namespace cachefs {

/// What the upper bits of st_mode say.
FileKind kind_of(mode_t mode);
/// The kind as the upper bits of st_mode.
mode_t type_bits(FileKind kind);

/// The points in time that nanoseconds in 64 bits cannot tell (before 1678, after 2261) become the nearest
/// that they can.
Timestamp timestamp_of(int64_t seconds, int64_t nanoseconds);
timespec timespec_of(Timestamp time);

}  // namespace cachefs
