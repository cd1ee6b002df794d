#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <new>
#include <set>
#include <thread>

#include "cachefs/units.h"
#include "cli/commands.h"
#include "cli/nearest.h"
#include "cli/progress.h"
#include "simulate/plot.h"
#include "simulate/sweep.h"

namespace cachefs::cli {
namespace {

using simulate::PolicyRun;
using simulate::Unit;

constexpr const char* kDetails =
    R"(Tells what share of the recorded requests would miss, by driving the very policies
of the cache. `belady` evicts what is wanted again last: with --by objects the least
that is possible, which only who knows the future reaches; with --by bytes a guide.

TRACE formats, by the name's ending, each also compressed by zstd (.zst):
  .oracleGeneral   records of 24 bytes: time, object, size, next access
  .csv             with a first line that names `key` and perhaps `size`, or as text
  others           text: a key on each line, or time, key and size
A key should be what is cached as one: path and index of a block of 128 KiB, as in
/mnt/photos/a.jpg:3. cachefs records no traces yet; the manual page (simulate) has a
way to get one from strace.

Examples:
  cachefs simulate accesses.txt
  cachefs simulate accesses.csv --policy lru,s3-fifo,belady --size 1%,5%,10%
  cachefs simulate accesses.csv --by bytes --size 64MiB,1GiB --plot curves.svg

Exit codes: 0 done, 1 a trace or the plot's file could not be used, 2 wrong usage.)";

struct Wanted {
  std::vector<std::string> traces;
  std::vector<std::string> policies{"all"};
  std::vector<std::string> sizes{"1%", "10%"};
  std::string by = "objects";
  std::string plot;
};

/// That something is wrong with a trace is said already.
std::string sentence_of(const Error& error) {
  return error.is(std::errc::invalid_argument) ? error.doing() : error.message();
}

std::vector<std::string> known_policies() {
  std::vector<std::string> names;
  for (const EvictionPolicyInfo& policy : eviction_policies()) names.emplace_back(policy.name);
  names.emplace_back(simulate::kBelady);
  return names;
}

Outcome<std::vector<std::string>> chosen_policies(const Wanted& wanted) {
  const std::vector<std::string> known = known_policies();
  std::vector<std::string> chosen;
  for (const std::string& name : wanted.policies) {
    const bool all = name == "all";
    if (!all && std::ranges::find(known, name) == known.end()) {
      return refuse_usage(fmt::format("--policy: '{}' is not an eviction policy{}; there are: all, {}", name,
                                      did_you_mean(name, known), fmt::join(known, ", ")));
    }
    for (const std::string& policy : all ? known : std::vector{name}) {
      if (std::ranges::find(chosen, policy) == chosen.end()) chosen.push_back(policy);
    }
  }
  return chosen;
}

struct Plan {
  std::vector<std::string> policies;
  std::vector<simulate::WantedSize> sizes{};
  Unit unit = Unit::objects;
};

Outcome<Plan> plan_of(const Wanted& wanted) {
  auto policies = chosen_policies(wanted);
  if (!policies) return std::unexpected(policies.error());
  Plan plan{.policies = std::move(*policies), .unit = wanted.by == "bytes" ? Unit::bytes : Unit::objects};
  if (wanted.by != "objects" && wanted.by != "bytes")
    return refuse_usage(fmt::format("--by: '{}' is neither objects nor bytes", wanted.by));
  for (const std::string& text : wanted.sizes) {
    Result<simulate::WantedSize> size = simulate::parse_wanted_size(text, plan.unit);
    if (!size) return refuse_usage("--size: " + size.error().doing());
    plan.sizes.push_back(std::move(*size));
  }
  return plan;
}

simulate::Curves simulate_trace(const simulate::Trace& trace, const Plan& plan) {
  std::set<uint64_t> sizes;  // two that were written may be one of a small trace
  for (const simulate::WantedSize& size : plan.sizes) sizes.insert(resolve(size, trace, plan.unit));
  const simulate::SweepOptions options{.policies = plan.policies,
                                       .sizes = {sizes.begin(), sizes.end()},
                                       .unit = plan.unit,
                                       .threads = std::max(1U, std::thread::hardware_concurrency())};
  std::atomic<uint64_t> done{0};
  const std::atomic<bool> stop{false};
  const ProgressLine progress(
      {.label = trace.name,
       .unit = "requests",
       .total = trace.accesses.size() * options.policies.size() * options.sizes.size()},
      done);
  return {.trace = trace.name, .runs = sweep(trace, options, done, stop)};
}

void add_json(nlohmann::json& rows, const simulate::Curves& curves) {
  for (const PolicyRun& run : curves.runs) {
    rows.push_back({{"trace", curves.trace},
                    {"policy", run.policy},
                    {"size", run.size},
                    {"requests", run.misses.requests},
                    {"misses", run.misses.misses},
                    {"miss_ratio", run.misses.ratio()},
                    {"byte_miss_ratio", run.misses.byte_ratio()}});
  }
}

std::string size_text(uint64_t size, Unit unit) {
  return unit == Unit::bytes ? format_size(size) : fmt::format("{}", size);
}

/// A line for each policy, a column for each size; the best of a column but belady is marked.
std::string table_of(const simulate::Trace& trace, const simulate::Curves& curves, const Plan& plan) {
  std::vector<uint64_t> sizes;
  for (const PolicyRun& run : curves.runs) {
    if (sizes.empty() || sizes.back() != run.size) sizes.push_back(run.size);
  }
  std::string text = fmt::format("{}: {} requests, {} objects, {}\n{:<12}", trace.name, trace.accesses.size(),
                                 trace.objects(), format_size(trace.object_bytes), "miss ratio");
  for (const uint64_t size : sizes) text += fmt::format("{:>12} ", size_text(size, plan.unit));
  text += '\n';
  const auto at = [&](size_t size, size_t policy) -> const PolicyRun& {
    return curves.runs[size * plan.policies.size() + policy];
  };
  const auto is_best = [&](size_t size, const PolicyRun& run) {
    const auto* first = &at(size, 0);
    return run.policy != simulate::kBelady &&
           std::all_of(first, first + plan.policies.size(), [&](const PolicyRun& other) {
             return other.policy == simulate::kBelady || other.misses.misses >= run.misses.misses;
           });
  };
  for (size_t policy = 0; policy < plan.policies.size(); ++policy) {
    text += fmt::format("{:<12}", plan.policies[policy]);
    for (size_t size = 0; size < sizes.size(); ++size) {
      const PolicyRun& run = at(size, policy);
      text += fmt::format("{:>12.4f}{}", run.misses.ratio(), is_best(size, run) ? '*' : ' ');
    }
    text += '\n';
  }
  return text;
}

std::optional<Failure> write_plot(const std::string& path, const std::vector<simulate::Curves>& charts,
                                  Unit unit) {
  errno = 0;
  std::ofstream file(path);
  file << simulate::plot(charts, unit);
  file.close();
  if (file) return std::nullopt;
  return Failure{fmt::format("--plot: '{}' cannot be written ({})", path,
                             errno != 0 ? std::strerror(errno) : "the stream failed"),
                 kExitFailed};
}

int run_simulate(Format format, const Wanted& wanted) {
  const auto plan = plan_of(wanted);
  if (!plan) return report_failure(format, plan.error());
  std::vector<simulate::Curves> charts;
  nlohmann::json rows = nlohmann::json::array();
  std::string text;
  for (const std::string& path : wanted.traces) {
    try {
      const Result<simulate::Trace> trace = simulate::read_trace(path);
      if (!trace) return report_failure(format, {sentence_of(trace.error()), kExitFailed});
      if (plan->unit == Unit::bytes && !trace->has_sizes) {
        return report_failure(format, {fmt::format("'{}' has no sizes, which --by bytes needs; give lines of "
                                                   "time, key and size, or name a column `size`",
                                                   path),
                                       kExitFailed});
      }
      charts.push_back(simulate_trace(*trace, *plan));
      add_json(rows, charts.back());
      text += (text.empty() ? "" : "\n") + table_of(*trace, charts.back(), *plan);
    } catch (const std::bad_alloc&) {
      return report_failure(
          format,
          {fmt::format("'{}' is too large for this machine's memory; take a part of it", path), kExitFailed});
    }
  }
  if (!wanted.plot.empty()) {
    if (const auto failed = write_plot(wanted.plot, charts, plan->unit))
      return report_failure(format, *failed);
  }
  return report(format, rows, text);
}

}  // namespace

Command add_simulate(CLI::App& program) {
  const auto wanted = std::make_shared<Wanted>();
  CLI::App* app = program.add_subcommand("simulate", "What policies would have hit in recorded accesses");
  app->add_option("TRACE", wanted->traces, "Recorded accesses")->required()->type_name("");
  app->add_option("--policy", wanted->policies,
                  "all, or some of: " + fmt::format("{}", fmt::join(known_policies(), ", ")))
      ->delimiter(',')
      ->type_name("NAME,...=all");
  app->add_option("--size", wanted->sizes, "Objects, or with --by bytes bytes; or a share of the trace's")
      ->delimiter(',')
      ->type_name("SIZE,...=1%,10%");
  app->add_option("--by", wanted->by, "What the size counts: objects or bytes")->type_name("UNIT=objects");
  app->add_option("--plot", wanted->plot, "Draw miss-ratio curves into that file")->type_name("FILE.svg");
  app->footer(kDetails);
  return {app, [wanted](Format format) { return run_simulate(format, *wanted); }};
}

}  // namespace cachefs::cli
