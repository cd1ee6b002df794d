// A source that hangs, fails or goes away behind a GuardedFs.
#include "cachefs/guarded_fs.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <latch>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/request_deadline.h"
#include "cachefs/decorators.h"
#include "cachefs/mem_fs.h"
#include "cachefs/path_operations.h"
#include "vfs/given_up.h"
#include "vfs/late_changes.h"
#include "vfs/write_room.h"

namespace cachefs {
namespace {

using namespace std::chrono_literals;

constexpr auto kShort = 50ms;

/// Which requests hang is decided by what is at work, not only by its kind. Kept alive by requests that hang.
struct Source {
  std::unique_ptr<FileSystem> memory = make_mem_fs({});
  FaultHook fault;
  std::unique_ptr<FileSystem> faulty = make_hooked_fs(*memory, fault);
};

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

class Guarded : public testing::Test {
 protected:
  void SetUp() override { start(kShort); }
  void TearDown() override {
    fault().recover();
    EXPECT_TRUE(eventually([&] { return guard_->health().hanging == 0; }));
  }

  void start(std::chrono::nanoseconds limit) {
    GuardOptions options;
    options.limits = {limit, limit, limit, limit, limit};
    options.probe_interval = 1ms;
    guard_ = GuardedFs::create(std::shared_ptr<FileSystem>(source_, source_->faulty.get()), options);
  }
  FaultHook& fault() { return source_->fault; }
  FileSystem& fs() { return *guard_; }
  std::unique_ptr<File> create(std::string_view name) {
    auto created = fs().create({*fs().root(), name}, {}, caller_);
    EXPECT_TRUE(created);
    return created ? std::move(created->file) : nullptr;
  }
  void hang(const std::set<Operation>& which) {
    fault().hang_if([which](Operation operation) { return which.contains(operation); });
  }
  void hang_all() {
    fault().hang_if([](Operation) { return true; });
  }
  /// What the source has, past the guard.
  std::string contents(std::string_view path) {
    auto text = read_file(*source_->memory, path);
    return text ? std::string(reinterpret_cast<const char*>(text->data()), text->size()) : "missing";
  }
  Result<Attributes> stat_root() { return fs().attributes(*fs().root(), caller_); }

