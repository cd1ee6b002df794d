#include "cli/output.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace cachefs::cli {
namespace {

bool print(std::FILE* stream, std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stream) == text.size();
  return std::fflush(stream) == 0 && written;
}

std::string dump(const nlohmann::json& value) {
  return value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace

int report(Format format, const nlohmann::json& result, std::string_view text) {
  const bool printed = print(stdout, format == Format::json ? dump(result) : std::string(text));
  return printed ? kExitOk : kExitFailed;
}

int report_failure(Format format, const Failure& failure) {
  note("cachefs: " + failure.sentence);
  if (format == Format::json) print(stdout, dump({{"error", failure.sentence}}));
  return failure.exit_code;
}

void note(std::string_view sentence) { print(stderr, std::string(sentence) + "\n"); }

std::string shell_word(std::string_view path) {
  constexpr std::string_view kHarmless =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-+,:@%=";
  if (!path.empty() && path.find_first_not_of(kHarmless) == std::string_view::npos) return std::string(path);
  std::string quoted = "'";
  for (const char c : path) {
    if (c == '\'') quoted += "'\\'";
    quoted += c;
  }
  return quoted + "'";
}

std::string format_rows(const Rows& rows, Align align) {
  size_t name_width = 0;
  size_t value_width = 0;
  for (const auto& [name, value] : rows) {
    name_width = std::max(name_width, name.size());
    value_width = std::max(value_width, value.size());
  }
  std::string text;
  for (const auto& [name, value] : rows) {
    text += align == Align::right ? fmt::format("{:<{}}  {:>{}}\n", name, name_width, value, value_width)
                                  : fmt::format("{:<{}}  {}\n", name, name_width, value);
  }
  return text;
}

}  // namespace cachefs::cli
