// Rename in all its modes.
#include "conformance/fixture.h"

namespace cachefs::conformance {
namespace {

class Rename : public FileSystemTest {
 protected:
  int move(Node& from, std::string_view name, Node& to, std::string_view new_name,
           RenameMode mode = RenameMode::replace) {
    return errno_of(fs().rename({from, name}, {to, new_name}, mode, caller()));
  }
};
RUN_OVER_ALL_FILE_SYSTEMS(Rename);

TEST_P(Rename, MovesTheName) {
  const Entry file = make_file("from", "content");
  EXPECT_EQ(rename("from", "to"), 0);
  EXPECT_EQ(lookup_errno("from"), ENOENT);
  EXPECT_EQ(lookup("to").node, file.node);
  EXPECT_EQ(content(*file.node), "content");
}

TEST_P(Rename, OfAMissingNameFails) { EXPECT_EQ(rename("missing", "to"), ENOENT); }

TEST_P(Rename, ToItselfChangesNothing) {
  make_file("file", "content");
  EXPECT_EQ(rename("file", "file"), 0);
  EXPECT_EQ(content(*lookup("file").node), "content");
}

TEST_P(Rename, BetweenTwoNamesOfOneFileLeavesBoth) {
  REQUIRE_CAPABILITY(can().hard_links);
  const Entry file = make_file("first");
  ASSERT_EQ(errno_of(fs().link(*file.node, {root(), "second"}, caller())), 0);
  EXPECT_EQ(rename("first", "second"), 0);
  EXPECT_EQ(lookup("first").attributes.nlink, 2U);
  EXPECT_EQ(lookup_errno("second"), 0);
}

TEST_P(Rename, ChangesTheCaseOfANameThatIgnoresIt) {
  REQUIRE_CAPABILITY(!can().case_sensitive);
  make_file("name", "content");
  EXPECT_EQ(rename("name", "NAME"), 0);
  EXPECT_EQ(names(root()), std::vector<std::string>{"NAME"});
}

TEST_P(Rename, ReplacesAFile) {
  make_file("from", "new");
  const Entry old = make_file("to", "old");
  EXPECT_EQ(rename("from", "to"), 0);
  EXPECT_EQ(content(*lookup("to").node), "new");
  EXPECT_EQ(names(root()), std::vector<std::string>{"to"});
}

TEST_P(Rename, OverAnOpenFileLeavesItToItsHandle) {
  make_file("from", "new");
  auto handle = open(*make_file("to", "old").node);
  EXPECT_EQ(rename("from", "to"), 0);
  EXPECT_EQ(read(*handle, 0, 100), "old");
  EXPECT_EQ(content(*lookup("to").node), "new");
}

TEST_P(Rename, ReplacesAnEmptyDirectoryByADirectory) {
  const Entry from = make_directory("from");
  make_file(*from.node, "inside");
  make_directory("to");
  EXPECT_EQ(rename("from", "to"), 0);
  EXPECT_EQ(names(*lookup("to").node), std::vector<std::string>{"inside"});
}

TEST_P(Rename, ReplacesNoDirectoryThatHoldsSomething) {
  make_directory("from");
  make_file(*make_directory("to").node, "inside");
  EXPECT_EQ(rename("from", "to"), ENOTEMPTY);
}

TEST_P(Rename, ReplacesOnlyTheSameKind) {
  make_file("file");
  make_directory("directory");
  EXPECT_EQ(rename("file", "directory"), EISDIR);
  EXPECT_EQ(rename("directory", "file"), ENOTDIR);
}

TEST_P(Rename, OfADirectoryIntoItselfIsInvalid) {
  const Entry outer = make_directory("outer");
  const Entry inner = make_directory(*outer.node, "inner");
  EXPECT_EQ(move(root(), "outer", *outer.node, "x"), EINVAL);
  EXPECT_EQ(move(root(), "outer", *inner.node, "x"), EINVAL);
}

TEST_P(Rename, OverAnAncestorFails) {
  const Entry outer = make_directory("outer");
  const Entry inner = make_directory(*outer.node, "inner");
  make_directory(*inner.node, "deep");
  EXPECT_EQ(move(*inner.node, "deep", root(), "outer"), ENOTEMPTY);
}

TEST_P(Rename, OfADirectoryMovesItsLinkCount) {
  const Entry from = make_directory("from");
  const Entry to = make_directory("to");
  make_directory(*from.node, "sub");
  if (attributes(*from.node).nlink == 1) GTEST_SKIP() << "directories are not counted";
  EXPECT_EQ(move(*from.node, "sub", *to.node, "sub"), 0);
  EXPECT_EQ(attributes(*from.node).nlink, 2U);
  EXPECT_EQ(attributes(*to.node).nlink, 3U);
}

TEST_P(Rename, OfADirectoryKeepsOpenFilesBelowWorking) {
  const Entry directory = make_directory("before");
  auto handle = open(*make_file(*directory.node, "file", "content").node);
  EXPECT_EQ(rename("before", "after"), 0);
  write(*handle, 0, "CONTENT");
  EXPECT_EQ(content(*lookup(*lookup("after").node, "file").node), "CONTENT");
}

TEST_P(Rename, NodesBelowAMovedDirectoryStayTheSameFiles) {
  const Entry directory = make_directory("before");
  const Entry file = make_file(*directory.node, "file", "content");
  EXPECT_EQ(rename("before", "after"), 0);
  EXPECT_EQ(content(*file.node), "content");
  EXPECT_EQ(lookup(*directory.node, "file").node, file.node);
}

TEST_P(Rename, NoReplaceLeavesAnExistingNameAlone) {
  make_file("from", "from");
  make_file("to", "to");
  EXPECT_EQ(rename("from", "to", RenameMode::no_replace), EEXIST);
  EXPECT_EQ(content(*lookup("to").node), "to");
  EXPECT_EQ(rename("from", "free", RenameMode::no_replace), 0);
}

TEST_P(Rename, ExchangeSwapsTwoFiles) {
  REQUIRE_CAPABILITY(can().rename_exchange);
  make_file("one", "1");
  make_file("two", "2");
  EXPECT_EQ(rename("one", "two", RenameMode::exchange), 0);
  EXPECT_EQ(content(*lookup("one").node), "2");
  EXPECT_EQ(content(*lookup("two").node), "1");
}

TEST_P(Rename, ExchangeSwapsAFileAndADirectory) {
  REQUIRE_CAPABILITY(can().rename_exchange);
  const Entry parent = make_directory("parent");
  make_file(*make_directory(*parent.node, "sub").node, "inside");
  make_file("file", "content");
  EXPECT_EQ(move(root(), "file", *parent.node, "sub", RenameMode::exchange), 0);
  EXPECT_EQ(names(*lookup("file").node), std::vector<std::string>{"inside"});
  EXPECT_EQ(content(*lookup(*parent.node, "sub").node), "content");
}

TEST_P(Rename, ExchangeNeedsBothNames) {
  REQUIRE_CAPABILITY(can().rename_exchange);
  make_file("one");
  EXPECT_EQ(rename("one", "missing", RenameMode::exchange), ENOENT);
}

TEST_P(Rename, ExchangeWithAnAncestorIsInvalid) {
  REQUIRE_CAPABILITY(can().rename_exchange);
  const Entry outer = make_directory("outer");
  make_directory(*outer.node, "inner");
  EXPECT_EQ(move(*outer.node, "inner", root(), "outer", RenameMode::exchange), EINVAL);
  EXPECT_EQ(move(root(), "outer", *outer.node, "inner", RenameMode::exchange), EINVAL);
}

}  // namespace
}  // namespace cachefs::conformance
