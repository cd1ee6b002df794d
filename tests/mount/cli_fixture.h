// Runs the cachefs program as a user does, and takes away what it left.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace cachefs::test {

struct Finished {
  int exit_code = -1;  ///< 128 + signal if a signal ended it
  std::string output;
  std::string errors;

  /// The output as one JSON object; a failure of the test if it is none.
  [[nodiscard]] nlohmann::json json() const;
};

struct RunOptions {
  std::string directory{};                 ///< the working directory; empty: the caller's
  std::vector<std::string> environment{};  ///< "NAME=value", added
  std::function<void()> prepare{};         ///< called in the child, before the program
};

/// Runs any program to its end.
Finished run_command(const std::vector<std::string>& arguments, const RunOptions& options = {});

/// Waits for `condition` by asking again; false if it does not hold within ten seconds.
bool eventually(const std::function<bool()>& condition);

/// True until the process is gone or a zombie.
bool is_running(pid_t pid);

/// A source with one file, an empty directory to mount on, both in a directory of the test's own.
class CliTest : public testing::Test {
 protected:
  void SetUp() override;
  /// Ends the daemons that `mount` started, and takes away every mount below the test's directory.
  void TearDown() override;

  /// Skips the test where nothing can be mounted; a failure where CACHEFS_TEST_REQUIRE_MOUNT is 1.
  static bool can_mount();

  Finished cachefs(std::vector<std::string> arguments, const RunOptions& options = {}) const;
  /// Mounts source on mountpoint in the background; returns the daemon's pid, which is ended with the test.
  pid_t mount(const std::vector<std::string>& options = {});
  /// Starts the program with `arguments` as a child, which is to be waited for.
  pid_t start(std::vector<std::string> arguments);
  /// The daemon is to be ended with the test.
  void remember(pid_t daemon) { daemons_.push_back(daemon); }
  [[nodiscard]] std::string socket_path() const;
  [[nodiscard]] bool is_mounted() const;
  /// Kills the daemon without a chance to clean up.
  static void kill_hard(pid_t daemon);

  std::filesystem::path folder_;
  std::string source_;
  std::string mountpoint_;

 private:
  std::vector<pid_t> daemons_;
};

/// A slowfs without delays over `files`, mounted on `place`. At its end what hangs goes on, and it is
/// unmounted.
class SlowSource {
 public:
  SlowSource(const std::string& files, std::string place);
  ~SlowSource();
  SlowSource(const SlowSource&) = delete;
  SlowSource& operator=(const SlowSource&) = delete;

  /// A command of slowfs, such as {"hang", "data"}; its answer.
  nlohmann::json control(std::vector<std::string> command) const;
  /// Waits until a request hangs there.
  [[nodiscard]] bool is_awaited() const;
  [[nodiscard]] const std::string& path() const { return place_; }

 private:
  const std::string place_;
};

/// A part of the test that needs a mount begins with it.
#define CACHEFS_REQUIRE_MOUNT()                                                  \
  if (!can_mount()) {                                                            \
    if (const char* required = std::getenv("CACHEFS_TEST_REQUIRE_MOUNT");        \
        required != nullptr && std::string(required) == "1") {                   \
      FAIL() << "/dev/fuse cannot be opened, and mount tests are required here"; \
    }                                                                            \
    GTEST_SKIP() << "/dev/fuse cannot be opened here";                           \
  }

}  // namespace cachefs::test
