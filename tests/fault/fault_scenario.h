// A run of everyday operations, each of which can tell whether it really happened.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "cachefs/path_operations.h"

namespace cachefs::test {

struct Step {
  const char* name;
  std::function<Result<void>(FileSystem&)> run;
  /// Whether what the step says it has done is there on the source.
  std::function<bool(FileSystem& source)> happened;
};

/// In order; one may need what those before it made.
std::span<const Step> scenario_steps();
/// What the steps start from, made on the source.
void make_initial_tree(FileSystem& source);

/// Everything that can be seen of a file system but access times and identities, as text: names, attributes,
/// contents, targets, extended attributes, and the errors met.
std::string snapshot(FileSystem& fs);

}  // namespace cachefs::test
