// How commands speak: results on stdout, as a text or as one JSON object; errors and notes as sentences on
// stderr.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/outcome.h"

namespace cachefs::cli {

enum class Format : bool { text, json };

/// Prints `result` as JSON, or `text` for people. Returns kExitOk, or kExitFailed if stdout does not take it.
int report(Format format, const nlohmann::json& result, std::string_view text);

/// Prints the sentence on stderr, and with Format::json {"error": ...} on stdout. Returns the exit code.
int report_failure(Format format, const Failure& failure);

/// A sentence on stderr that is no failure.
void note(std::string_view sentence);

/// `path` as a word of a shell command that the user may paste: in quotes where it needs them.
std::string shell_word(std::string_view path);

/// Lines of "name   value" with the values aligned: to the left, or to the right as figures are.
enum class Align : bool { left, right };
using Rows = std::vector<std::pair<std::string, std::string>>;
std::string format_rows(const Rows& rows, Align align);

}  // namespace cachefs::cli
