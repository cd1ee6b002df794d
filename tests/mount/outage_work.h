// Programs that work on a mount while its source hangs, fails or goes away, and say whether what they got can
// be true.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace cachefs::test {

/// What a program has met so far; shared between it and the test.
struct Progress {
  std::atomic<uint64_t> succeeded{0};    ///< calls
  std::atomic<uint64_t> failed{0};       ///< calls, with an error that says that the source is not there
  std::atomic<int64_t> longest_ns{0};    ///< of one call
  std::atomic<const char*> longest{""};  ///< which that was
  std::atomic<int> last_error{0};
  std::atomic<const char*> last_failed{""};
  std::atomic<bool> is_told_to_end{false};
  std::atomic<bool> complained{false};
  char complaint[512] = {};  ///< the first thing that cannot be true

  void complain(const std::string& text);
};

/// One kind of work, over files of its own below `mount`, which shows the directory `files`.
class Work {
 public:
  Work(std::string mount, std::string files) : mount_(std::move(mount)), files_(std::move(files)) {}
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  virtual ~Work() = default;

  /// Makes what the work needs, in `files`. Called in the test's process.
  virtual void prepare() = 0;
  /// A few calls. Errors of an outage are counted and survived.
  virtual void step(Progress& progress) = 0;
  /// Once the source is back: what must be there is, on the mount as in `files`.
  virtual void verify(Progress& progress) = 0;

 protected:
  /// What `call` returns; it fails by -1 and errno. Counted, and timed.
  static ssize_t counted(Progress& progress, const char* what, const std::function<ssize_t()>& call);

  const std::string mount_;
  const std::string files_;
};

/// "SequentialRead", "RandomWrites", "NameStorm" or "Walk".
std::unique_ptr<Work> make_work(const std::string& kind, const std::string& mount, const std::string& files,
                                uint64_t seed);

/// Runs a work in a child process until it is told to end, then its verification.
class Worker {
 public:
  explicit Worker(std::unique_ptr<Work> work);
  /// Kills what has not ended.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  [[nodiscard]] Progress& progress() const { return *progress_; }
  /// Lets the work end and be verified. False: it does not end.
  [[nodiscard]] bool ends();

 private:
  Progress* progress_ = nullptr;  ///< in memory that both processes have
  pid_t child_ = -1;
};

}  // namespace cachefs::test
