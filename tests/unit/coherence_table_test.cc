// The table "When the source is asked" of docs/SEMANTICS.md: a test for each row, in each mode. tests/docs
// checks that both have the same rows and modes.
#include <atomic>
#include <thread>

#include "unit/cache_stack.h"

namespace cachefs {
namespace {

using std::chrono::hours;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using test::errno_of;
using test::read_text;

constexpr nanoseconds kVeryLong = hours(24 * 365 * 100);

struct Mode {
  const char* name;
  Coherence coherence;
};

/// /d/f ("hello"), /d/s (a symlink to f), all of which is known and fresh, and /d/f open.
class CoherenceTable : public test::CacheStackTest, public ::testing::WithParamInterface<Mode> {
 protected:
  CoherenceTable() : CacheStackTest({.max_bytes = 8 * kMiB, .coherence = GetParam().coherence}) {}
  void SetUp() override {
    ASSERT_TRUE(mkdir(source(), "/d"));
    given("/d/f", "hello");
    ASSERT_TRUE(symlink(source(), "f", "/d/s"));
    root_ = cache().root();
    directory_ = cache().lookup(*root_, "d", caller_).value().node;
    file_ = cache().lookup(*directory_, "f", caller_).value().node;
    link_ = cache().lookup(*directory_, "s", caller_).value().node;
    ASSERT_TRUE(cache().open_directory(*directory_, caller_));
    ASSERT_TRUE(cache().read_link(*link_, caller_));
    ASSERT_EQ(errno_of(cache().lookup(*directory_, "nothing", caller_)), ENOENT);
    handle_ = cache().open(*file_, {}, caller_).value().file;
    ASSERT_EQ(read_text(*handle_, 0, 100), "hello");
    ASSERT_TRUE(cache().statistics(*root_));
    requests().reset();
  }
  void TearDown() override {
    handle_ = {};
    root_ = directory_ = file_ = link_ = {};
    CacheStackTest::TearDown();
  }

  [[nodiscard]] static CoherenceMode mode() { return GetParam().coherence.mode; }
  [[nodiscard]] static bool is(CoherenceMode wanted) { return mode() == wanted; }
  /// How often the source was asked by that; all was `asked_for`.
  template <typename Use>
  uint64_t asked_by(Use use, Operation asked_for) {
    requests().reset();
    use();
    EXPECT_EQ(requests().total(), requests().count(asked_for)) << "and nothing else is asked";
    return requests().total();
  }
  /// Strict: asked each time. Immutable: never. Else once the time of the mode is over, and then once.
  template <typename Use>
  void expect_asked_in_time(Use use, Operation asked_for) {
    if (is(CoherenceMode::strict)) {
      for (int i = 0; i < 3; ++i) EXPECT_EQ(asked_by(use, asked_for), 1U);
    } else if (is(CoherenceMode::immutable)) {
      pass(kVeryLong);
      EXPECT_EQ(asked_by(use, asked_for), 0U);
    } else {
      pass(GetParam().coherence.metadata_ttl() - nanoseconds(1));
      EXPECT_EQ(asked_by(use, asked_for), 0U) << "just within";
      pass(nanoseconds(1));
      EXPECT_EQ(asked_by(use, asked_for), 1U) << "just over";
      EXPECT_EQ(asked_by(use, asked_for), 0U) << "known anew";
    }
  }
  /// The modes that check at each open ask each time.
  template <typename Use>
  void expect_asked_at_each(Use use, Operation asked_for) {
    if (!GetParam().coherence.checks_at_open()) return expect_asked_in_time(use, asked_for);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(asked_by(use, asked_for), 1U);
  }
  /// What is left of the mode's time when a quarter of it is over; strict: nothing.
  template <typename Validity>
  void expect_left(Validity validity) {
    const nanoseconds all = GetParam().coherence.metadata_ttl();
    if (is(CoherenceMode::immutable)) {
      pass(kVeryLong);
      EXPECT_GT(validity(), kVeryLong);
      return;
    }
    pass(all / 4);
    EXPECT_EQ(validity(), all - all / 4);
  }

