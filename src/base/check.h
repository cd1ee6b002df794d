// Checks for our own bugs: they abort. Input, disk and network are errors, never checks.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace cachefs {

[[noreturn]] inline void check_failed(const char* what, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: invariant broken: %s\n", file, line, what);
  std::abort();
}

}  // namespace cachefs

/// Aborts with `what`, which names the invariant.
#define CACHEFS_CHECK(condition, what) \
  ((condition) ? static_cast<void>(0) : ::cachefs::check_failed(what, __FILE__, __LINE__))
