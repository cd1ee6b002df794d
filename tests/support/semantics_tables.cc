#include "support/semantics_tables.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <string_view>
#include <utility>

namespace cachefs::test {
namespace {

/// The cells of a line of a table, without blanks and backticks around them; empty: it is none.
std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells;
  if (!line.starts_with("|")) return cells;
  for (size_t begin = 1; begin < line.size();) {
    const size_t end = std::min(line.find('|', begin), line.size());
    std::string cell = line.substr(begin, end - begin);
    std::erase(cell, '`');
    const size_t first = cell.find_first_not_of(' ');
    const size_t last = cell.find_last_not_of(' ');
    cells.push_back(first == std::string::npos ? "" : cell.substr(first, last - first + 1));
    begin = end + 1;
  }
  return cells;
}

bool is_rule(const std::vector<std::string>& cells) { return cells.front().starts_with("--"); }

}  // namespace

std::string camel_case(std::string_view words) {
  std::string result;
  bool starts_word = true;
  for (const char character : words) {
    const auto code = static_cast<unsigned char>(character);
    if (std::isalnum(code) == 0) {
      starts_word = true;
      continue;
    }
    result += starts_word ? static_cast<char>(std::toupper(code)) : character;
    starts_word = false;
  }
  return result;
}

std::string ChangedFileCell::name() const {
  return camel_case(mode) + "_" + camel_case(change) + "_" + camel_case(view);
}

std::vector<ChangedFileCell> read_changed_file_cells(Identity identity) {
  constexpr std::string_view kPathAlone = ", by path";
  std::vector<ChangedFileCell> result;
  std::ifstream document(CACHEFS_SEMANTICS_DOCUMENT);
  std::vector<std::string> header;  // of the table that is being read; empty: of none that counts
  for (std::string line; std::getline(document, line);) {
    const std::vector<std::string> cells = cells_of(line);
    if (cells.empty()) {
      header.clear();
    } else if (cells.size() > 1 && cells[1] == "old handle") {
      header = cells;
    } else if (!header.empty() && !is_rule(cells)) {
      for (size_t i = 1; i < std::min(cells.size(), header.size()); ++i)
        result.push_back({.mode = header[0], .change = cells[0], .view = header[i], .shows = cells[i]});
    }
  }
  const auto is_special = [&](const ChangedFileCell& cell) { return cell.mode.ends_with(kPathAlone); };
  const std::vector<ChangedFileCell> all = std::exchange(result, {});
  for (const ChangedFileCell& usual : all) {
    if (is_special(usual)) continue;
    const auto replaces = [&](const ChangedFileCell& cell) {
      return cell.mode == usual.mode + std::string(kPathAlone) && cell.change == usual.change &&
             cell.view == usual.view;
    };
    const auto special = std::ranges::find_if(all, replaces);
    result.push_back(identity == Identity::path_alone && special != all.end() ? *special : usual);
    result.back().mode = usual.mode;
  }
  return result;
}

}  // namespace cachefs::test
