#include "cachefs/time_limits.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "cachefs/units.h"

namespace cachefs {
namespace {

using Member = std::chrono::nanoseconds TimeLimits::*;

constexpr std::array<std::pair<std::string_view, Member>, 5> kClasses{{{"metadata", &TimeLimits::metadata},
                                                                       {"read", &TimeLimits::read},
                                                                       {"write", &TimeLimits::write},
                                                                       {"names", &TimeLimits::name_change},
                                                                       {"sync", &TimeLimits::sync}}};

std::unexpected<Error> not_limits(std::string_view text) {
  return fail(std::errc::invalid_argument,
              fmt::format("'{}' is no time limit; use none, a duration like 30s, or limits by class like "
                          "metadata=5s,read=20s,write=1m,names=20s,sync=10m",
                          text));
}

Result<std::chrono::nanoseconds> parse_limit(std::string_view text) {
  if (text == "none") return std::chrono::nanoseconds(0);
  return parse_duration(text);
}

}  // namespace

Result<TimeLimits> parse_time_limits(std::string_view text) {
  TimeLimits limits;
  if (text.find('=') == std::string_view::npos) {
    const auto all = parse_limit(text);
    if (!all) return not_limits(text);
    for (const auto& [name, member] : kClasses) limits.*member = *all;
    return limits;
  }
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view part = text.substr(begin, end - begin);
    const size_t equals = part.find('=');
    const auto known =
        std::ranges::find(kClasses, part.substr(0, equals), &decltype(kClasses)::value_type::first);
    const auto limit = equals == std::string_view::npos ? Result<std::chrono::nanoseconds>(not_limits(part))
                                                        : parse_limit(part.substr(equals + 1));
    if (known == kClasses.end() || !limit) return not_limits(part);
    limits.*known->second = *limit;
    begin = end + 1;
  }
  return limits;
}

std::string format_time_limits(const TimeLimits& limits) {
  std::string text;
  for (const auto& [name, member] : kClasses) {
    const std::chrono::nanoseconds limit = limits.*member;
    std::string duration = limit.count() == 0 ? "none" : format_duration(limit);
    std::erase(duration, ' ');
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", name, duration);
  }
  return text;
}

bool is_unreachable(const Error& error) {
  static constexpr std::array kCodes{ETIMEDOUT,    EIO,          ENOTCONN,    ESHUTDOWN, EHOSTDOWN,
                                     EHOSTUNREACH, ENETDOWN,     ENETUNREACH, ENETRESET, ECONNREFUSED,
                                     ECONNRESET,   ECONNABORTED, ENOLINK,     EREMOTEIO, ECOMM};
  return std::ranges::find(kCodes, error.to_errno()) != kCodes.end();
}

}  // namespace cachefs
