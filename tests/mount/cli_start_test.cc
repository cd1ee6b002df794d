// A mount whose source hangs before there is anything to see.
#include <gmock/gmock.h>

#include <csignal>
#include <memory>

#include "mount/cli_fixture.h"

namespace cachefs::test {
namespace {

using testing::HasSubstr;

/// Over a slowfs. What a mount asks first is attributes; the last is the statistics of the file system.
class Start : public CliTest {
 protected:
  void SetUp() override {
    CACHEFS_REQUIRE_MOUNT();
    CliTest::SetUp();
    std::filesystem::create_directory(source_ + "/directory");
    slow_ = std::make_unique<SlowSource>(source_, folder_ / "slow");
  }
  void TearDown() override {
    slow_.reset();
    CliTest::TearDown();
  }
  Finished try_to_mount(std::vector<std::string> more) {
    more.insert(more.begin(), {"mount", slow_->path(), "--timeout", "300ms"});
    return cachefs(more);
  }
  /// Of a directory that is not a mount, as --over needs one.
  Finished try_to_mount_over() {
    return cachefs({"mount", "--over", slow_->path() + "/directory", "--timeout", "300ms"});
  }
  void expect_complaint(const Finished& run) {
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_THAT(run.errors, HasSubstr("the source '" + slow_->path() + "' has not answered for 300 ms"));
    EXPECT_FALSE(is_mounted());
  }

  std::unique_ptr<SlowSource> slow_;
};

TEST_F(Start, ASourceThatHangsIsNamed) {
  slow_->control({"hang"});
  expect_complaint(try_to_mount({mountpoint_}));
  expect_complaint(try_to_mount({mountpoint_, "--foreground"}));
  const Finished over = try_to_mount_over();
  EXPECT_EQ(over.exit_code, 1);
  EXPECT_THAT(over.errors, HasSubstr("the source '" + slow_->path() + "/directory' has not answered"));
  slow_->control({"recover"});
  const Finished run = try_to_mount({mountpoint_, "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  remember(run.json().value("pid", 0));
}

TEST_F(Start, ASourceThatHangsForTheDaemonAloneIsNamed) {
  slow_->control({"hang", "statistics"});
  expect_complaint(try_to_mount({mountpoint_}));
  expect_complaint(try_to_mount({mountpoint_, "--foreground"}));
}

TEST_F(Start, ASignalEndsTheWaiting) {
  for (const char* hangs : {"statistics", "metadata"}) {
    slow_->control({"hang", hangs});
    const pid_t child = start({"mount", "--foreground", slow_->path(), mountpoint_, "--timeout", "none"});
    ASSERT_TRUE(slow_->is_awaited());
    ::kill(child, SIGINT);
    EXPECT_TRUE(eventually([&] { return !is_running(child); })) << hangs;
    slow_->control({"recover"});
    ASSERT_TRUE(eventually([&] { return slow_->control({"stats"}).value("hanging", 1) == 0; }));
  }
}

}  // namespace
}  // namespace cachefs::test
