#include "support/measure.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace cachefs::bench {

namespace {

struct Failure {
  std::string sentence;
};

/// Ends the program where the command line is wrong, or asks for help.
Options parse_options(int argc, char** argv, const std::string& question) {
  Options options;
  int round_ms = -1;
  int rounds = -1;
  CLI::App app(question);
  app.add_option("--rounds", rounds, "rounds of each side, interleaved")->check(CLI::PositiveNumber);
  app.add_option("--round-ms", round_ms, "length of a round")->check(CLI::PositiveNumber);
  app.add_option("--only", options.only, "of several cases, those whose name has this in it");
  app.add_flag("--quick", options.quick, "smaller and sooner");
  app.add_flag("--check", options.check, "fail also where a ratio misses its target");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
  if (options.quick) {
    options.rounds = 3;
    options.round_time = std::chrono::milliseconds(100);
  }
  if (rounds > 0) options.rounds = rounds;
  if (round_ms > 0) options.round_time = std::chrono::milliseconds(round_ms);
  return options;
}

}  // namespace

int run_benchmark(int argc, char** argv, const std::string& question,
                  const std::function<bool(const Options&)>& measure) {
  const Options options = parse_options(argc, argv, question);
  fmt::print("{}\n\n", question);
  try {
    const bool met = measure(options);
    if (!met) fmt::print("\nA ratio is below its target.\n");
    return met || !options.check ? 0 : 1;
  } catch (const Failure& failure) {
    std::fflush(stdout);
    fmt::print(stderr, "FAILED: {}\n", failure.sentence);
    return 1;
  }
}

void give_up(const std::string& sentence) { throw Failure{sentence}; }

void require(bool holds, const std::string& sentence) {
  if (!holds) give_up(sentence);
}

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {.min = values.front(), .median = median, .max = values.back()};
}

std::string format_spread(const Spread& spread, int decimals) {
  return fmt::format("{:.{}f} {:.{}f} {:.{}f}", spread.min, decimals, spread.median, decimals, spread.max,
                     decimals);
}

double seconds_since(Time begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double rate(std::chrono::nanoseconds time, const std::function<double()>& step) {
  const Time begin = std::chrono::steady_clock::now();
  double operations = 0;
  do {
    operations += step();
  } while (std::chrono::steady_clock::now() - begin < time);
  return operations / seconds_since(begin);
}

Comparison compare(int rounds, const std::function<double()>& first, const std::function<double()>& second) {
  std::vector<double> firsts, seconds, ratios;
  for (int round = 0; round < rounds; ++round) {
    const bool swapped = round % 2 == 1;
    const double early = swapped ? second() : first();
    const double late = swapped ? first() : second();
    firsts.push_back(swapped ? late : early);
    seconds.push_back(swapped ? early : late);
    ratios.push_back(firsts.back() / seconds.back());
  }
  return {.first = spread_of(firsts), .second = spread_of(seconds), .ratio = spread_of(ratios)};
}

Table::Table(const std::vector<std::string>& head) {
  for (const std::string& title : head) widths_.push_back(title.size());
  row(head);
  std::string line = "|";
  for (const size_t width : widths_) line += std::string(width + 2, '-') + "|";
  fmt::print("{}\n", line);
}

void Table::row(const std::vector<std::string>& cells) const {
  std::string line = "|";
  for (size_t i = 0; i < cells.size(); ++i) line += fmt::format(" {:<{}} |", cells[i], widths_[i]);
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

std::string format_rate(double per_second) {
  if (per_second >= 1e6) return fmt::format("{:.2f} M", per_second / 1e6);
  if (per_second >= 1e4) return fmt::format("{:.1f} k", per_second / 1e3);
  return fmt::format("{:.0f}", per_second);
}

}  // namespace cachefs::bench
