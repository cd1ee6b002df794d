#include "simulate/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <future>

#include "cachefs/units.h"

namespace cachefs::simulate {
namespace {

std::unexpected<Error> not_a_size(std::string_view text, Unit unit) {
  return fail(
      std::errc::invalid_argument,
      fmt::format("'{}' is not a size; write {} or a share such as 1%", text,
                  unit == Unit::objects ? "a number of objects such as 1000" : "bytes such as 64MiB"));
}

void run(const Trace& trace, Unit unit, PolicyRun& run, const Progress& progress) {
  const CacheSize size{.capacity = run.size, .unit = unit};
  run.misses = run.policy == kBelady
                   ? simulate_belady(trace, size, progress)
                   : simulate(trace, size, *find_eviction_policy(run.policy).value()->make(), progress);
}

}  // namespace

Result<WantedSize> parse_wanted_size(std::string_view text, Unit unit) {
  WantedSize size{.text = std::string(text)};
  if (text.ends_with('%')) {
    const std::string_view digits = text.substr(0, text.size() - 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), size.percent);
    if (error != std::errc{} || end != digits.data() + digits.size() || !(size.percent > 0) ||
        size.percent > 100)
      return not_a_size(text, unit);
    return size;
  }
  if (unit == Unit::bytes) {
    const Result<uint64_t> bytes = parse_size(text);
    if (!bytes) return std::unexpected(bytes.error());
    size.units = *bytes;
  } else {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size.units);
    if (error != std::errc{} || end != text.data() + text.size()) return not_a_size(text, unit);
  }
  if (size.units == 0) return not_a_size(text, unit);
  return size;
}

uint64_t resolve(const WantedSize& size, const Trace& trace, Unit unit) {
  if (size.percent == 0) return size.units;
  const auto whole = static_cast<double>(unit == Unit::objects ? trace.objects() : trace.object_bytes);
  return std::max<uint64_t>(1, static_cast<uint64_t>(std::llround(whole * size.percent / 100)));
}

std::vector<PolicyRun> sweep(const Trace& trace, const SweepOptions& options, std::atomic<uint64_t>& done,
                             const std::atomic<bool>& stop) {
  std::vector<PolicyRun> runs;
  for (const uint64_t size : options.sizes) {
    for (const std::string& policy : options.policies) runs.push_back({.policy = policy, .size = size});
  }
  const Progress progress = [&](uint64_t accesses) {
    done.fetch_add(accesses, std::memory_order_relaxed);
    return !stop.load(std::memory_order_relaxed);
  };
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < runs.size() && !stop; i = next++) run(trace, options.unit, runs[i], progress);
  };
  std::vector<std::future<void>> helpers;
  const size_t threads = std::clamp<size_t>(options.threads, 1, runs.size());
  for (size_t i = 1; i < threads; ++i) helpers.push_back(std::async(std::launch::async, work));
  work();
  for (std::future<void>& helper : helpers) helper.get();  // throws what it threw
  return runs;
}

}  // namespace cachefs::simulate
