#include "cachefs/path_operations.h"

#include <gtest/gtest.h>

#include "cachefs/mem_fs.h"

namespace cachefs {
namespace {

template <typename T>
int errno_of(const Result<T>& result) {
  return result ? 0 : result.error().to_errno();
}

using Paths = std::vector<std::string>;

class PathOperations : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(mkdir_all(fs(), "/a/b/c"));
    ASSERT_TRUE(write_file(fs(), "/a/file", "content"));
    ASSERT_TRUE(write_file(fs(), "/a/b/deep.txt", "deep"));
  }
  FileSystem& fs() { return *memory_; }
  std::string content(std::string_view path) { return read_file(fs(), path).value_or("(error)"); }

  std::unique_ptr<FileSystem> memory_ = make_mem_fs();
};

TEST_F(PathOperations, DotsAndSlashesAreFollowed) {
  EXPECT_EQ(content("//a//./b/../file"), "content");
  EXPECT_EQ(content("a/file"), "content");
  EXPECT_EQ(stat(fs(), "/a/").value_or(Attributes{}).kind, FileKind::directory);
}

TEST_F(PathOperations, NothingLeadsAboveTheRoot) {
  EXPECT_EQ(content("/../../a/file"), "content");
  ASSERT_TRUE(symlink(fs(), "../../../a", "/a/b/up"));
  EXPECT_EQ(content("/a/b/up/file"), "content");
}

TEST_F(PathOperations, FileIsNotFollowedAsADirectory) {
  EXPECT_EQ(errno_of(stat(fs(), "/a/file/")), ENOTDIR);
  EXPECT_EQ(errno_of(stat(fs(), "/a/file/x")), ENOTDIR);
  EXPECT_EQ(errno_of(stat(fs(), "/a/missing/x")), ENOENT);
  EXPECT_EQ(errno_of(stat(fs(), "")), ENOENT);
}

TEST_F(PathOperations, SymlinksAreFollowedOnTheWayAndAtTheEnd) {
  ASSERT_TRUE(symlink(fs(), "/a/b", "/absolute"));
  ASSERT_TRUE(symlink(fs(), "deep.txt", "/a/b/relative"));
  EXPECT_EQ(content("/absolute/relative"), "deep");
  EXPECT_EQ(lstat(fs(), "/absolute").value_or(Attributes{}).kind, FileKind::symlink);
  EXPECT_EQ(lstat(fs(), "/absolute/").value_or(Attributes{}).kind, FileKind::directory);
  EXPECT_EQ(read_link(fs(), "/absolute").value_or(""), "/a/b");
}

TEST_F(PathOperations, FortySymlinksAreFollowedAndOneMoreIsALoop) {
  ASSERT_TRUE(symlink(fs(), "/a/file", "/link1"));
  for (int i = 2; i <= 41; ++i) {
    ASSERT_TRUE(symlink(fs(), "link" + std::to_string(i - 1), "/link" + std::to_string(i)));
  }
  EXPECT_EQ(content("/link40"), "content");
  EXPECT_EQ(errno_of(stat(fs(), "/link41")), ELOOP);
}

TEST_F(PathOperations, OpenFollowsItsFlags) {
  EXPECT_EQ(errno_of(open(fs(), "/new")), ENOENT);
  EXPECT_EQ(errno_of(open(fs(), "/new", {.write = true, .create = true, .exclusive = true})), 0);
  EXPECT_EQ(errno_of(open(fs(), "/new", {.write = true, .create = true, .exclusive = true})), EEXIST);
  EXPECT_EQ(errno_of(open(fs(), "/a/file", {.write = true, .truncate = true})), 0);
  EXPECT_EQ(content("/a/file"), "");
  EXPECT_EQ(errno_of(open(fs(), "/a")), EISDIR);
}

TEST_F(PathOperations, CreateGoesThroughADanglingSymlinkUnlessExclusive) {
  ASSERT_TRUE(symlink(fs(), "a/target", "/dangling"));
  EXPECT_EQ(errno_of(open(fs(), "/dangling", {.create = true, .exclusive = true})), EEXIST);
  EXPECT_EQ(errno_of(open(fs(), "/dangling", {.create = true, .no_follow = true})), ELOOP);
  ASSERT_TRUE(write_file(fs(), "/dangling", "through"));
  EXPECT_EQ(content("/a/target"), "through");
}

TEST_F(PathOperations, MkdirOfWhatIsThereFails) {
  EXPECT_EQ(errno_of(mkdir(fs(), "/")), EEXIST);
  EXPECT_EQ(errno_of(mkdir(fs(), "/a/")), EEXIST);
  EXPECT_EQ(errno_of(mkdir(fs(), "/x/y")), ENOENT);
  EXPECT_EQ(errno_of(mkdir(fs(), "/x/")), 0);
}

