// Measuring side by side, and telling what came out.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace cachefs::bench {

/// What every benchmark is told on its command line.
struct Options {
  int rounds = 9;  ///< of each side, interleaved
  std::chrono::milliseconds round_time{300};
  bool quick = false;  ///< smaller and sooner: for a look, not for figures
  std::string only{};  ///< where a benchmark has several cases: those whose name has this in it
  bool check = false;  ///< a ratio below its target is a failure, too
};

/// The main function of a benchmark: reads the command line, prints the question and runs `measure`, which
/// returns whether all targets were met. Exit codes: 0; 1 if what was measured is not what the benchmark
/// says, or, with --check, a target was missed; 2 for wrong usage.
int run_benchmark(int argc, char** argv, const std::string& question,
                  const std::function<bool(const Options&)>& measure);

/// What is measured is not what the benchmark says. Leaves through run_benchmark(), so that mounts and files
/// are taken away; in the main thread alone.
[[noreturn]] void give_up(const std::string& sentence);
void require(bool holds, const std::string& sentence);
/// The value, or give_up(): `what` failed.
template <typename Result>
auto need(Result result, const std::string& what) {
  if (!result) give_up(what + ": " + result.error().message());
  if constexpr (!std::is_void_v<typename Result::value_type>) return std::move(*result);
}

struct Spread {
  double min = 0;
  double median = 0;
  double max = 0;
};
Spread spread_of(std::vector<double> values);
/// "0.97 1.01 1.04"
std::string format_spread(const Spread& spread, int decimals = 2);

using Time = std::chrono::steady_clock::time_point;
double seconds_since(Time begin);

/// Repeats `step`, which says how many operations it did, for about `time`; returns operations per second.
double rate(std::chrono::nanoseconds time, const std::function<double()>& step);

struct Comparison {
  Spread first;  ///< per second
  Spread second;
  Spread ratio;  ///< first / second, of neighbouring rounds
};
/// Rounds of both sides in turn; who begins alternates, so that drift hits both alike.
Comparison compare(int rounds, const std::function<double()>& first, const std::function<double()>& second);

/// A table in Markdown's form, printed as it grows: the widths are those of the head.
class Table {
 public:
  explicit Table(const std::vector<std::string>& head);
  void row(const std::vector<std::string>& cells) const;

 private:
  std::vector<size_t> widths_;
};

/// "1.27 M", "84.3 k", "912"
std::string format_rate(double per_second);

}  // namespace cachefs::bench
