// What the user says of the kernel's newer features, and what is shown of them.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/outcome.h"
#include "mount/kernel_features.h"

namespace cachefs::cli {

/// Names with commas between (or ':', which need no quotes within -o), each meaning "use it" or, after "no-",
/// "do not". It begins from all; the later word counts. "all" and "none" stand for themselves; '-' and '_'
/// are alike. Errors are of usage.
Outcome<mount::KernelFeatures> check_kernel_features(std::string list,
                                                     std::string_view option = "--kernel-features");

/// {"killpriv_v2": "on", ...}: "on", "off" or "not offered".
nlohmann::json to_json(const std::function<mount::FeatureState(mount::KernelFeature)>& state);

/// The same in one line, from the JSON: "killpriv_v2, direct_mmap; not offered: read_ahead".
std::string format_kernel_features(const nlohmann::json& features);

}  // namespace cachefs::cli
