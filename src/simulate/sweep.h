// Several policies and sizes over one trace, side by side.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "simulate/simulation.h"
#include "simulate/trace.h"

namespace cachefs::simulate {

/// The name of the offline optimum, beside those of the registry.
inline constexpr std::string_view kBelady = "belady";

/// A size as users write it, before a trace is known.
struct WantedSize {
  std::string text;    ///< as it was written
  double percent = 0;  ///< of the trace's objects, or of their bytes; 0: `units` counts
  uint64_t units = 0;
};

/// From "1%", "0.5%", "1000", and, with Unit::bytes, "64MiB". Errors: einval, naming the text.
Result<WantedSize> parse_wanted_size(std::string_view text, Unit unit);

/// Rounded to the nearest, at least 1.
uint64_t resolve(const WantedSize& size, const Trace& trace, Unit unit);

struct PolicyRun {
  std::string policy;  ///< of the registry, or kBelady
  uint64_t size = 0;
  Misses misses{};
};

struct SweepOptions {
  std::vector<std::string> policies;  ///< valid ones
  std::vector<uint64_t> sizes;
  Unit unit = Unit::objects;
  unsigned threads = 1;
};

/// All policies at all sizes, in the order of `sizes`, then of `policies`. `done` is added to while it goes
/// on, up to (policies x sizes x accesses); once `stop` is set it ends soon, and the result is worth nothing.
std::vector<PolicyRun> sweep(const Trace& trace, const SweepOptions& options, std::atomic<uint64_t>& done,
                             const std::atomic<bool>& stop);

}  // namespace cachefs::simulate
