// Miss-ratio curves as a picture.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "simulate/sweep.h"

namespace cachefs::simulate {

struct Curves {
  std::string trace;
  std::vector<PolicyRun> runs;  ///< of several sizes; points of one policy make one curve
};

/// An SVG document with a chart for each trace, one below the other: the size of the cache from left to right
/// (logarithmic), the share of requests that miss upwards.
std::string plot(std::span<const Curves> charts, Unit unit);

}  // namespace cachefs::simulate
