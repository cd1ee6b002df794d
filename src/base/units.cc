#include "cachefs/units.h"

#include <fmt/format.h>

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>
#include <span>

namespace cachefs {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr double kTera = 1e12;
constexpr std::array<Unit, 18> kSizeUnits{{
    {"", 1},
    {"b", 1},
    {"k", static_cast<double>(kKiB)},
    {"m", static_cast<double>(kMiB)},
    {"g", static_cast<double>(kGiB)},
    {"t", static_cast<double>(1024 * kGiB)},
    {"p", static_cast<double>(1024 * 1024 * kGiB)},
    {"kib", static_cast<double>(kKiB)},
    {"mib", static_cast<double>(kMiB)},
    {"gib", static_cast<double>(kGiB)},
    {"tib", static_cast<double>(1024 * kGiB)},
    {"pib", static_cast<double>(1024 * 1024 * kGiB)},
    {"kb", 1e3},
    {"mb", 1e6},
    {"gb", 1e9},
    {"tb", kTera},
    {"pb", 1e15},
    {"bytes", 1},
}};

constexpr std::array<Unit, 7> kDurationUnits{
    {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}}};

/// The number at the start of `text` times the unit after it; nothing if it is not of that form, negative or
/// too large.
std::optional<double> parse_with_unit(std::string_view text, std::span<const Unit> units) {
  double number = 0;
  const auto [end, status] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (status != std::errc() || !std::isfinite(number) || std::signbit(number)) return std::nullopt;
  std::string unit(end, text.data() + text.size());
  unit.erase(0, unit.find_first_not_of(' ') == std::string::npos ? unit.size() : unit.find_first_not_of(' '));
  for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const Unit& known : units) {
    if (known.name == unit) return number * known.factor;
  }
  return std::nullopt;
}

constexpr double kLargestCount = 9.2e18;  // both results fit into 63 bits

}  // namespace

Result<uint64_t> parse_size(std::string_view text) {
  const auto bytes = parse_with_unit(text, kSizeUnits);
  if (bytes && *bytes > kLargestCount) {
    return fail(
        std::errc::invalid_argument,
        fmt::format("'{}' is too large a size; write it like 512M, 64MiB or 1.5G, up to 8000P", text));
  }
  if (!bytes) {
    return fail(std::errc::invalid_argument,
                fmt::format("'{}' is not a size; write it like 512M, 64MiB, 1.5G or 100MB", text));
  }
  return static_cast<uint64_t>(*bytes);
}

Result<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  if (text == "0") return std::chrono::nanoseconds(0);
  const auto nanoseconds = parse_with_unit(text, kDurationUnits);
  if (nanoseconds && *nanoseconds > kLargestCount) {
    return fail(std::errc::invalid_argument,
                fmt::format("'{}' is too long; at most 106000d are possible", text));
  }
  if (!nanoseconds) {
    return fail(std::errc::invalid_argument,
                fmt::format("'{}' is not a duration; write it like 5ms, 60s, 5m or 1h", text));
  }
  return std::chrono::nanoseconds(static_cast<int64_t>(std::llround(*nanoseconds)));
}

std::string format_size(uint64_t bytes) {
  constexpr std::array<std::string_view, 7> kNames{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < kKiB) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kNames[unit]);
}

std::string format_duration(std::chrono::nanoseconds duration) {
  const double value = static_cast<double>(duration.count());
  for (size_t i = kDurationUnits.size(); i-- > 0;) {
    const Unit& unit = kDurationUnits[i];
    if (value >= unit.factor) return fmt::format("{:.4g} {}", value / unit.factor, unit.name);
  }
  return "0 s";
}

}  // namespace cachefs
