// The examples of docs/SEMANTICS.md of a source that fails, hangs or goes away.
#include <thread>

#include "cachefs/guarded_fs.h"
#include "unit/semantics_fixture.h"

namespace cachefs {
namespace {

using std::chrono::seconds;
using test::CloseToOpenSemantics;
using test::errno_of;
using test::read_text;
using test::TtlSemantics;
using test::write_text;

TEST_F(CloseToOpenSemantics, S37) {
  given("/d/g", "there");
  const auto file = open_cached("/d/g");
  faults().fail_nth(1, Error(std::errc::io_error));
  EXPECT_EQ(read_text(*file, 0, 5), "error: " + Error(std::errc::io_error).message());
  EXPECT_EQ(read_text(*file, 0, 5), "there");
}

TEST_F(TtlSemantics, S38) {
  faults().fail_if([](Operation) { return true; }, Error(std::errc::io_error));
  EXPECT_EQ(cached("/d/f"), "hello") << "what needs no question needs no source";
  pass(seconds(60));
  EXPECT_EQ(errno_of(read_file(cache(), "/d/f")), EIO) << "nothing is served past its time";
  faults().recover();
}

class GuardedSemantics : public testing::Test {
 protected:
  void TearDown() override {
    stack_->faults.recover();
    while (guarded_->health().hanging != 0) std::this_thread::yield();
  }
  FileSystem& fs() { return *guarded_; }

  static constexpr std::chrono::milliseconds kLimit{50};
  const std::shared_ptr<test::CacheStack> stack_ = std::make_shared<test::CacheStack>();
  const std::unique_ptr<GuardedFs> guarded_ = GuardedFs::create(
      test::make_faulty_source(stack_), {.limits = {kLimit, kLimit, kLimit, kLimit, kLimit}});
};

TEST_F(GuardedSemantics, S46) {
  ASSERT_TRUE(write_file(fs(), "/f", "text"));
  stack_->faults.hang_if([](Operation operation) { return operation == Operation::read; });
  EXPECT_EQ(errno_of(read_file(fs(), "/f")), ETIMEDOUT);
  EXPECT_TRUE(stat(fs(), "/f")) << "other requests go on";
}

TEST_F(GuardedSemantics, S47) {
  ASSERT_TRUE(write_file(fs(), "/f", "text"));
  stack_->faults.hang_if([](Operation operation) { return operation == Operation::remove; });
  ASSERT_EQ(errno_of(remove(fs(), "/f")), ETIMEDOUT);
  EXPECT_EQ(errno_of(rename(fs(), "/f", "/g")), ETIMEDOUT) << "the removal might come later";
  EXPECT_TRUE(write_file(fs(), "/other", "text"));
}

class StaleSemantics : public CloseToOpenSemantics {
 protected:
  StaleSemantics() : CloseToOpenSemantics({.stale_if_error = std::chrono::hours(1)}) {}
};

TEST_F(StaleSemantics, S48) {
  ASSERT_EQ(cached("/d/f"), "hello");
  ASSERT_EQ(errno_of(stat(cache(), "/d/none")), ENOENT);
  faults().fail_if([](Operation) { return true; }, Error(std::errc::io_error));
  pass(std::chrono::minutes(59));
  EXPECT_EQ(cached("/d/f"), "hello");
  EXPECT_EQ(errno_of(stat(cache(), "/d/none")), EIO);
  pass(std::chrono::minutes(2));
  EXPECT_EQ(errno_of(read_file(cache(), "/d/f")), EIO);
  faults().recover();
}

TEST_F(StaleSemantics, S49) {
  const auto guarded =
      GuardedFs::create(test::make_faulty_source(stack_), {.probe_interval = std::chrono::milliseconds(1)});
  auto made = CacheFs::create(*guarded, {.stale_if_error = std::chrono::hours(1), .clock = &stack_->clock});
  ASSERT_TRUE(made);
  ASSERT_EQ(read_file(**made, "/d/f").value_or(""), "hello");
  faults().fail_if([](Operation) { return true; }, Error::from_errno(ENOTCONN));
  pass(seconds(2));
  EXPECT_TRUE(stat(**made, "/d/f"));
  while (!guarded->reachability()->outage()) std::this_thread::yield();
  EXPECT_EQ(errno_of(chmod(**made, "/d/f", 0600)), EIO);
  EXPECT_EQ(read_file(**made, "/d/f").value_or(""), "hello");
  faults().recover();
}

/// Kept alive by what the guard lets go of after its end.
struct KeptSource {
  std::unique_ptr<FileSystem> memory = make_mem_fs({});
  FaultHook faults;
  std::unique_ptr<FileSystem> faulty = make_hooked_fs(*memory, faults);
};

TEST(HangingSemantics, S50) {
  const auto source = std::make_shared<KeptSource>();
  ASSERT_TRUE(write_file(*source->memory, "/f", "hello"));
  const TimeLimits limits{.metadata = std::chrono::milliseconds(200), .write = std::chrono::hours(1)};
  const auto guarded =
      GuardedFs::create(std::shared_ptr<FileSystem>(source, source->faulty.get()), {.limits = limits});
  const auto made = CacheFs::create(*guarded, {.coherence = {}}).value();
  const auto file = open(*made, "/f", test::kReadWrite).value();
  source->faults.hang_if([](Operation operation) { return operation == Operation::write; });
  std::jthread writing([&] { EXPECT_TRUE(write_text(*file, 0, "J")); });
  ASSERT_TRUE(source->faults.wait_for_hanging(1, std::chrono::steady_clock::now() + seconds(20)));
  EXPECT_EQ(errno_of(open(*made, "/f")), ETIMEDOUT);
  EXPECT_EQ(source->faults.hanging(), 1U) << "the write's own limit is an hour";
  source->faults.recover();
  writing.join();
  EXPECT_EQ(read_file(*made, "/f").value_or(""), "Jello");
}

}  // namespace
}  // namespace cachefs
