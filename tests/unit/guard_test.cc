// What requests to a source hold, and for how long.
#include "vfs/guard.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "base/request_deadline.h"
#include "cachefs/mem_fs.h"

namespace cachefs {
namespace {

using namespace std::chrono_literals;

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

/// A guard with one place for writes, which are all that is limited; and what hangs in it.
class GuardOfOne : public testing::Test {
 protected:
  GuardOfOne() {
    TimeLimits limits = TimeLimits::none();
    limits.write = 50ms;
    guard_ = Guard::create(std::shared_ptr<FileSystem>(make_mem_fs({})),
                           {.limits = limits, .working = 4, .hanging = 0, .probe_interval = 1ms});
  }
  ~GuardOfOne() override {
    hangs_ = false;
    EXPECT_TRUE(eventually([&] { return guard_->health().hanging == 0; }));
    guard_->leave();
  }
  /// Errors of a write that hangs, holding `held`.
  std::error_code write(std::shared_ptr<int> held) {
    const Result<void> answer = guard_->call(Guard::Kind::write, {}, {}, [this, held = std::move(held)] {
      ++begun_;
      while (hangs_) std::this_thread::yield();
      return Result<void>();
    });
    return answer ? std::error_code() : answer.error().code();
  }

  std::shared_ptr<Guard> guard_;
  std::atomic<bool> hangs_{true};
  std::atomic<int> begun_{0};
};

TEST_F(GuardOfOne, ARequestThatNeverBeganLetsGoOfAllItHolds) {
  const auto held = std::make_shared<int>(0);
  std::vector<std::thread> hanging;  // in all places
  for (int i = 0; i < 4; ++i) hanging.emplace_back([&] { EXPECT_EQ(write(held), std::errc::timed_out); });
  for (std::thread& thread : hanging) thread.join();
  const int begun = begun_;
  EXPECT_GT(begun, 0);
  const long held_by_hanging = held.use_count();
  EXPECT_EQ(held_by_hanging, begun + 1) << "those that never began hold nothing";
  for (int i = 0; i < 10; ++i) EXPECT_EQ(write(held), std::errc::timed_out);
  EXPECT_EQ(held.use_count(), held_by_hanging);
  EXPECT_EQ(begun_, begun);
}

TEST_F(GuardOfOne, ARequestThatWasGivenUpLetsGoOnceItReturns) {
  const auto held = std::make_shared<int>(0);
  EXPECT_EQ(write(held), std::errc::timed_out);
  EXPECT_EQ(held.use_count(), 2);
  hangs_ = false;
  EXPECT_TRUE(eventually([&] { return held.use_count() == 1; }));
}

/// A source of which another instance may be taken up.
class Replaceable final : public Reachability {
 public:
  Result<void> check() override { return {}; }
  [[nodiscard]] uint64_t epoch() const override { return current; }
  std::atomic<uint64_t> current{0};
};

class ReplaceableFs final : public FileSystem {
 public:
  [[nodiscard]] const Capabilities& capabilities() const override { return base_->capabilities(); }
  NodeRef root() override { return base_->root(); }
  Result<Entry> lookup(Node&, std::string_view, const Caller&) override { return none(); }
  Result<Attributes> attributes(Node&, const Caller&) override { return none(); }
  Result<Attributes> set_attributes(Node&, const AttributeChange&, const Caller&) override { return none(); }
  Result<OpenedFile> open(Node&, const OpenFlags&, const Caller&) override { return none(); }
  Result<CreatedFile> create(Place, const CreateOptions&, const Caller&) override { return none(); }
  Result<Entry> make(Place, const NewNode&, const Caller&) override { return none(); }
  Result<Entry> link(Node&, Place, const Caller&) override { return none(); }
  Result<void> remove(Place, RemoveKind, const Caller&) override { return none(); }
  Result<void> rename(Place, Place, RenameMode, const Caller&) override { return none(); }
  Result<std::string> read_link(Node&, const Caller&) override { return none(); }
  Result<std::unique_ptr<DirectoryStream>> open_directory(Node&, const Caller&) override { return none(); }
  Result<void> sync_directory(Node&) override { return none(); }
  Result<FileSystemStatistics> statistics(Node&) override { return none(); }
  Reachability* reachability() override { return &replaceable; }

  Replaceable replaceable;

 private:
  static std::unexpected<Error> none() { return fail(std::errc::operation_not_supported); }
  const std::unique_ptr<FileSystem> base_ = make_mem_fs({});
};

/// It waits for a place while the source is replaced, begins on the new one, and hangs there.
TEST(Guard, AChangeBindsTheRootOnWhichItBegan) {
  const auto source = std::make_shared<ReplaceableFs>();
  TimeLimits limits = TimeLimits::none();
  limits.write = 10s;
  const auto guard =
      Guard::create(source, {.limits = limits, .working = 4, .hanging = 0, .probe_interval = 1ms});
  const NodeRef root = source->root();
  std::atomic<bool> first_hangs{true};
  std::atomic<bool> second_hangs{true};
  std::atomic<int> begun{0};
  const auto change = [&](const char* name, std::atomic<bool>& hangs) {
    return guard->call(Guard::Kind::write, {root.get(), name}, {{.node = root, .name = name}}, [&] {
      ++begun;
      while (hangs) std::this_thread::yield();
      return Result<void>();
    });
  };
  std::thread first([&] { EXPECT_TRUE(change("first", first_hangs)); });
  ASSERT_TRUE(eventually([&] { return begun == 1; }));
  std::thread second([&] {
    const RequestDeadline soon(std::chrono::steady_clock::now() + 500ms);
    EXPECT_FALSE(change("second", second_hangs));
  });
  ASSERT_TRUE(eventually([&] { return guard->load(Guard::Kind::write).queued == 1; }));
  ++source->replaceable.current;
  first_hangs = false;
  first.join();
  ASSERT_TRUE(eventually([&] { return begun == 2; }));
  second.join();
  EXPECT_TRUE(guard->is_late({{.node = root, .name = "second"}})) << "on the new one";
  second_hangs = false;
  EXPECT_TRUE(eventually([&] { return guard->health().hanging == 0; }));
  guard->leave();
}

}  // namespace
}  // namespace cachefs