TEST_F(PathOperations, MkdirAllMakesWhatIsMissing) {
  EXPECT_EQ(errno_of(mkdir_all(fs(), "/a/b/x/y/z/")), 0);
  EXPECT_EQ(errno_of(mkdir_all(fs(), "/a/b/x/y/z")), 0);
  EXPECT_EQ(errno_of(mkdir_all(fs(), "/a/file/x")), ENOTDIR);
  EXPECT_EQ(errno_of(mkdir_all(fs(), "/")), 0);
}

TEST_F(PathOperations, RemoveTakesFilesAndEmptyDirectories) {
  EXPECT_EQ(errno_of(remove(fs(), "/a")), ENOTEMPTY);
  EXPECT_EQ(errno_of(remove(fs(), "/a/b/c")), 0);
  EXPECT_EQ(errno_of(remove(fs(), "/a/file")), 0);
  EXPECT_EQ(errno_of(remove(fs(), "/")), EINVAL);
}

TEST_F(PathOperations, RemoveAllTakesATreeButNotWhatItLinksTo) {
  ASSERT_TRUE(mkdir(fs(), "/kept"));
  ASSERT_TRUE(write_file(fs(), "/kept/file", "kept"));
  ASSERT_TRUE(symlink(fs(), "/kept", "/a/b/c/link"));
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(write_file(fs(), "/a/b/file" + std::to_string(i), "x"));
  EXPECT_EQ(errno_of(remove_all(fs(), "/a")), 0);
  EXPECT_EQ(errno_of(stat(fs(), "/a")), ENOENT);
  EXPECT_EQ(content("/kept/file"), "kept");
  EXPECT_EQ(errno_of(remove_all(fs(), "/a/b")), 0);
}

TEST_F(PathOperations, RenameLinkAndAttributesByPath) {
  EXPECT_EQ(errno_of(rename(fs(), "/a/file", "/moved")), 0);
  EXPECT_EQ(errno_of(link(fs(), "/moved", "/linked")), 0);
  EXPECT_EQ(errno_of(chmod(fs(), "/linked", 0600)), 0);
  EXPECT_EQ(errno_of(chown(fs(), "/linked", {.uid = 5, .gid = 6})), 0);
  EXPECT_EQ(errno_of(truncate(fs(), "/linked", 3)), 0);
  const Attributes moved = stat(fs(), "/moved").value_or(Attributes{});
  EXPECT_EQ(moved.nlink, 2U);
  EXPECT_EQ(moved.mode, 0600U);
  EXPECT_EQ(moved.uid, 5U);
  EXPECT_EQ(moved.size, 3U);
  EXPECT_EQ(errno_of(rename(fs(), "/", "/x")), EBUSY);
}

TEST_F(PathOperations, LchownChangesTheSymlinkAlone) {
  ASSERT_TRUE(symlink(fs(), "/a/file", "/symlink"));
  EXPECT_EQ(errno_of(lchown(fs(), "/symlink", {.uid = 7, .gid = {}})), 0);
  EXPECT_EQ(lstat(fs(), "/symlink").value_or(Attributes{}).uid, 7U);
  EXPECT_EQ(stat(fs(), "/symlink").value_or(Attributes{}).uid, 0U);
}

TEST_F(PathOperations, XattrsByPath) {
  EXPECT_EQ(errno_of(set_xattr(fs(), "/a/file", "user.x", "1")), 0);
  EXPECT_EQ(get_xattr(fs(), "/a/file", "user.x").value_or(""), "1");
}