  Caller caller_;
  NodeRef root_;
  NodeRef directory_;
  NodeRef file_;
  NodeRef link_;
  std::unique_ptr<File> handle_;
};

TEST_P(CoherenceTable, LookUp) {
  expect_asked_in_time([&] { ASSERT_TRUE(cache().lookup(*directory_, "f", caller_)); }, Operation::lookup);
}

TEST_P(CoherenceTable, NegativeLookUp) {
  expect_asked_in_time([&] { ASSERT_EQ(errno_of(cache().lookup(*directory_, "nothing", caller_)), ENOENT); },
                       Operation::lookup);
}

TEST_P(CoherenceTable, Stat) {
  expect_asked_in_time([&] { ASSERT_TRUE(cache().attributes(*file_, caller_)); }, Operation::attributes);
}

TEST_P(CoherenceTable, TargetOfASymlink) {
  // It is as old as the symlink's attributes, which a look-up or a stat renews.
  const auto follow = [&] { ASSERT_EQ(cache().read_link(*link_, caller_).value_or(""), "f"); };
  if (is(CoherenceMode::strict)) return expect_asked_in_time(follow, Operation::read_link);
  EXPECT_EQ(asked_by(follow, Operation::read_link), 0U);
  if (is(CoherenceMode::immutable)) return expect_asked_in_time(follow, Operation::read_link);
  pass(GetParam().coherence.metadata_ttl());
  EXPECT_EQ(asked_by(follow, Operation::read_link), 1U);
  ASSERT_TRUE(cache().attributes(*link_, caller_));
  EXPECT_EQ(asked_by(follow, Operation::read_link), 0U);
}

TEST_P(CoherenceTable, Listing) {
  expect_asked_at_each([&] { ASSERT_TRUE(cache().open_directory(*directory_, caller_)); },
                       Operation::attributes);
}

TEST_P(CoherenceTable, OpenForReading) {
  expect_asked_at_each(
      [&] {
        const auto opened = cache().open(*file_, {}, caller_);
        ASSERT_TRUE(opened);
        ASSERT_EQ(read_text(*opened->file, 0, 5), "hello");
      },
      Operation::attributes);
}

TEST_P(CoherenceTable, OpenForWriting) {
  const auto open_it = [&] { ASSERT_TRUE(cache().open(*file_, {.write = true}, caller_)); };
  for (int i = 0; i < 3; ++i) EXPECT_EQ(asked_by(open_it, Operation::open), 1U);
}

TEST_P(CoherenceTable, Data) {
  const auto read = [&] { ASSERT_EQ(read_text(*handle_, 0, 5), "hello"); };
  if (is(CoherenceMode::ttl)) return expect_asked_in_time(read, Operation::attributes);
  pass(kVeryLong);
  EXPECT_EQ(asked_by(read, Operation::attributes), 0U) << "until the next open";
}

TEST_P(CoherenceTable, DataAtTheEnd) {
  expect_asked_in_time([&] { ASSERT_EQ(read_text(*handle_, 0, 6), "hello"); }, Operation::attributes);
}

TEST_P(CoherenceTable, ExtendedAttributes) {
  const auto get = [&] { ASSERT_EQ(errno_of(cache().xattrs()->get(*file_, "user.a", caller_)), ENODATA); };
  for (int i = 0; i < 3; ++i) EXPECT_EQ(asked_by(get, Operation::get_xattr), 1U);
}

TEST_P(CoherenceTable, Statfs) {
  const auto ask = [&] { ASSERT_TRUE(cache().statistics(*root_)); };
  if (!is(CoherenceMode::immutable)) return expect_asked_in_time(ask, Operation::statistics);
  EXPECT_EQ(asked_by(ask, Operation::statistics), 0U);
  pass(seconds(1));
  EXPECT_EQ(asked_by(ask, Operation::statistics), 1U) << "free space changes all the same";
}

TEST_P(CoherenceTable, KernelNames) {
  expect_left([&] { return cache().name_validity(*directory_, "f", file_.get()); });
  EXPECT_EQ(cache().name_validity(*directory_, "nothing", nullptr),
            cache().name_validity(*directory_, "f", file_.get()));
}

TEST_P(CoherenceTable, KernelAttributes) {
  expect_left([&] { return cache().validity(*file_).attributes; });
}

/// What an open by another finds decides what the kernel may keep over it.
TEST_P(CoherenceTable, KernelPages) {
  const auto open_and_tell = [&] {
    EXPECT_TRUE(cache().open(*file_, {}, caller_));
    return cache().validity(*file_).data_generation;
  };
  const uint64_t first = open_and_tell();
  EXPECT_EQ(open_and_tell(), first) << "unchanged";
  given("/d/f", "HELLO");
  if (GetParam().coherence.checks_at_open()) {
    EXPECT_NE(open_and_tell(), first);
    return;
  }
  EXPECT_EQ(open_and_tell(), first);
  pass(is(CoherenceMode::ttl) ? GetParam().coherence.ttl : kVeryLong);
  EXPECT_EQ(open_and_tell() == first, is(CoherenceMode::immutable));
}

TEST_P(CoherenceTable, KernelListings) {
  const auto open_and_tell = [&] {
    const auto stream = cache().open_directory(*directory_, caller_);
    EXPECT_TRUE(stream);
    return cache().generation_of(**stream);
  };
  const auto first = open_and_tell();
  EXPECT_EQ(open_and_tell(), first) << "unchanged";
  given("/d/new", "");
  if (GetParam().coherence.checks_at_open()) {
    EXPECT_NE(open_and_tell(), first);
    return;
  }
  EXPECT_EQ(open_and_tell(), first);
  pass(is(CoherenceMode::ttl) ? GetParam().coherence.ttl : kVeryLong);
  EXPECT_EQ(open_and_tell() == first, is(CoherenceMode::immutable));
}

INSTANTIATE_TEST_SUITE_P(Mode, CoherenceTable,
                         ::testing::Values(Mode{"Strict", {.mode = CoherenceMode::strict}},
                                           Mode{"CloseToOpen", {}}, Mode{"Ttl", test::for_ttl(seconds(60))},
                                           Mode{"Immutable", {.mode = CoherenceMode::immutable}}),
                         [](const auto& test) { return test.param.name; });

// --- What the table does not say

class StrictTest : public test::CacheStackTest {
 protected:
  StrictTest() : CacheStackTest({.max_bytes = 8 * kMiB, .coherence = {.mode = CoherenceMode::strict}}) {}
};

TEST_F(StrictTest, AQuestionDoesNotShareTheAnswerToAnEarlierOne) {
  given("/f", "old");
  const NodeRef file = resolve(cache(), "/f").value().node;
  for (const Operation asked : {Operation::attributes, Operation::lookup}) {
    const auto size = [&] {
      const Caller caller;
      if (asked == Operation::attributes) return cache().attributes(*file, caller).value().size;
      return cache().lookup(*cache().root(), "f", caller).value().attributes.size;
    };
    given("/f", "old");
    std::atomic<bool> first{true};
    faults().hang_if([&](Operation operation) { return operation == asked && first.exchange(false); });
    std::jthread earlier([&] { size(); });
    ASSERT_TRUE(faults().wait_for_hanging(1, std::chrono::steady_clock::now() + seconds(20)));
    given("/f", "longer");
    EXPECT_EQ(size(), 6U) << "answered, though the earlier question still hangs";
    faults().recover();
  }
}

class ImmutableTest : public test::CacheStackTest, public ::testing::WithParamInterface<InodeNumbers> {
 protected:
  ImmutableTest()
      : CacheStackTest(
            {.max_bytes = 8 * kMiB, .block_size = 16 * kKiB, .coherence = {.mode = CoherenceMode::immutable}},
            {.inode_numbers = GetParam()}) {}
};

TEST_P(ImmutableTest, ATargetIsReadOnce) {
  ASSERT_TRUE(symlink(source(), "target", "/s"));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(read_link(cache(), "/s").value_or(""), "target");
  EXPECT_EQ(requests().count(Operation::read_link), 1U);
}

TEST_P(ImmutableTest, OurOwnChangesShow) {
  given("/f", "hello");
  EXPECT_EQ(cached("/f"), "hello");
  EXPECT_EQ(cached("/new"), "error: " + Error(std::errc::no_such_file_or_directory).message());
  ASSERT_TRUE(write_file(cache(), "/f", "ours"));
  ASSERT_TRUE(write_file(cache(), "/new", "ours too"));
  EXPECT_EQ(cached("/f"), "ours");
  EXPECT_EQ(cached("/new"), "ours too");
}

TEST_P(ImmutableTest, AFileThatChangedAllTheSameIsNeverMixed) {
  given("/f", std::string(50'000, 'a'));
  const auto file = open_cached("/f");
  EXPECT_EQ(read_text(*file, 0, 1), "a");
  given("/f", std::string(50'000, 'b'));
  pass(hours(1));
  EXPECT_EQ(read_text(*file, 0, 50'000), std::string(50'000, 'b')) << "the fetch of the rest has seen it";
}

TEST_P(ImmutableTest, WhatWasInvalidatedIsAskedAnew) {
  given("/f", "hello");
  EXPECT_EQ(cached("/f"), "hello");
  given("/f", "HELLO");
  EXPECT_EQ(cached("/f"), "hello");
  cache().invalidate("/f");
  EXPECT_EQ(cached("/f"), "HELLO");
}

INSTANTIATE_TEST_SUITE_P(Identity, ImmutableTest,
                         ::testing::Values(InodeNumbers::unique, InodeNumbers::none, InodeNumbers::random),
                         [](const auto& test) {
                           return test.param == InodeNumbers::unique ? "Stable"
                                  : test.param == InodeNumbers::none ? "NoInodeNumbers"
                                                                     : "RandomInodeNumbers";
                         });

TEST(CoherenceOptions, NegativeTimesAreRefused) {
  const auto memory = make_mem_fs();
  for (const Coherence& coherence :
       {Coherence{.mode = CoherenceMode::ttl, .ttl = seconds(-1)}, Coherence{.attribute_ttl = seconds(-1)}}) {
    const auto made = CacheFs::create(*memory, {.coherence = coherence});
    ASSERT_FALSE(made);
    EXPECT_NE(made.error().message().find("negative time"), std::string::npos);
  }
}

}  // namespace
}  // namespace cachefs
