// A request that the source carried out, but whose answer was lost: the caller gets an error, and nothing
// that the cache says after it may be of before.
#include "fault/fault_scenario.h"
#include "unit/cache_stack.h"

namespace cachefs {
namespace {

using test::errno_of;
using test::kReadWrite;
using test::snapshot;
using test::write_text;

/// In a mode that asks nothing again by itself.
class LostAnswer : public test::CacheStackTest {
 protected:
  LostAnswer() : CacheStackTest({.max_bytes = kMiB, .coherence = test::for_ttl(std::chrono::hours(1))}) {}
  void SetUp() override {
    ASSERT_TRUE(mkdir(source(), "/d"));
    given("/d/f", "first");
    given("/d/g", "second");
    ASSERT_TRUE(link(source(), "/d/f", "/d/f2"));
    ASSERT_TRUE(link(source(), "/d/g", "/d/g2"));
    ASSERT_EQ(snapshot(cache()), snapshot(source()));
    pass(std::chrono::seconds(1));
  }
  /// The source does `landed` when `operation` is asked for, and then answers with an error.
  template <typename Landed>
  void lose_answer_of(Operation operation, Landed landed) {
    const auto which = [operation, landed](Operation asked) {
      if (asked != operation) return false;
      EXPECT_TRUE(landed().has_value());
      return true;
    };
    faults().fail_if(which, std::errc::timed_out);
  }
  template <typename Result>
  void expect_told_and_seen(const Result& result) {
    EXPECT_EQ(errno_of(result), ETIMEDOUT);
    faults().recover();
    EXPECT_EQ(snapshot(cache()), snapshot(source()));
  }
};

TEST_F(LostAnswer, OfAWrite) {
  auto file = open_cached("/d/f", kReadWrite);
  lose_answer_of(Operation::write,
                 [&] { return write_text(*open(source(), "/d/f", kReadWrite).value(), 1, "xyz"); });
  expect_told_and_seen(write_text(*file, 1, "xyz"));
}

TEST_F(LostAnswer, OfAnAppend) {
  auto file = open_cached("/d/f", kReadWrite);
  lose_answer_of(Operation::append,
                 [&] { return test::append_text(*open(source(), "/d/f", kReadWrite).value(), "xyz"); });
  expect_told_and_seen(test::append_text(*file, "xyz"));
}

TEST_F(LostAnswer, OfATruncation) {
  lose_answer_of(Operation::set_attributes, [&] { return truncate(source(), "/d/f", 2); });
  expect_told_and_seen(truncate(cache(), "/d/f", 2));
}

TEST_F(LostAnswer, OfAChmod) {
  lose_answer_of(Operation::set_attributes, [&] { return chmod(source(), "/d/f", 0600); });
  expect_told_and_seen(chmod(cache(), "/d/f", 0600));
}

TEST_F(LostAnswer, OfACreation) {
  lose_answer_of(Operation::create, [&] { return write_file(source(), "/d/new", ""); });
  expect_told_and_seen(write_file(cache(), "/d/new", ""));
}

TEST_F(LostAnswer, OfADirectorysCreation) {
  lose_answer_of(Operation::make, [&] { return mkdir(source(), "/d/new"); });
  expect_told_and_seen(mkdir(cache(), "/d/new"));
}

TEST_F(LostAnswer, OfALink) {
  lose_answer_of(Operation::link, [&] { return link(source(), "/d/f", "/d/new"); });
  expect_told_and_seen(link(cache(), "/d/f", "/d/new"));
}

TEST_F(LostAnswer, OfARemoval) {
  lose_answer_of(Operation::remove, [&] { return remove(source(), "/d/f"); });
  expect_told_and_seen(remove(cache(), "/d/f"));
}

TEST_F(LostAnswer, OfARename) {
  lose_answer_of(Operation::rename, [&] { return rename(source(), "/d/f", "/d/new"); });
  expect_told_and_seen(rename(cache(), "/d/f", "/d/new"));
}

TEST_F(LostAnswer, OfARenameOverAFile) {
  lose_answer_of(Operation::rename, [&] { return rename(source(), "/d/f", "/d/g"); });
  expect_told_and_seen(rename(cache(), "/d/f", "/d/g"));
}

TEST_F(LostAnswer, OfARenameOfADirectory) {
  lose_answer_of(Operation::rename, [&] { return rename(source(), "/d", "/e"); });
  expect_told_and_seen(rename(cache(), "/d", "/e"));
}

TEST_F(LostAnswer, OfAnExtendedAttribute) {
  lose_answer_of(Operation::set_xattr, [&] { return set_xattr(source(), "/d/f", "user.k", "v"); });
  expect_told_and_seen(set_xattr(cache(), "/d/f", "user.k", "v"));
}

}  // namespace
}  // namespace cachefs
