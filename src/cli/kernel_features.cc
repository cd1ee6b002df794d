#include "cli/kernel_features.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <sstream>
#include <vector>

#include "cli/nearest.h"

namespace cachefs::cli {
namespace {

using mount::KernelFeature;
using mount::KernelFeatureInfo;
using mount::KernelFeatures;
using mount::kKernelFeatures;

constexpr std::string_view kNo = "no_";

std::optional<KernelFeature> feature_of(std::string_view name) {
  const auto* const found = std::find_if(kKernelFeatures.begin(), kKernelFeatures.end(),
                                         [&](const KernelFeatureInfo& info) { return info.name == name; });
  return found == kKernelFeatures.end() ? std::nullopt : std::optional(found->feature);
}

std::vector<std::string> words() {
  std::vector<std::string> words{"all", "none"};
  for (const KernelFeatureInfo& info : kKernelFeatures) {
    words.emplace_back(info.name);
    words.push_back("no-" + words.back());
  }
  return words;
}

/// False if there is no such word.
bool take_word(const std::string& given, KernelFeatures& features) {
  std::string word = given;
  std::replace(word.begin(), word.end(), '-', '_');
  if (word == "all" || word == "none") {
    features = word == "all" ? KernelFeatures::all() : KernelFeatures();
    return true;
  }
  const bool wanted = !word.starts_with(kNo);
  const auto feature = feature_of(wanted ? word : word.substr(kNo.size()));
  if (feature) features.set(*feature, wanted);
  return feature.has_value();
}

}  // namespace

Outcome<KernelFeatures> check_kernel_features(std::string list, std::string_view option) {
  KernelFeatures features = KernelFeatures::all();
  std::replace(list.begin(), list.end(), ':', ',');
  std::istringstream parts(list);
  for (std::string word; std::getline(parts, word, ',');) {
    if (word.empty() || take_word(word, features)) continue;
    return refuse_usage(fmt::format("{}: '{}' is not a feature{}; `cachefs mount --help` lists them", option,
                                    word, did_you_mean(word, words())));
  }
  return features;
}

nlohmann::json to_json(const std::function<mount::FeatureState(KernelFeature)>& state) {
  nlohmann::json json = nlohmann::json::object();
  for (const KernelFeatureInfo& info : kKernelFeatures)
    json[std::string(info.name)] = std::string(mount::name_of(state(info.feature)));
  return json;
}

std::string format_kernel_features(const nlohmann::json& features) {
  std::vector<std::string> groups;
  for (const char* state : {"on", "off", "not offered"}) {
    std::vector<std::string> names;
    for (const auto& [name, value] : features.items()) {
      if (value == state) names.push_back(name);
    }
    const std::string_view title = state;
    if (names.empty()) continue;
    groups.push_back(
        fmt::format("{}{}", title == "on" ? "" : fmt::format("{}: ", title), fmt::join(names, ", ")));
  }
  return fmt::format("{}", fmt::join(groups, "; "));
}

}  // namespace cachefs::cli
