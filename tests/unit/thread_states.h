// What the threads of this process do, as the kernel sees it: for tests that need others to have come to a
// stop.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace cachefs::test {

/// Whether each thread but the calling one waits for something.
inline bool all_other_threads_sleep() {
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", error)) {
    if (task.path().filename() == std::to_string(gettid())) continue;
    std::ifstream file(task.path() / "stat");
    std::string stat;
    std::getline(file, stat);
    const size_t after_name = stat.rfind(") ");
    if (after_name != std::string::npos && stat[after_name + 2] != 'S') return false;
  }
  return !error;
}

}  // namespace cachefs::test
