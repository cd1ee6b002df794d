// The examples of docs/SEMANTICS.md of locks at the source.
#include <latch>
#include <thread>

#include "cachefs/decorators.h"
#include "cachefs/lock_store.h"
#include "cachefs/mem_fs.h"
#include "unit/semantics_fixture.h"

namespace cachefs {
namespace {

using std::chrono::seconds;
using test::errno_of;
using test::read_text;
using test::SemanticsTest;

/// Gets a lock of /d/f and gives it back.
int lock_and_unlock(FileSystem& fs) {
  const NodeRef node = resolve(fs, "/d/f").value().node;
  const LockOwner owner{.family = LockFamily::record, .number = 1};
  const auto locked = fs.locks()->set(*node, {.owner = owner, .mode = LockMode::shared}, Caller::self());
  EXPECT_TRUE(fs.locks()->release(*node, owner));
  return errno_of(locked);
}

/// Where two changes within two seconds may look like one.
class CoarseLockSemantics : public SemanticsTest {
 protected:
  CoarseLockSemantics()
      : SemanticsTest({.max_bytes = 8 * kMiB, .coherence = {}},
                      {.version_source = VersionSource::timestamps, .timestamp_granule = seconds(2)}) {}
};

TEST_F(CoarseLockSemantics, S60) {
  const auto file = open_cached("/d/f");
  given("/d/f", "other");  // of the same size, in the same step
  EXPECT_EQ(read_text(*file, 0, 5), "hello");
  ASSERT_EQ(lock_and_unlock(cache()), 0);
  EXPECT_EQ(read_text(*file, 0, 5), "other");
  pass(seconds(2));
  ASSERT_EQ(lock_and_unlock(cache()), 0);
  EXPECT_EQ(read_text(*file, 0, 5), "other");
  requests().reset();
  ASSERT_EQ(lock_and_unlock(cache()), 0);
  EXPECT_EQ(read_text(*file, 0, 5), "other");
  EXPECT_EQ(requests().reads(), 0U) << "settled, and of the same version";
}

/// Holds the answers to reads back until they are let go.
class HeldAnswers final : public OperationHook {
 public:
  Result<void> before(Operation /*operation*/, uint64_t /*bytes*/) override { return {}; }
  void after(Operation operation, uint64_t /*bytes*/, bool /*ok*/) override {
    if (operation != Operation::read) return;
    read_.count_down();
    let_go_.wait();
  }
  void wait_for_read() { read_.wait(); }
  void let_go() { let_go_.count_down(); }

 private:
  std::latch read_{1};
  std::latch let_go_{1};
};

TEST(LockSemantics, S61) {
  ManualClock clock;
  const auto source = make_mem_fs(
      {.version_source = VersionSource::timestamps, .timestamp_granule = seconds(2), .clock = &clock});
  ASSERT_TRUE(mkdir(*source, "/d"));
  ASSERT_TRUE(write_file(*source, "/d/f", "hello"));
  HeldAnswers answers;
  const auto held = make_hooked_fs(*source, answers);
  CacheOptions options;
  options.clock = &clock;
  const auto cache = std::move(CacheFs::create(*held, options).value());
  const auto file = std::move(open(*cache, "/d/f", {.read = true, .write = true}).value());
  std::thread reader([&] { EXPECT_EQ(read_text(*file, 0, 5).size(), 5U); });
  answers.wait_for_read();
  ASSERT_TRUE(write_file(*source, "/d/f", "other"));  // of the same size, in the same step
  EXPECT_EQ(lock_and_unlock(*cache), 0);
  answers.let_go();
  reader.join();
  EXPECT_EQ(read_text(*file, 0, 5), "other");
}

}  // namespace
}  // namespace cachefs
