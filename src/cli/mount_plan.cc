#include "cli/mount_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <charconv>
#include <system_error>

#include "cachefs/coherence.h"
#include "cachefs/eviction_policy.h"
#include "cachefs/units.h"
#include "cli/fuse_checks.h"
#include "cli/kernel_features.h"
#include "cli/nearest.h"
#include "cli/place_checks.h"
#include "cli/source_start.h"

namespace cachefs::cli {
namespace {

constexpr uint64_t kRamSizeMin = kMiB;
constexpr size_t kMaxNodesMin = 1000;
constexpr uint64_t kNodeBytes = 256;  ///< of the daemon's memory, for each that the kernel knows

uint64_t physical_memory() {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page_size = ::sysconf(_SC_PAGESIZE);
  return pages > 0 && page_size > 0 ? static_cast<uint64_t>(pages) * static_cast<uint64_t>(page_size)
                                    : UINT64_MAX;
}

/// Refuses the value of an option.
std::unexpected<Failure> refuse_value(const MountArguments& arguments, std::string_view option,
                                      std::string_view why) {
  return refuse_usage(fmt::format("{}: {}", as_given(arguments, option), why));
}

/// `limit`: as the user wrote it. One above the machine's memory limits nothing.
void note_if_beyond_memory(uint64_t bytes, std::string_view limit, std::vector<std::string>& notes) {
  const uint64_t memory = physical_memory();
  if (bytes <= memory) return;
  notes.push_back(
      fmt::format("cachefs: note: {} more than this machine's memory of {}", limit, format_size(memory)));
}

Outcome<mount::LockPlace> plan_locks(const MountArguments& arguments, const Coherence& coherence,
                                     std::vector<std::string>& notes) {
  if (arguments.locks == "local") return mount::LockPlace::local;
  if (arguments.locks != "source")
    return refuse_value(arguments, "locks", fmt::format("'{}' is neither local nor source", arguments.locks));
  if (coherence.mode == CoherenceMode::immutable) {
    notes.push_back(fmt::format(
        "cachefs: note: {} source: with immutable, who gets a lock does not see what its last holder wrote",
        as_given(arguments, "locks")));
  }
  return mount::LockPlace::source;
}

Outcome<std::string> plan_policy(const MountArguments& arguments) {
  if (const auto policy = find_eviction_policy(arguments.policy)) return std::string((*policy)->name);
  std::vector<std::string> names;
  for (const EvictionPolicyInfo& policy : eviction_policies()) names.emplace_back(policy.name);
  return refuse_value(arguments, "policy",
                      fmt::format("'{}' is not an eviction policy{}; there are: {}", arguments.policy,
                                  did_you_mean(arguments.policy, names), fmt::join(names, ", ")));
}

/// The mode, and how long names and attributes are relied upon.
Outcome<Coherence> plan_coherence(const MountArguments& arguments) {
  auto coherence = parse_coherence(arguments.coherence);
  if (!coherence) return refuse_value(arguments, "coherence", coherence.error().doing());
  if (arguments.attribute_ttl.empty()) return *coherence;
  const auto attribute_ttl = parse_duration(arguments.attribute_ttl);
  if (!attribute_ttl) return refuse_value(arguments, "attr-ttl", attribute_ttl.error().doing());
  if (coherence->mode != CoherenceMode::close_to_open) {
    return refuse_value(
        arguments, "attr-ttl",
        fmt::format("it is of close-to-open alone; leave it away with coherence {}", arguments.coherence));
  }
  coherence->attribute_ttl = *attribute_ttl;
  return *coherence;
}

Outcome<std::chrono::nanoseconds> plan_stale(const MountArguments& arguments, const Coherence& coherence) {
  const auto stale = parse_duration(arguments.stale_if_error);
  if (!stale) return refuse_value(arguments, "stale-if-error", stale.error().doing());
  const bool is_asked_for = arguments.given.contains("stale_if_error") && stale->count() > 0;
  if (is_asked_for && coherence.mode == CoherenceMode::strict) {
    return refuse_value(arguments, "stale-if-error",
                        "nothing is served unchecked in strict; leave it away, or choose another coherence");
  }
  return *stale;
}

}  // namespace

Outcome<CacheOptions> plan_cache(const MountArguments& arguments, std::vector<std::string>& notes) {
  CacheOptions options;
  const auto size = parse_size(arguments.ram_size);
  if (!size) return refuse_value(arguments, "ram-size", size.error().doing());
  if (*size < kRamSizeMin) {
    return refuse_value(arguments, "ram-size",
                        fmt::format("'{}' is too small; give at least 1MiB", arguments.ram_size));
  }
  note_if_beyond_memory(*size, fmt::format("{} {} is", as_given(arguments, "ram-size"), arguments.ram_size),
                        notes);
  options.max_bytes = *size;
  auto policy = plan_policy(arguments);
  if (!policy) return std::unexpected(policy.error());
  options.policy = std::move(*policy);
  const auto coherence = plan_coherence(arguments);
  if (!coherence) return std::unexpected(coherence.error());
  options.coherence = *coherence;
  if (arguments.access_check == "source") {
    options.access_check = AccessCheck::source;
  } else if (arguments.access_check != "mode-bits") {
    return refuse_value(arguments, "access-check",
                        fmt::format("'{}' is neither mode-bits nor source", arguments.access_check));
  }
  const auto stale = plan_stale(arguments, *coherence);
  if (!stale) return std::unexpected(stale.error());
  options.stale_if_error = *stale;
  return options;
}

Outcome<size_t> plan_nodes(const MountArguments& arguments, std::vector<std::string>& notes) {
  const std::string& text = arguments.max_nodes;
  size_t count = 0;
  const char* const end = text.data() + text.size();
  const auto [parsed, error] = std::from_chars(text.data(), end, count);
  if (error != std::errc() || parsed != end)
    return refuse_value(arguments, "max-nodes",
                        fmt::format("'{}' is not a count; write it as 1000000", text));
  if (count < kMaxNodesMin) {
    return refuse_value(arguments, "max-nodes",
                        fmt::format("{} is too small; give at least {}", text, kMaxNodesMin));
  }
  const uint64_t bytes = count > UINT64_MAX / kNodeBytes ? UINT64_MAX : count * kNodeBytes;
  note_if_beyond_memory(bytes, fmt::format("{} {} may take", as_given(arguments, "max-nodes"), text), notes);
  return count;
}

Outcome<MountPlan> plan_mount(const MountArguments& arguments) {
  MountPlan plan;
  plan.options = option_texts(arguments);
  auto cache = plan_cache(arguments, plan.notes);
  if (!cache) return std::unexpected(cache.error());
  plan.cache = std::move(*cache);
  const auto known = plan_nodes(arguments, plan.notes);
  if (!known) return std::unexpected(known.error());
  plan.nodes.known = *known;
  if (arguments.timeout != "auto") {
    const auto limits = parse_time_limits(arguments.timeout);
    if (!limits) return refuse_value(arguments, "timeout", limits.error().doing());
    plan.limits = *limits;
  }
  auto fuse_options = check_fuse_options(arguments.fuse_options);
  if (!fuse_options) return std::unexpected(fuse_options.error());
  plan.fuse_options = std::move(*fuse_options);
  const auto kernel_features =
      check_kernel_features(arguments.kernel_features, as_given(arguments, "kernel-features"));
  if (!kernel_features) return std::unexpected(kernel_features.error());
  plan.kernel_features = *kernel_features;
  const auto locks = plan_locks(arguments, plan.cache.coherence, plan.notes);
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
