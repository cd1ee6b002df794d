// Attributes, and what a change shows.
#include "conformance/fixture.h"

namespace cachefs::conformance {
namespace {

class AttributesOf : public FileSystemTest {
 protected:
  Attributes set(Node& node, const AttributeChange& change) {
    auto after = fs().set_attributes(node, change, caller());
    EXPECT_EQ(errno_of(after), 0);
    return after.value_or(Attributes{});
  }
  Attributes chmod(Node& node, uint32_t mode) {
    AttributeChange change;
    change.mode = mode;
    return set(node, change);
  }
};
RUN_OVER_ALL_FILE_SYSTEMS(AttributesOf);

TEST_P(AttributesOf, ChmodSetsTheMode) {
  const Entry file = make_file("file");
  EXPECT_EQ(chmod(*file.node, 0600).mode, 0600U);
  EXPECT_EQ(attributes(*file.node).mode, 0600U);
}

TEST_P(AttributesOf, HandleAndNodeTellTheSame) {
  const Entry entry = make_file("file", "abc");
  auto file = open(*entry.node);
  write(*file, 3, "def");
  const auto by_handle = file->attributes();
  ASSERT_EQ(errno_of(by_handle), 0);
  EXPECT_EQ(by_handle->size, 6U);
  EXPECT_EQ(by_handle->version, attributes(*entry.node).version);
}

TEST_P(AttributesOf, ChownSetsTheOwnerForRoot) {
  if (caller().uid != 0) GTEST_SKIP() << "needs root";
  const Entry file = make_file("file");
  AttributeChange change;
  change.uid = 1234;
  change.gid = 5678;
  const Attributes after = set(*file.node, change);
  EXPECT_EQ(after.uid, 1234U);
  EXPECT_EQ(after.gid, 5678U);
}

TEST_P(AttributesOf, TimesAreKeptToTheGranule) {
  REQUIRE_CAPABILITY(can().shows_changes);
  const Entry file = make_file("file");
  const Timestamp atime{std::chrono::seconds(1'000'000'000)};
  const Timestamp mtime{std::chrono::seconds(1'100'000'000)};
  AttributeChange change;
  change.atime = TimeChange{.now = false, .time = atime};
  change.mtime = TimeChange{.now = false, .time = mtime};
  const Attributes after = set(*file.node, change);
  EXPECT_EQ(after.atime, atime);
  EXPECT_EQ(after.mtime, mtime);
  EXPECT_EQ(attributes(*file.node).mtime, mtime);
}

TEST_P(AttributesOf, TimeNowIsTheTimeOfTheChange) {
  REQUIRE_CAPABILITY(can().shows_changes);
  const Entry file = make_file("file");
  AttributeChange change;
  change.mtime = TimeChange{.now = true, .time = {}};
  const Attributes after = set(*file.node, change);
  EXPECT_EQ(after.mtime, after.ctime);
}

TEST_P(AttributesOf, EmptyChangeChangesNothing) {
  const Entry file = make_file("file");
  pass_granule();
  const Version before = attributes(*file.node).version;
  EXPECT_EQ(set(*file.node, {}).version, before);
}

TEST_P(AttributesOf, SyncSucceeds) {
  auto file = open(*make_file("file", "abc").node);
  EXPECT_EQ(errno_of(file->sync(SyncKind::data)), 0);
  EXPECT_EQ(errno_of(file->sync(SyncKind::all)), 0);
  EXPECT_EQ(errno_of(fs().sync_directory(root())), 0);
}

TEST_P(AttributesOf, StatisticsAddUp) {
  const auto statistics = fs().statistics(root());
  ASSERT_EQ(errno_of(statistics), 0);
  EXPECT_GT(statistics->block_size, 0U);
  EXPECT_LE(statistics->blocks_free, statistics->blocks);
  EXPECT_LE(statistics->blocks_available, statistics->blocks_free);
}

class Changes : public AttributesOf {};
RUN_OVER_ALL_FILE_SYSTEMS(Changes);

TEST_P(Changes, WriteShows) {
  const Entry entry = make_file("file", "abc");
  auto file = open(*entry.node);
  expect_shows(*entry.node, Content::yes, [&] { write(*file, 0, "ABC"); });
}

TEST_P(Changes, AppendShows) {
  const Entry entry = make_file("file", "abc");
  auto file = open(*entry.node);
  const std::string_view more = "def";
  expect_shows(*entry.node, Content::yes,
               [&] { ASSERT_EQ(errno_of(file->append(std::as_bytes(std::span(more)))), 0); });
}

TEST_P(Changes, TruncateShows) {
  const Entry entry = make_file("file", "abc");
  AttributeChange change;
  change.size = 1;
  expect_shows(*entry.node, Content::yes, [&] { set(*entry.node, change); });
}

TEST_P(Changes, PunchShows) {
  REQUIRE_CAPABILITY(can().allocate);
  const Entry entry = make_file("file", std::string(10'000, 'x'));
  auto file = open(*entry.node);
  expect_shows(*entry.node, Content::yes,
               [&] { ASSERT_EQ(errno_of(file->allocate(AllocateMode::punch_hole, 0, 8192)), 0); });
}

TEST_P(Changes, CopyShowsAtTheTarget) {
  auto from = open(*make_file("from", "abc").node);
  const Entry entry = make_file("to", "xyz");
  auto to = open(*entry.node);
  expect_shows(*entry.node, Content::yes, [&] { ASSERT_EQ(errno_of(from->copy_range(0, *to, 0, 3)), 0); });
}

TEST_P(Changes, ChmodShows) {
  const Entry entry = make_file("file");
  expect_shows(*entry.node, Content::no, [&] { chmod(*entry.node, 0600); });
}

TEST_P(Changes, OldTimesSetShow) {
  const Entry entry = make_file("file");
  const Timestamp mtime = attributes(*entry.node).mtime;
  AttributeChange change;
  change.mtime = TimeChange{.now = false, .time = mtime};
  expect_shows(*entry.node, Content::no, [&] { set(*entry.node, change); });
}

TEST_P(Changes, LinkAndUnlinkShow) {
  REQUIRE_CAPABILITY(can().hard_links && can().stable_identity);
  const Entry entry = make_file("file");
  expect_shows(*entry.node, Content::no,
               [&] { ASSERT_EQ(errno_of(fs().link(*entry.node, {root(), "other"}, caller())), 0); });
  expect_shows(*entry.node, Content::no, [&] { EXPECT_EQ(remove("other"), 0); });
}

TEST_P(Changes, XattrShows) {
  REQUIRE_CAPABILITY(can().xattrs);
  const Entry entry = make_file("file");
  expect_shows(*entry.node, Content::no, [&] {
    const auto set = fs().xattrs()->set(*entry.node, "user.a", "1", XattrMode::create_or_replace, caller());
    ASSERT_EQ(errno_of(set), 0);
  });
}

TEST_P(Changes, ReadingShowsNothing) {
  const Entry entry = make_file("file", "abc");
  pass_granule();
  const Version before = attributes(*entry.node).version;
  EXPECT_EQ(content(*entry.node), "abc");
  EXPECT_EQ(attributes(*entry.node).version, before);
}

TEST_P(Changes, DirectoryShowsWhatIsMadeAndRemovedInIt) {
  const Entry directory = make_directory("directory");
  Node& node = *directory.node;
  expect_shows(node, Content::yes, [&] { make_file(node, "file"); });
  expect_shows(node, Content::yes, [&] { make_directory(node, "sub"); });
  expect_shows(node, Content::yes,
               [&] { EXPECT_EQ(errno_of(fs().remove({node, "file"}, RemoveKind::file, caller())), 0); });
  expect_shows(node, Content::yes, [&] {
    EXPECT_EQ(errno_of(fs().rename({node, "sub"}, {root(), "sub"}, RenameMode::replace, caller())), 0);
  });
}

TEST_P(Changes, ReplacedFileHasAnotherVersion) {
  REQUIRE_CAPABILITY(can().shows_changes);
  const Version old = make_file("file", "abc").attributes.version;
  pass_granule();
  make_file("new", "xyz");
  EXPECT_EQ(rename("new", "file"), 0);
  EXPECT_NE(lookup("file").attributes.version, old);
}

}  // namespace
}  // namespace cachefs::conformance