TEST_F(PathOperations, WriteFileReplacesTheContent) {
  ASSERT_TRUE(write_file(fs(), "/a/file", std::string(300'000, 'x')));
  EXPECT_EQ(content("/a/file"), std::string(300'000, 'x'));
  ASSERT_TRUE(write_file(fs(), "/a/file", "short"));
  EXPECT_EQ(content("/a/file"), "short");
}

TEST_F(PathOperations, WorkingDirectoryIsWhereRelativePathsBegin) {
  PathContext context(fs());
  ASSERT_EQ(errno_of(context.change_directory("a/b")), 0);
  EXPECT_EQ(read_file(context, "deep.txt").value_or(""), "deep");
  EXPECT_EQ(read_file(context, "../file").value_or(""), "content");
  ASSERT_EQ(errno_of(context.change_directory("..")), 0);
  EXPECT_EQ(read_file(context, "file").value_or(""), "content");
  EXPECT_EQ(errno_of(context.change_directory("file")), ENOTDIR);
  EXPECT_EQ(errno_of(context.change_directory("missing")), ENOENT);
}

TEST_F(PathOperations, WorkingDirectoryFollowsARename) {
  PathContext context(fs());
  ASSERT_EQ(errno_of(context.change_directory("/a/b")), 0);
  ASSERT_TRUE(rename(fs(), "/a/b", "/moved"));
  EXPECT_EQ(read_file(context, "deep.txt").value_or(""), "deep");
}

TEST_F(PathOperations, WalkVisitsEachDirectoryBeforeItsEntries) {
  Paths seen;
  ASSERT_TRUE(walk(fs(), "/a", [&](const std::string& path, const Entry&) {
    seen.push_back(path);
    return WalkAction::go_on;
  }));
  EXPECT_EQ(seen, (Paths{"/a", "/a/b", "/a/b/c", "/a/b/deep.txt", "/a/file"}));
}

TEST_F(PathOperations, WalkSkipsAndStopsWhenTold) {
  Paths seen;
  ASSERT_TRUE(walk(fs(), "/", [&](const std::string& path, const Entry&) {
    seen.push_back(path);
    return path == "/a/b" ? WalkAction::skip_directory : WalkAction::go_on;
  }));
  EXPECT_EQ(seen, (Paths{"/", "/a", "/a/b", "/a/file"}));
  int visits = 0;
  ASSERT_TRUE(walk(fs(), "/", [&](const std::string&, const Entry&) { return ++visits, WalkAction::stop; }));
  EXPECT_EQ(visits, 1);
}

TEST(MatchesComponent, KnowsStarsSetsAndEscapes) {
  EXPECT_TRUE(matches_component("*", ""));
  EXPECT_TRUE(matches_component("*.txt", ".txt"));
  EXPECT_TRUE(matches_component("a*b*c", "axxbyybzc"));
  EXPECT_FALSE(matches_component("a*b*c", "axxbyybz"));
  EXPECT_TRUE(matches_component("f?o", "foo"));
  EXPECT_TRUE(matches_component("[a-c]x[!0-9]", "bxy"));
  EXPECT_FALSE(matches_component("[a-c]x[!0-9]", "bx5"));
  EXPECT_TRUE(matches_component("[]]", "]"));
  EXPECT_TRUE(matches_component("[a", "[a"));
  EXPECT_TRUE(matches_component("\\*", "*"));
  EXPECT_FALSE(matches_component("\\*", "x"));
}

TEST(MatchesComponent, ManyStarsDoNotExplode) {
  const std::string name(10'000, 'a');
  EXPECT_FALSE(matches_component("*a*a*a*a*a*a*a*a*a*a*a*a*a*b", name));
}

TEST_F(PathOperations, GlobFindsByComponentsAndAcrossDirectories) {
  EXPECT_EQ(glob(fs(), "/a/*").value_or(Paths{}), (Paths{"/a/b", "/a/file"}));
  EXPECT_EQ(glob(fs(), "/a/*/").value_or(Paths{}), Paths{"/a/b"});
  EXPECT_EQ(glob(fs(), "**/*.txt").value_or(Paths{}), Paths{"a/b/deep.txt"});
  EXPECT_EQ(glob(fs(), "/a/**").value_or(Paths{}),
            (Paths{"/a", "/a/b", "/a/b/c", "/a/b/deep.txt", "/a/file"}));
  EXPECT_EQ(glob(fs(), "/a/file").value_or(Paths{}), Paths{"/a/file"});
  EXPECT_TRUE(glob(fs(), "/none/*").value_or(Paths{"x"}).empty());
}

TEST_F(PathOperations, CursorReadsWritesAndSeeks) {
  FileCursor cursor(std::move(*open(fs(), "/a/file", {.write = true})));
  std::array<std::byte, 3> buffer{};
  EXPECT_EQ(cursor.read(buffer).value_or(0), 3U);
  EXPECT_EQ(cursor.position(), 3U);
  EXPECT_EQ(cursor.seek(-2, SeekFrom::end).value_or(0), 5U);
  EXPECT_EQ(cursor.write(buffer).value_or(0), 3U);
  EXPECT_EQ(content("/a/file"), "contecon");
  EXPECT_EQ(errno_of(cursor.seek(-9, SeekFrom::current)), EINVAL);
  EXPECT_EQ(cursor.position(), 8U);
  EXPECT_EQ(errno_of(cursor.seek(INT64_MAX, SeekFrom::end)), EOVERFLOW);
  EXPECT_EQ(errno_of(cursor.seek(INT64_MIN, SeekFrom::start)), EINVAL);
}

TEST_F(PathOperations, AppendingCursorEndsBehindItsBytes) {
  FileCursor cursor(std::move(*open(fs(), "/a/file", {.write = true, .append = true})), /*append=*/true);
  const std::array<std::byte, 2> more{std::byte{'!'}, std::byte{'!'}};
  EXPECT_EQ(cursor.write(more).value_or(0), 2U);
  EXPECT_EQ(cursor.position(), 9U);
  EXPECT_EQ(content("/a/file"), "content!!");
}

TEST_F(PathOperations, SubIsRootedInItsDirectory) {
  auto below = sub(fs(), "/a/b");
  ASSERT_TRUE(below);
  EXPECT_EQ(read_file(**below, "/../../deep.txt").value_or(""), "deep");
  ASSERT_TRUE(write_file(**below, "/new", "shared"));
  EXPECT_EQ(content("/a/b/new"), "shared");
  EXPECT_EQ(errno_of(sub(fs(), "/a/file")), ENOTDIR);
}

}  // namespace
}  // namespace cachefs
