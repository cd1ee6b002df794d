#include "cli/mount_plan.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <system_error>

#include "cachefs/coherence.h"
#include "cachefs/eviction_policy.h"
#include "cachefs/units.h"
#include "cli/fuse_checks.h"
#include "cli/kernel_features.h"
#include "cli/place_checks.h"
#include "cli/source_start.h"

namespace cachefs::cli {
namespace {

constexpr uint64_t kRamSizeMin = kMiB;
constexpr size_t kMaxNodesMin = 1000;

uint64_t physical_memory() {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page_size = ::sysconf(_SC_PAGESIZE);
  return pages > 0 && page_size > 0 ? static_cast<uint64_t>(pages) * static_cast<uint64_t>(page_size)
                                    : UINT64_MAX;
}

Outcome<mount::LockPlace> plan_locks(const std::string& place) {
  if (place == "local") return mount::LockPlace::local;
  if (place == "source") return mount::LockPlace::source;
  return refuse_usage(fmt::format("--locks: '{}' is neither local nor source", place));
}

}  // namespace

Outcome<CacheOptions> plan_cache(const MountArguments& arguments, std::vector<std::string>& notes) {
  CacheOptions options;
  const auto size = parse_size(arguments.ram_size);
  if (!size) return refuse_usage("--ram-size: " + size.error().doing());
  if (*size < kRamSizeMin) {
    return refuse_usage(fmt::format("--ram-size: '{}' is too small; give at least 1MiB", arguments.ram_size));
  }
  if (*size > physical_memory()) {
    notes.push_back(fmt::format("cachefs: note: --ram-size {} is more than this machine's memory of {}",
                                arguments.ram_size, format_size(physical_memory())));
  }
  options.max_bytes = *size;
  const auto policy = find_eviction_policy(arguments.policy);
  if (!policy) return refuse_usage("--policy: " + policy.error().doing());
  options.policy = (*policy)->name;
  const auto coherence = parse_coherence(arguments.coherence);
  if (!coherence) return refuse_usage("--coherence: " + coherence.error().doing());
  options.coherence = *coherence;
  if (arguments.access_check == "source") {
    options.access_check = AccessCheck::source;
  } else if (arguments.access_check != "mode-bits") {
    return refuse_usage(
        fmt::format("--access-check: '{}' is neither mode-bits nor source", arguments.access_check));
  }
  const auto stale = parse_duration(arguments.stale_if_error);
  if (!stale) return refuse_usage("--stale-if-error: " + stale.error().doing());
  options.stale_if_error = *stale;
  if (arguments.attribute_ttl.empty()) return options;
  const auto attribute_ttl = parse_duration(arguments.attribute_ttl);
  if (!attribute_ttl) return refuse_usage("--attr-ttl: " + attribute_ttl.error().doing());
  if (coherence->mode != CoherenceMode::close_to_open) {
    return refuse_usage(fmt::format(
        "--attr-ttl: it is of close-to-open alone; leave it away with --coherence {}", arguments.coherence));
  }
  options.coherence.attribute_ttl = *attribute_ttl;
  return options;
}

Outcome<size_t> plan_nodes(const std::string& max_nodes) {
  size_t count = 0;
  const char* const end = max_nodes.data() + max_nodes.size();
  const auto [parsed, error] = std::from_chars(max_nodes.data(), end, count);
  if (error != std::errc() || parsed != end)
    return refuse_usage(fmt::format("--max-nodes: '{}' is not a count; write it as 1000000", max_nodes));
  if (count < kMaxNodesMin) {
    return refuse_usage(
        fmt::format("--max-nodes: {} is too small; give at least {}", max_nodes, kMaxNodesMin));
  }
  return count;
}

Outcome<MountPlan> plan_mount(const MountArguments& arguments) {
  MountPlan plan;
  plan.options = option_texts(arguments);
  auto cache = plan_cache(arguments, plan.notes);
  if (!cache) return std::unexpected(cache.error());
  plan.cache = std::move(*cache);
  const auto known = plan_nodes(arguments.max_nodes);
  if (!known) return std::unexpected(known.error());
  plan.nodes.known = *known;
  if (arguments.timeout != "auto") {
    const auto limits = parse_time_limits(arguments.timeout);
    if (!limits) return refuse_usage("--timeout: " + limits.error().doing());
    plan.limits = *limits;
  }
  auto fuse_options = check_fuse_options(arguments.fuse_options);
  if (!fuse_options) return std::unexpected(fuse_options.error());
  plan.fuse_options = std::move(*fuse_options);
  const auto kernel_features = check_kernel_features(arguments.kernel_features);
  if (!kernel_features) return std::unexpected(kernel_features.error());
  plan.kernel_features = *kernel_features;
  const auto locks = plan_locks(arguments.locks);
  if (!locks) return std::unexpected(locks.error());
  plan.locks = *locks;
  const auto check = arguments.over ? check_over : check_places;
  auto places = check(arguments.source, arguments.mountpoint, plan.notes, start_limit(plan.limits));
  if (!places) return std::unexpected(places.error());
  plan.source = std::move(places->source);
  plan.mountpoint = std::move(places->mountpoint);
  if (const auto fuse = check_fuse(); !fuse) return std::unexpected(fuse.error());
  return plan;
}

std::string without_locks(const std::string& source, const std::string& type) {
  if (type == "cifs" || type == "smb3") {
    return fmt::format(
        "--locks source: with locks of SMB ('{}', {}) reads and writes of who holds them would fail; mount "
        "it "
        "with nobrl, and they hold on this machine, or leave the option out, and they hold within the mount",
        source, type);
  }
  return fmt::format("--locks source: '{}' ({}) has no locks; leave it out, and they hold within the mount",
                     source, type);
}

}  // namespace cachefs::cli
