// Look-up, and making and removing names.
#include <algorithm>

#include "conformance/fixture.h"

namespace cachefs::conformance {
namespace {

class Names : public FileSystemTest {};
RUN_OVER_ALL_FILE_SYSTEMS(Names);

TEST_P(Names, MissingNameIsNotFound) { EXPECT_EQ(lookup_errno("missing"), ENOENT); }

TEST_P(Names, RootIsADirectory) { EXPECT_EQ(attributes(root()).kind, FileKind::directory); }

TEST_P(Names, LookupBelowAFileIsNotADirectory) {
  const Entry file = make_file("file");
  EXPECT_EQ(lookup_errno(*file.node, "x"), ENOTDIR);
}

TEST_P(Names, DotsSlashesAndNothingAreNoNames) {
  for (const std::string_view name : {std::string_view(""), std::string_view("."), std::string_view(".."),
                                      std::string_view("a/b"), std::string_view("a\0b", 3)}) {
    EXPECT_EQ(lookup_errno(name), EINVAL) << name;
    EXPECT_EQ(errno_of(fs().make({root(), name}, {}, caller())), EINVAL) << name;
    EXPECT_EQ(errno_of(fs().create({root(), name}, {}, caller())), EINVAL) << name;
  }
}

TEST_P(Names, LongestNameWorksAndOneByteMoreIsTooLong) {
  const std::string longest(can().name_max, 'n');
  make_file(longest);
  EXPECT_EQ(lookup_errno(longest), 0);
  EXPECT_EQ(lookup_errno(longest + "n"), ENAMETOOLONG);
  EXPECT_EQ(errno_of(fs().create({root(), longest + "n"}, {}, caller())), ENAMETOOLONG);
}

TEST_P(Names, HoldAnyByteButSlashAndNul) {
  REQUIRE_CAPABILITY(can().case_sensitive);
  std::vector<std::string> made;
  for (int byte = 1; byte < 256; ++byte) {
    if (byte == '/') continue;
    made.push_back(std::string("x") + static_cast<char>(byte));
    make_file(made.back());
  }
  std::ranges::sort(made);
  EXPECT_EQ(names(root()), made);
  for (const auto& name : made) EXPECT_EQ(lookup_errno(name), 0);
}

TEST_P(Names, CaseMattersWhereItIsSaidTo) {
  make_file("Readme");
  EXPECT_EQ(lookup_errno("README"), can().case_sensitive ? ENOENT : 0);
  EXPECT_EQ(names(root()), std::vector<std::string>{"Readme"});
}

TEST_P(Names, CreatedFileIsRegularEmptyAndTheCallers) {
  const Attributes file = make_file("file").attributes;
  EXPECT_EQ(file.kind, FileKind::regular);
  EXPECT_EQ(file.size, 0U);
  EXPECT_EQ(file.nlink, 1U);
  EXPECT_EQ(file.mode, 0644U);
  EXPECT_EQ(file.uid, caller().uid);
}

TEST_P(Names, ExclusiveCreateOfAnExistingNameFails) {
  make_file("file");
  EXPECT_EQ(errno_of(fs().create({root(), "file"}, {.exclusive = true}, caller())), EEXIST);
}

TEST_P(Names, CreateOfAnExistingFileOpensIt) {
  const Entry file = make_file("file", "content");
  auto created = fs().create({root(), "file"}, {}, caller());
  ASSERT_EQ(errno_of(created), 0);
  EXPECT_FALSE(created->created);
  EXPECT_EQ(created->entry.node, file.node);
  EXPECT_EQ(read(*created->file, 0, 100), "content");
}

TEST_P(Names, CreateWithTruncateEmptiesAnExistingFile) {
  make_file("file", "content");
  auto created = fs().create({root(), "file"}, {.open = {.write = true, .truncate = true}}, caller());
  ASSERT_EQ(errno_of(created), 0);
  EXPECT_EQ(created->entry.attributes.size, 0U);
}

TEST_P(Names, CreateOverADirectoryFails) {
  make_directory("directory");
  EXPECT_EQ(errno_of(fs().create({root(), "directory"}, {}, caller())), EISDIR);
}

TEST_P(Names, LookupGivesTheSameNodeWhileItIsHeld) {
  const Entry file = make_file("file");
  EXPECT_EQ(lookup("file").node, file.node);
}

TEST_P(Names, IdentityStaysWhereItIsStable) {
  REQUIRE_CAPABILITY(can().stable_identity);
  const Entry file = make_file("file");
  EXPECT_EQ(lookup("file").attributes.identity, file.attributes.identity);
  EXPECT_EQ(rename("file", "renamed"), 0);
  EXPECT_EQ(lookup("renamed").attributes.identity, file.attributes.identity);
}

TEST_P(Names, RecreatedFileHasAnotherIdentity) {
  REQUIRE_CAPABILITY(can().stable_identity);
  const FileIdentity first = make_file("file").attributes.identity;
  EXPECT_EQ(remove("file"), 0);
  pass_granule();
  EXPECT_NE(make_file("file").attributes.identity, first);
}

TEST_P(Names, MkdirMakesADirectoryThatTheParentCounts) {
  const uint32_t before = attributes(root()).nlink;
  const Entry directory = make_directory("directory");
  EXPECT_EQ(directory.attributes.kind, FileKind::directory);
  EXPECT_EQ(directory.attributes.mode & 0777U, 0755U);
  if (before == 1) return;  // a file system that does not count
  EXPECT_EQ(directory.attributes.nlink, 2U);
  EXPECT_EQ(attributes(root()).nlink, before + 1);
}

TEST_P(Names, MakingAnExistingNameFails) {
  make_file("name");
  EXPECT_EQ(errno_of(fs().make({root(), "name"}, {}, caller())), EEXIST);
  REQUIRE_CAPABILITY(can().symlinks);
  EXPECT_EQ(errno_of(fs().make({root(), "name"}, {.kind = FileKind::symlink, .target = "x"}, caller())),
            EEXIST);
}

TEST_P(Names, SymlinkKeepsItsTarget) {
  REQUIRE_CAPABILITY(can().symlinks);
  const std::string target = "../some where/\xff";
  const Entry symlink = make_symlink("symlink", target);
  EXPECT_EQ(symlink.attributes.kind, FileKind::symlink);
  EXPECT_EQ(symlink.attributes.size, target.size());
  EXPECT_EQ(fs().read_link(*symlink.node, caller()).value_or(""), target);
}

TEST_P(Names, ReadLinkOfAFileIsInvalid) {
  const Entry file = make_file("file");
  EXPECT_EQ(errno_of(fs().read_link(*file.node, caller())), EINVAL);
}

TEST_P(Names, FifoAndSocketAreMade) {
  REQUIRE_CAPABILITY(can().special_files);
  EXPECT_EQ(make(root(), "fifo", {.kind = FileKind::fifo, .mode = 0600}).attributes.kind, FileKind::fifo);
  EXPECT_EQ(make(root(), "socket", {.kind = FileKind::socket, .mode = 0600}).attributes.kind,
            FileKind::socket);
}

TEST_P(Names, MakeMakesARegularFileToo) {
  const Entry file = make(root(), "file", {.kind = FileKind::regular, .mode = 0640});
  EXPECT_EQ(file.attributes.kind, FileKind::regular);
  EXPECT_EQ(content(*file.node), "");
}

TEST_P(Names, HardLinksShareDataAndCount) {
  REQUIRE_CAPABILITY(can().hard_links && can().stable_identity);
  const Entry file = make_file("first", "shared");
  auto linked = fs().link(*file.node, {root(), "second"}, caller());
  ASSERT_EQ(errno_of(linked), 0);
  EXPECT_EQ(linked->attributes.nlink, 2U);
  EXPECT_EQ(content(*lookup("second").node), "shared");
  write(*open(*lookup("second").node), 0, "SHARED");
  EXPECT_EQ(content(*lookup("first").node), "SHARED");
  EXPECT_EQ(remove("first"), 0);
  EXPECT_EQ(lookup("second").attributes.nlink, 1U);
}

TEST_P(Names, LinkToADirectoryOrOverAnythingFails) {
  REQUIRE_CAPABILITY(can().hard_links);
  const Entry directory = make_directory("directory");
  const Entry file = make_file("file");
  EXPECT_EQ(errno_of(fs().link(*directory.node, {root(), "x"}, caller())), EPERM);
  EXPECT_EQ(errno_of(fs().link(*file.node, {root(), "directory"}, caller())), EEXIST);
  EXPECT_EQ(errno_of(fs().link(*file.node, {root(), "file"}, caller())), EEXIST);
}

TEST_P(Names, RemovedNameIsGone) {
  make_file("file");
  EXPECT_EQ(remove("file"), 0);
  EXPECT_EQ(lookup_errno("file"), ENOENT);
  EXPECT_EQ(remove("file"), ENOENT);
}

TEST_P(Names, RemoveAsksForTheRightKind) {
  make_file("file");
  make_directory("directory");
  EXPECT_EQ(remove("file", RemoveKind::directory), ENOTDIR);
  EXPECT_EQ(remove("directory", RemoveKind::file), EISDIR);
}

TEST_P(Names, DirectoryThatHoldsSomethingIsNotRemoved) {
  const Entry directory = make_directory("directory");
  make_file(*directory.node, "file");
  EXPECT_EQ(remove("directory", RemoveKind::directory), ENOTEMPTY);
  EXPECT_EQ(errno_of(fs().remove({*directory.node, "file"}, RemoveKind::file, caller())), 0);
  EXPECT_EQ(remove("directory", RemoveKind::directory), 0);
  EXPECT_EQ(lookup_errno("directory"), ENOENT);
}

TEST_P(Names, NothingIsMadeInARemovedDirectory) {
  const Entry directory = make_directory("directory");
  ASSERT_EQ(remove("directory", RemoveKind::directory), 0);
  EXPECT_EQ(errno_of(fs().create({*directory.node, "file"}, {}, caller())), ENOENT);
  EXPECT_EQ(errno_of(fs().make({*directory.node, "sub"}, {}, caller())), ENOENT);
  EXPECT_EQ(lookup_errno(*directory.node, "file"), ENOENT);
}

TEST_P(Names, UnlinkedFileLivesOnInItsHandle) {
  const Entry file = make_file("file", "still here");
  auto handle = open(*file.node);
  ASSERT_EQ(remove("file"), 0);
  EXPECT_EQ(read(*handle, 0, 100), "still here");
  write(*handle, 6, "there");
  EXPECT_EQ(read(*handle, 0, 100), "still there");
  EXPECT_EQ(handle->attributes().value_or(Attributes{}).nlink, 0U);
}

TEST_P(Names, RecreatedFileDoesNotShareWithTheUnlinkedOne) {
  auto handle = open(*make_file("file", "old").node);
  ASSERT_EQ(remove("file"), 0);
  const Entry second = make_file("file", "brand new");
  EXPECT_EQ(read(*handle, 0, 100), "old");
  write(*handle, 0, "OLD");
  EXPECT_EQ(content(*second.node), "brand new");
}

}  // namespace
}  // namespace cachefs::conformance
