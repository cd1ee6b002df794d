// Which file systems the conformance suite runs over.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cachefs/clock.h"
#include "cachefs/file_system.h"

namespace cachefs::conformance {

/// A file system, empty, with whatever it stands on.
class Subject {
 public:
  virtual ~Subject() = default;
  virtual FileSystem& fs() = 0;
  /// The clock by which the file system stamps times.
  virtual Clock& clock() { return Clock::system(); }
  /// Turns that clock, where it can be turned.
  virtual void advance(std::chrono::nanoseconds /*by*/) {}
};

struct FileSystemFactory {
  std::string name;  ///< letters and digits: a part of the test's name
  std::function<std::unique_ptr<Subject>()> make;
};

/// Each test of the suite runs over each of these.
std::vector<FileSystemFactory> all_file_systems();

}  // namespace cachefs::conformance
