// Places that a mount can serve: a directory as it is, through slowfs, and through sshfs from a server of the
// test's own.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cachefs::test {

/// A child that ends with the test, however that ends.
class ChildProcess {
 public:
  /// `end_signal`: what ends it in order. What it prints goes to the file `log`.
  ChildProcess(const std::vector<std::string>& arguments, int end_signal, const std::string& log);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  [[nodiscard]] bool is_running() const;
  /// What it has printed so far.
  [[nodiscard]] std::string printed() const;

 private:
  const int end_signal_;
  const std::string log_;
  pid_t pid_ = -1;
};

class SourcePlace {
 public:
  virtual ~SourcePlace() = default;
  /// The directory that a cache is to serve; empty: it could not be made.
  [[nodiscard]] virtual const std::string& path() const = 0;
};

/// "Directory", "Slowfs" or "Sshfs", over the directory `files`, with what it needs in `room` (an empty
/// directory that outlives it). Failures of the test if it cannot be made.
std::unique_ptr<SourcePlace> make_source_place(std::string_view kind, const std::string& files,
                                               const std::filesystem::path& room);

/// Whether the programs of that kind are installed.
bool can_make_source_place(std::string_view kind);

/// Takes away what is mounted at `place`, if anything is.
void unmount_if_mounted(const std::string& place);
bool is_mount(const std::string& place);

}  // namespace cachefs::test
