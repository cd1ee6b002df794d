// How many files a mount keeps in memory.
#pragma once

#include <cstddef>

namespace cachefs::mount {

struct NodeLimits {
  size_t known = 1'000'000;  ///< by the kernel; above it, the kernel is asked to forget
  /// Of these, how many may be in use by the mount although nobody has them open. (Half of `known` at most.)
  size_t awake = 4'096;
  /// How many that the kernel has forgotten are still found by their numbers, where identities are stable: so
  /// many file handles lead to files.
  size_t forgotten = 65'536;
};

}  // namespace cachefs::mount
