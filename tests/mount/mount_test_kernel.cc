// What the kernel keeps in front of a cached mount, and when it is told that it is no longer true.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "mount/mount_test_fixture.h"

namespace cachefs::test {
namespace {

std::function<bool(Operation)> is(Operation wanted) {
  return [wanted](Operation operation) { return operation == wanted; };
}

auto deadline() { return std::chrono::steady_clock::now() + kDeadline; }

uint64_t size_of(const std::string& path) {
  struct stat status{};
  return stat(path.c_str(), &status) == 0 ? static_cast<uint64_t>(status.st_size) : UINT64_MAX;
}

/// What is known stays so for much longer than a test takes, unless the kernel is told otherwise.
class KilledChange : public MountTest {
 protected:
  [[nodiscard]] CacheOptions cache_options() const override {
    return {.coherence = {.mode = CoherenceMode::ttl, .ttl = std::chrono::hours(1)}};
  }

  /// A child makes a change, is killed while the source works at `operation`, and is answered; the change is
  /// made afterwards. `between` runs before that.
  void kill_during(Operation operation, const std::function<void()>& change,
                   const std::function<void()>& between) {
    fault_.hang_if(is(operation));
    const pid_t child = fork();
    if (child == 0) {
      close_range(3, ~0U, 0);  // a session's device that stays open here would keep the mount alive
      change();
      _exit(0);
    }
    const bool reached = fault_.wait_for_hanging(1, deadline());
    kill(child, SIGKILL);
    int status = 0;
    const bool ended = eventually([&] { return waitpid(child, &status, WNOHANG) == child; });
    if (reached && ended) between();
    fault_.recover();
    ASSERT_TRUE(reached);
    ASSERT_TRUE(ended);
    EXPECT_TRUE(WIFSIGNALED(status));
  }
};
INSTANTIATE_TEST_SUITE_P(, KilledChange, testing::Values(SourceKind::cached), source_name);

TEST_P(KilledChange, OfANameIsToldToTheKernelWhenItIsDone) {
  ASSERT_EQ(write_file(at("file"), "text"), 0);
  kill_during(
      Operation::remove, [&] { unlink(at("file").c_str()); }, [&] { EXPECT_EQ(size_of(at("file")), 4U); });
  EXPECT_TRUE(eventually([&] { return access(at("file").c_str(), F_OK) != 0; }));
}

TEST_P(KilledChange, OfTwoNamesIsToldToTheKernelWhenItIsDone) {
  ASSERT_EQ(write_file(at("old"), "text"), 0);
  kill_during(
      Operation::rename, [&] { rename(at("old").c_str(), at("new").c_str()); },
      [&] {
        EXPECT_EQ(size_of(at("old")), 4U);
        EXPECT_EQ(size_of(at("new")), UINT64_MAX);
      });
  EXPECT_TRUE(eventually([&] { return size_of(at("old")) == UINT64_MAX && size_of(at("new")) == 4; }));
}

TEST_P(KilledChange, ByAnOpenThatTruncatesIsToldToTheKernelWhenItIsDone) {
  ASSERT_EQ(write_file(at("file"), "text"), 0);
  kill_during(
      Operation::set_attributes, [&] { open(at("file").c_str(), O_WRONLY | O_TRUNC); },
      [&] { EXPECT_EQ(size_of(at("file")), 4U); });
  EXPECT_TRUE(eventually([&] { return size_of(at("file")) == 0; }));
  EXPECT_EQ(contents_of(at("file")), "");
}

}  // namespace
}  // namespace cachefs::test
