// The tables of docs/SEMANTICS.md, as tests read them: what stands there is what they expect.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cachefs::test {

/// When a change on the source shows in one view of a file that is open.
struct ChangedFileCell {
  std::string mode;    ///< "strict", "close-to-open", "ttl", "immutable"
  std::string change;  ///< the row: "grow", ...
  std::string view;    ///< the column: "old handle", ...
  std::string shows;   ///< "now", "in time", "asked", "kept"

  /// Such as CloseToOpen_Grow_OldHandle: the name of its test.
  [[nodiscard]] std::string name() const;
};

/// What the source tells of an open file: of that file, or of the one that its path leads to, as sshfs does.
enum class Identity : uint8_t { file, path_alone };

/// The cells of the four tables of "Files that change elsewhere while they are open", in their order; for
/// path_alone with those that a table of such sources replaces.
std::vector<ChangedFileCell> read_changed_file_cells(Identity identity);

/// "close-to-open" as CloseToOpen.
std::string camel_case(std::string_view words);

}  // namespace cachefs::test