  const Caller caller_ = Caller::self();
  const std::shared_ptr<Source> source_ = std::make_shared<Source>();
  std::unique_ptr<GuardedFs> guard_;
};

TEST_F(Guarded, ReadThatHangsEndsInTime) {
  const auto file = create("file");
  ASSERT_TRUE(file->write_at(0, bytes("text")));
  hang({Operation::read});
  std::array<std::byte, 4> out{};
  const auto read = file->read_at(0, out);
  ASSERT_FALSE(read);
  EXPECT_TRUE(read.error().is(std::errc::timed_out));
  EXPECT_EQ(guard_->health().timeouts, 1U);
  EXPECT_EQ(guard_->health().hanging, 1U);
  fault().recover();
  ASSERT_TRUE(eventually([&] { return guard_->health().hanging == 0; }));
  EXPECT_EQ(file->read_at(0, out), 4U);
}

TEST_F(Guarded, WhatAReadThatWasGivenUpBringsGoesNowhere) {
  const auto file = create("file");
  ASSERT_TRUE(file->write_at(0, bytes("text")));
  hang({Operation::read});
  std::array<std::byte, 4> out{};
  ASSERT_FALSE(file->read_at(0, out));
  fault().recover();
  ASSERT_TRUE(eventually([&] { return guard_->health().hanging == 0; }));
  EXPECT_EQ(out, (std::array<std::byte, 4>{}));
}

TEST_F(Guarded, WritesDoNotOvertakeOneThatWasGivenUp) {
  const auto file = create("file");
  ASSERT_TRUE(file->write_at(0, bytes("........")));
  hang({Operation::write});
  ASSERT_TRUE(file->write_at(2, bytes("late")).error().is(std::errc::timed_out));
  fault().hang_if({});  // what hangs goes on hanging
  EXPECT_TRUE(file->write_at(6, bytes("xx"))) << "does not overlap";
  EXPECT_TRUE(file->write_at(5, bytes("yy")).error().is(std::errc::timed_out));
  EXPECT_TRUE(file->set_attributes({.size = 0}, caller_).error().is(std::errc::timed_out));
  std::thread recovering([&] { fault().recover(); });
  while (!file->write_at(5, bytes("zz"))) {  // waits for the late one, and comes after it
  }
  recovering.join();
  EXPECT_EQ(contents("/file"), "..latzzx");
}

TEST_F(Guarded, NamesOfAChangeThatWasGivenUpAreNotReused) {
  create("file");
  const NodeRef root = fs().root();
  hang({Operation::remove});
  ASSERT_TRUE(fs().remove({*root, "file"}, RemoveKind::file, caller_).error().is(std::errc::timed_out));
  fault().hang_if({});
  EXPECT_TRUE(fs().create({*root, "file"}, {}, caller_).error().is(std::errc::timed_out));
  EXPECT_TRUE(fs().create({*root, "other"}, {}, caller_));
  fault().recover();
  ASSERT_TRUE(eventually([&] { return guard_->health().hanging == 0; }));
  EXPECT_EQ(contents("/file"), "missing");
  EXPECT_TRUE(fs().create({*root, "file"}, {}, caller_));
}

TEST_F(Guarded, TellsOfAChangeThatHappensLate) {
  const auto file = create("file");
  std::atomic<int> told = 0;
  guard_->set_on_late_change([&] { ++told; });
  hang({Operation::write});
  ASSERT_FALSE(file->write_at(0, bytes("late")));
  EXPECT_EQ(told, 0);
  fault().recover();
  EXPECT_TRUE(eventually([&] { return told > 0; }));
  EXPECT_EQ(contents("/file"), "late");
}

TEST_F(Guarded, ARequestNotBegunInTimeNeverBegins) {
  fault().recover();
  GuardOptions options;
  options.limits = {kShort, kShort, kShort, kShort, kShort};
  options.working = 4;  // one for each class
  options.hanging = 0;
  guard_ = GuardedFs::create(std::shared_ptr<FileSystem>(source_, source_->faulty.get()), options);
  const NodeRef root = fs().root();
  hang({Operation::remove});
  ASSERT_FALSE(fs().remove({*root, "none"}, RemoveKind::file, caller_));
  ASSERT_TRUE(stat_root());  // the source answers
  ASSERT_FALSE(fs().create({*root, "queued"}, {}, caller_));
  EXPECT_EQ(guard_->health().hanging, 1U);
  fault().recover();
  ASSERT_TRUE(eventually([&] { return guard_->health().hanging == 0; }));
  ASSERT_TRUE(fs().create({*root, "next"}, {}, caller_));
  EXPECT_EQ(contents("/queued"), "missing");
}

TEST_F(Guarded, OneFileThatHangsIsNotASourceThatIsGone) {
  start(400ms);
  const auto file = create("file");
  hang({Operation::read});
  std::array<std::byte, 1> out{};
  EXPECT_FALSE(file->read_at(0, out));
  EXPECT_TRUE(guard_->health().reachable);
  EXPECT_TRUE(stat_root());
  EXPECT_EQ(guard_->health().refused, 0U);
}

TEST_F(Guarded, ASourceThatAnswersNothingIsLeftAloneUntilItDoes) {
  hang_all();
  ASSERT_TRUE(stat_root().error().is(std::errc::timed_out));
  EXPECT_TRUE(eventually([&] { return !guard_->health().reachable; }));
  EXPECT_NE(guard_->health().trouble, "");
  const uint64_t requests = guard_->health().timeouts;
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(stat_root().error().is(std::errc::timed_out));
  EXPECT_EQ(guard_->health().timeouts, requests) << "waited for a source that does not answer";
  EXPECT_EQ(guard_->health().refused, 100U);
  fault().recover();
  EXPECT_TRUE(eventually([&] { return guard_->health().reachable; })) << "did not recover by itself";
  EXPECT_TRUE(stat_root());
}

TEST_F(Guarded, WhoWaitsIsToldWhenTheSourceIsGone) {
  start(kShort);
  GuardOptions options;
  options.limits = {kShort, 1h, 1h, 1h, 1h};
  options.probe_interval = 1ms;
  guard_ = GuardedFs::create(std::shared_ptr<FileSystem>(source_, source_->faulty.get()), options);
  const auto file = create("file");
  hang_all();
  std::thread impatient([&] { EXPECT_FALSE(stat_root()); });
  EXPECT_TRUE(file->sync(SyncKind::all).error().is(std::errc::timed_out));  // its own limit is an hour
  impatient.join();
}

TEST_F(Guarded, ASourceThatHasGoneIsAnInputOutputError) {
  const auto file = create("file");
  fault().fail_if([](Operation) { return true; }, Error::from_errno(ENOTCONN));
  std::array<std::byte, 1> out{};
  EXPECT_EQ(file->read_at(0, out).error().to_errno(), EIO);
  EXPECT_EQ(fs().lookup(*fs().root(), "file", caller_).error().to_errno(), EIO);
  EXPECT_TRUE(eventually([&] { return !guard_->health().reachable; }));
  EXPECT_EQ(fs().lookup(*fs().root(), "file", caller_).error().to_errno(), EIO);
  fault().recover();
  EXPECT_TRUE(eventually([&] { return guard_->health().reachable; }));
  EXPECT_TRUE(fs().lookup(*fs().root(), "file", caller_));
}

TEST_F(Guarded, OrdinaryErrorsAreAnswers) {
  const NodeRef root = fs().root();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(fs().lookup(*root, "none", caller_).error().to_errno(), ENOENT);
  }
  EXPECT_TRUE(guard_->health().reachable);
}

TEST_F(Guarded, HundredsThatHangDoNotHinderOthers) {
  constexpr int kHanging = 200;
  start(10s);
  const auto file = create("file");
  const auto other = create("other");
  std::atomic<int> to_hang = kHanging;
  fault().hang_if([&to_hang](Operation operation) { return operation == Operation::read && to_hang-- > 0; });
  std::vector<std::thread> threads;
  threads.reserve(kHanging);
  for (int i = 0; i < kHanging; ++i) {
    threads.emplace_back([&] {
      std::array<std::byte, 1> out{};
      EXPECT_TRUE(file->read_at(0, out));  // once recovered, in time
    });
  }
  ASSERT_TRUE(fault().wait_for_hanging(kHanging, std::chrono::steady_clock::now() + 10s));
  std::array<std::byte, 1> out{};
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(other->read_at(0, out));
  EXPECT_EQ(guard_->health().timeouts, 0U);
  fault().recover();
  for (std::thread& thread : threads) thread.join();
}

/// Begun within one limit, before any of them is given up.
TEST_F(Guarded, ABurstOnAFileThatHangsLeavesPlacesToOthers) {
  constexpr int kBurst = 200;  // more than there are places for
  GuardOptions options;
  options.limits = {20s, 20s, 20s, 20s, 20s};
  options.working = 16;
  options.hanging = 64;
  guard_ = GuardedFs::create(std::shared_ptr<FileSystem>(source_, source_->faulty.get()), options);
  const auto file = create("file");
  hang({Operation::attributes});
  std::latch begun(kBurst);
  std::vector<std::thread> threads;
  threads.reserve(kBurst);
  for (int i = 0; i < kBurst; ++i) {
    threads.emplace_back([&] {
      begun.count_down();
      EXPECT_TRUE(file->attributes());  // once recovered, in time
    });
  }
  begun.wait();
  ASSERT_TRUE(fault().wait_for_hanging(options.hanging / 2, std::chrono::steady_clock::now() + 10s));
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(fs().lookup(*fs().root(), "file", caller_));
  EXPECT_EQ(guard_->health().timeouts, 0U);
  fault().recover();
  for (std::thread& thread : threads) thread.join();
}

/// Reads that are given up are tried again and again.
TEST_F(Guarded, OneFileThatHangsLeavesPlacesToOthers) {
  const auto file = create("file");
  const auto other = create("other");
  ASSERT_TRUE(other->write_at(0, bytes("text")));
  hang({Operation::read});
  std::array<std::byte, 4> out{};
  for (uint32_t i = 0; i < GivenUp::kOfOneMax; ++i) ASSERT_FALSE(file->read_at(0, out));
  const uint64_t waited = guard_->health().timeouts;
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(file->read_at(0, out).error().is(std::errc::timed_out));
  EXPECT_EQ(guard_->health().timeouts, waited) << "waited for a file that hangs";
  EXPECT_EQ(guard_->health().hanging, GivenUp::kOfOneMax);
  fault().hang_if({});  // what hangs goes on hanging
  EXPECT_EQ(other->read_at(0, out), 4U);
  EXPECT_FALSE(file->attributes()) << "it may hang as well";
  fault().recover();
  ASSERT_TRUE(eventually([&] { return guard_->health().hanging == 0; }));
  EXPECT_TRUE(file->read_at(0, out));
}

TEST_F(Guarded, ANameThatHangsLeavesOthersOfTheDirectoryAlone) {
  create("file");
  const NodeRef root = fs().root();
  hang({Operation::lookup});
  for (uint32_t i = 0; i < GivenUp::kOfOneMax; ++i) ASSERT_FALSE(fs().lookup(*root, "file", caller_));
  fault().hang_if({});
  const uint64_t refused = guard_->health().refused;
  EXPECT_FALSE(fs().lookup(*root, "file", caller_));
  EXPECT_EQ(guard_->health().refused, refused + 1);
  EXPECT_EQ(fs().lookup(*root, "other", caller_).error().to_errno(), ENOENT);
}

TEST_F(Guarded, WritesThatWereGivenUpHoldLimitedMemory) {
  start(2s);
  constexpr size_t kSize = 1 << 20;
  const std::vector<std::byte> large(kSize);
  std::vector<std::unique_ptr<File>> files;
  for (int i = 0; i < 9; ++i) files.push_back(create("file" + std::to_string(i)));
  hang({Operation::write});
  std::vector<std::thread> threads;
  for (size_t i = 0; i < WriteRoom::kMax / kSize; ++i) {
    threads.emplace_back([&, i] { EXPECT_FALSE(files[i / 8]->write_at((i % 8) * kSize, large)); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(guard_->health().hanging_bytes, WriteRoom::kMax);
  fault().hang_if({});
  const uint64_t refused = guard_->health().refused;
  EXPECT_TRUE(files[8]->write_at(0, large).error().is(std::errc::timed_out));
  EXPECT_EQ(guard_->health().refused, refused + 1);
  fault().recover();
  ASSERT_TRUE(eventually([&] { return guard_->health().hanging == 0; }));
  EXPECT_EQ(guard_->health().hanging_bytes, 0U);
  EXPECT_TRUE(eventually([&] { return files[8]->write_at(0, large).has_value(); }));
}

TEST(LateChanges, OfARootThatWasLetGoOfBindNobodyOnTheNext) {
  const auto memory = make_mem_fs({});
  const NodeRef root = memory->root();
  LateChanges late;
  const auto change = [&](uint64_t instance) {
    return ChangeExtents{.all = {{.node = root, .name = "name"}}, .instance = instance};
  };
  const auto now = std::chrono::steady_clock::now();
  const auto ticket = late.add(change(0));
  EXPECT_FALSE(late.wait_for(change(0), now));
  EXPECT_TRUE(late.wait_for(change(1), now));
  late.remove(ticket);
}

/// Files that only need to be told apart.
class WriteRooms : public ::testing::Test {
 protected:
  [[nodiscard]] WriteShare share(size_t file, uint64_t bytes) const {
    return {files_[file]->root().get(), bytes};
  }
  static WriteRoom::Time at_once() { return std::chrono::steady_clock::now(); }
  bool take(const WriteShare& share, uint64_t left_behind, WriteRoom::Time deadline) {
    return room_.take(share, left_behind, deadline, room_.round());
  }
  WriteRoom room_;

 private:
  const std::array<std::unique_ptr<FileSystem>, 3> files_{make_mem_fs({}), make_mem_fs({}), make_mem_fs({})};
};

TEST_F(WriteRooms, AreWaitedForUnlessTheyAreLeftBehind) {
  ASSERT_TRUE(take(share(0, WriteRoom::kMax), 0, WriteRoom::Time::min()));
  EXPECT_FALSE(take(share(1, 1), 0, at_once())) << "until the deadline";
  EXPECT_FALSE(take(share(1, 1), WriteRoom::kMax, WriteRoom::Time::max())) << "at once";
  std::thread waiting([&] { EXPECT_TRUE(take(share(1, 1), 0, WriteRoom::Time::max())); });
  room_.give_back(share(0, WriteRoom::kMax));
  waiting.join();
  room_.give_back(share(1, 1));
  EXPECT_EQ(room_.used(), 0U);
}

TEST_F(WriteRooms, AreNotUsedUpByOneFile) {
  ASSERT_TRUE(take(share(0, WriteRoom::kOfOneMax), 0, at_once()));
  EXPECT_FALSE(take(share(0, 1), 0, at_once()));
  EXPECT_TRUE(take(share(1, 1), 0, at_once()));
  room_.give_back(share(0, WriteRoom::kOfOneMax));
  EXPECT_TRUE(take(share(0, 1), 0, at_once()));
}

TEST_F(WriteRooms, AreAllForOneThatIsLarger) {
  ASSERT_TRUE(take(share(0, 2 * WriteRoom::kMax), 0, WriteRoom::Time::min()));
  EXPECT_EQ(room_.used(), WriteRoom::kMax);
  room_.give_back(share(0, 2 * WriteRoom::kMax));
  EXPECT_EQ(room_.used(), 0U);
}

TEST_F(WriteRooms, GoToWhoCameFirst) {
  ASSERT_TRUE(take(share(0, WriteRoom::kMax - 4), 0, at_once()));
  std::thread first([&] { EXPECT_TRUE(take(share(1, 8), 0, WriteRoom::Time::max())); });
  EXPECT_TRUE(eventually([&] { return room_.waiting() == 1; }));
  EXPECT_FALSE(take(share(2, 4), 0, at_once())) << "there is room, but not for the first";
  room_.give_back(share(0, WriteRoom::kMax - 4));
  first.join();
  EXPECT_TRUE(take(share(2, 4), 0, at_once()));
}

TEST_F(WriteRooms, OfOneFileKeepNoOtherWaiting) {
  ASSERT_TRUE(take(share(0, WriteRoom::kOfOneMax), 0, at_once()));
  std::thread first([&] { EXPECT_TRUE(take(share(0, 2), 0, WriteRoom::Time::max())); });
  EXPECT_TRUE(eventually([&] { return room_.waiting() == 1; }));
  EXPECT_TRUE(take(share(1, 4), 0, at_once()));
  EXPECT_FALSE(take(share(0, 0), 0, at_once())) << "of the same file";
  room_.give_back(share(0, WriteRoom::kOfOneMax));
  first.join();
}

TEST_F(WriteRooms, AreNotWaitedForOnceAllAreRefused) {
  ASSERT_TRUE(take(share(0, WriteRoom::kMax), 0, at_once()));
  std::thread first([&] { EXPECT_FALSE(take(share(1, 1), 0, WriteRoom::Time::max())); });
  EXPECT_TRUE(eventually([&] { return room_.waiting() == 1; }));
  const WriteRoom::Round before = room_.round();
  room_.refuse_waiting();
  first.join();
  EXPECT_FALSE(room_.take(share(1, 1), 0, WriteRoom::Time::max(), before)) << "who was about to wait";
  room_.give_back(share(0, WriteRoom::kMax));
}

TEST_F(Guarded, WhoWaitsForRoomForAWriteIsToldWhenTheSourceIsGone) {
  GuardOptions options;
  options.limits = {500ms, 1h, 1h, 1h, 1h};
  options.probe_interval = 1ms;
  guard_ = GuardedFs::create(std::shared_ptr<FileSystem>(source_, source_->faulty.get()), options);
  const auto file = create("file");
  const std::vector<std::byte> all(WriteRoom::kOfOneMax);
  hang_all();
  std::thread hanging([&] { EXPECT_FALSE(file->write_at(0, all)); });
  ASSERT_TRUE(fault().wait_for_hanging(1, std::chrono::steady_clock::now() + 10s));
  std::thread impatient([&] { EXPECT_FALSE(stat_root()); });
  EXPECT_TRUE(file->write_at(all.size(), bytes("x")).error().is(std::errc::timed_out));
  impatient.join();
  hanging.join();
}

TEST_F(Guarded, AChangeBehindALateOneIsToldWhenTheSourceIsGone) {
  GuardOptions options;
  options.limits = {500ms, 1h, 1h, 1h, 1h};
  options.probe_interval = 1ms;
  guard_ = GuardedFs::create(std::shared_ptr<FileSystem>(source_, source_->faulty.get()), options);
  create("file");
  const NodeRef root = fs().root();
  hang({Operation::remove});
  {
    const RequestDeadline soon(std::chrono::steady_clock::now() + 20ms);
    ASSERT_FALSE(fs().remove({*root, "file"}, RemoveKind::file, caller_));
  }
  hang_all();
  std::thread impatient([&] { EXPECT_FALSE(stat_root()); });
  EXPECT_TRUE(fs().create({*root, "file"}, {}, caller_).error().is(std::errc::timed_out));
  impatient.join();
}

TEST_F(Guarded, ALateListingIsNotReadFromTwice) {
  create("file");
  auto stream = fs().open_directory(*fs().root(), caller_);
  ASSERT_TRUE(stream);
  hang({Operation::read_directory});
  EXPECT_FALSE((*stream)->next_batch());
  fault().hang_if({});
  EXPECT_TRUE((*stream)->next_batch().error().is(std::errc::timed_out));
}

/// A request of several parts may have little time left for the last.
TEST_F(Guarded, AShortRestOfARequestSaysNothingOfTheSource) {
  start(10s);
  hang({Operation::lookup, Operation::attributes});
  {
    const RequestDeadline soon(std::chrono::steady_clock::now() + 20ms);
    EXPECT_TRUE(fs().lookup(*fs().root(), "none", caller_).error().is(std::errc::timed_out));
  }
  EXPECT_TRUE(guard_->health().reachable);
}

TEST_F(Guarded, AClassWithoutALimitDoesNotMakeTheOthersImpatient) {
  GuardOptions options;
  options.limits = {10s, 10s, 0s, 10s, 10s};
  options.probe_interval = 1ms;
  guard_ = GuardedFs::create(std::shared_ptr<FileSystem>(source_, source_->faulty.get()), options);
  const auto file = create("file");
  hang({Operation::attributes});  // a look at the root
  fault().fail_if([](Operation operation) { return operation == Operation::read; }, Error::from_errno(EIO));
  std::array<std::byte, 1> out{};
  EXPECT_EQ(file->read_at(0, out).error().to_errno(), EIO);
  ASSERT_TRUE(fault().wait_for_hanging(3, std::chrono::steady_clock::now() + 10s));
  EXPECT_TRUE(guard_->health().reachable);
  fault().recover();
  EXPECT_TRUE(eventually([&] { return fault().hanging() == 0; }));
}

TEST_F(Guarded, TellsNothingAfterItsEnd) {
  std::atomic<int> told = 0;
  GuardOptions options;
  options.limits = {kShort, kShort, kShort, kShort, kShort};
  options.on_change = [&told](const SourceHealth&) { ++told; };
  guard_ = GuardedFs::create(std::shared_ptr<FileSystem>(source_, source_->faulty.get()), options);
  hang_all();
  EXPECT_FALSE(stat_root());
  EXPECT_TRUE(eventually([&] { return !guard_->health().reachable; }));
  guard_.reset();
  const int before = told;
  fault().recover();
  EXPECT_TRUE(eventually([&] { return fault().hanging() == 0; }));
  start(kShort);
  EXPECT_TRUE(eventually([&] { return stat_root().has_value(); }));
  EXPECT_EQ(told, before);
}

TEST_F(Guarded, EndsWithoutWaitingForWhatHangs) {
  hang_all();
  EXPECT_FALSE(stat_root());
  ASSERT_TRUE(fault().wait_for_hanging(1, std::chrono::steady_clock::now() + 10s));
  guard_.reset();
  EXPECT_GT(fault().hanging(), 0U);
  fault().recover();
  EXPECT_TRUE(eventually([&] { return fault().hanging() == 0; }));
  start(kShort);  // for TearDown
}

TEST(TimeLimits, AreWrittenAsTheyAreRead) {
  const auto all = parse_time_limits("20s");
  ASSERT_TRUE(all);
  EXPECT_EQ(*all, (TimeLimits{20s, 20s, 20s, 20s, 20s}));
  const auto some = parse_time_limits("read=5s,sync=none");
  ASSERT_TRUE(some);
  EXPECT_EQ(some->read, 5s);
  EXPECT_EQ(some->sync, 0s);
  EXPECT_EQ(some->write, TimeLimits{}.write);
  EXPECT_EQ(parse_time_limits("none"), TimeLimits::none());
  for (const TimeLimits& limits : {*all, *some, TimeLimits{}}) {
    EXPECT_EQ(parse_time_limits(format_time_limits(limits)), limits) << format_time_limits(limits);
  }
}

TEST(TimeLimits, NonsenseIsNamed) {
  for (const char* text : {"", "fast", "-1s", "reads=5s", "read=", "read=5s,", "5s,read=3s"}) {
    const auto limits = parse_time_limits(text);
    ASSERT_FALSE(limits) << text;
    EXPECT_NE(limits.error().doing().find("metadata=5s"), std::string::npos) << limits.error().doing();
  }
}

}  // namespace
}  // namespace cachefs
