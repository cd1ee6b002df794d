// Answers about names that are overtaken on their way.
#include <fcntl.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "cachefs/posix_fs.h"
#include "unit/overtaken_fixture.h"
#include "unit/path_only_fs.h"

namespace cachefs {
namespace {

using std::chrono::seconds;
using test::errno_of;
using test::kReadWrite;
using test::Overtaken;
using test::read_text;
using test::write_text;

TEST_F(Overtaken, AWriteDoesNotUndoTheLinkCountOfAnUnlink) {
  make({.coherence = test::for_ttl(seconds(60))});
  given("/f", "hello");
  ASSERT_TRUE(link(*memory_, "/f", "/g"));
  ASSERT_EQ(stat(*cache_, "/f")->nlink, 2U);
  auto writer = open(*cache_, "/f", kReadWrite).value();
  hook_.hold(Operation::attributes);
  std::jthread one([&] { ASSERT_TRUE(write_text(*writer, 0, "J")); });
  hook_.wait_held();
  ASSERT_TRUE(remove(*cache_, "/g"));
  hook_.go();
  one.join();
  EXPECT_EQ(stat(*cache_, "/f")->nlink, 1U);
}

TEST_F(Overtaken, AFileMadeInPlaceOfOneThatIsBeingRenamedIsAnotherOne) {
  make({.coherence = test::for_ttl(seconds(60))}, {.inode_numbers = InodeNumbers::random});
  given("/a", "old");
  ASSERT_EQ(content("/a"), "old");
  hook_.hold(Operation::rename);
  std::jthread one([&] { ASSERT_TRUE(rename(*cache_, "/a", "/b")); });
  hook_.wait_held();  // the source has done it
  auto created = cache_->create({*cache_->root(), "a"}, {}, Caller::self());
  ASSERT_TRUE(created);
  hook_.go();
  one.join();
  EXPECT_EQ(content("/a"), "");
  ASSERT_TRUE(write_text(*created->file, 0, "new"));
  EXPECT_EQ(content("/a"), "new");
  EXPECT_EQ(content("/b"), "old");
}

TEST_F(Overtaken, WhatTheSourceDeniesOneIsNotDeniedAnother) {
  make({.coherence = test::for_ttl(seconds(60))}, {.enforce_permissions = true});
  ASSERT_TRUE(mkdir(*memory_, "/d", 0750));
  ASSERT_TRUE(chown(*memory_, "/d", {.uid = 1000, .gid = 2000}));
  given("/d/x", "x");
  const NodeRef shared = resolve(*cache_, "/d").value().node;
  ASSERT_TRUE(chmod(*memory_, "/d", 0700));  // elsewhere
  faults_.hang_if([](Operation operation) { return operation == Operation::lookup; });
  std::atomic<int> member{-1}, owner{-1};
  std::jthread one([&] {
    member = errno_of(cache_->lookup(*shared, "x", Caller{.uid = 1001, .gid = 2000, .groups = {}}));
  });
  ASSERT_TRUE(faults_.wait_for_hanging(1, std::chrono::steady_clock::now() + seconds(20)));
  std::jthread two([&] {
    owner = errno_of(cache_->lookup(*shared, "x", Caller{.uid = 1000, .gid = 1000, .groups = {}}));
  });
  settle_threads();
  faults_.recover();
  one.join();
  two.join();
  EXPECT_EQ(member, EACCES);
  EXPECT_EQ(owner, 0);
}

TEST_F(Overtaken, ALookUpDoesNotUndoARename) {
  make({.coherence = test::for_ttl(seconds(60))}, {.inode_numbers = InodeNumbers::random});
  given("/victim", "victim");
  given("/f", "moved!");
  const NodeRef moved = resolve(*cache_, "/f").value().node;
  hook_.hold(Operation::lookup);
  std::jthread one([&] { ignore(stat(*cache_, "/victim"), "what it leads to is not the question"); });
  hook_.wait_held();
  ASSERT_TRUE(
      cache_->rename({*cache_->root(), "f"}, {*cache_->root(), "victim"}, RenameMode::replace, Caller{}));
  hook_.go();
  one.join();
  // As the kernel does, which knows the node.
  auto opened = cache_->open(*moved, {.read = true, .write = true}, Caller{}).value();
  EXPECT_EQ(read_text(*opened.file, 0, 10), "moved!");
  ASSERT_TRUE(write_text(*opened.file, 0, "M"));
  EXPECT_EQ(read_file(*memory_, "/victim").value(), "Moved!");
}

TEST_F(Overtaken, ALookUpDoesNotUndoARenameInADirectory) {
  PosixFsOptions posix;
  posix.stable_identity = false;
  memory_ = make_posix_fs(directory_.string(), posix).value();
  held_ = make_hooked_fs(*memory_, hook_);
  CacheOptions options;
  options.coherence = test::for_ttl(seconds(60));
  cache_ = CacheFs::create(*held_, options).value();
  given("/victim", "victim");
  given("/f", "moved!");
  const NodeRef moved = resolve(*cache_, "/f").value().node;
  hook_.hold(Operation::lookup);
  std::jthread one([&] { ignore(stat(*cache_, "/victim"), "what it leads to is not the question"); });
  hook_.wait_held();
  ASSERT_TRUE(
      cache_->rename({*cache_->root(), "f"}, {*cache_->root(), "victim"}, RenameMode::replace, Caller{}));
  hook_.go();
  one.join();
  auto opened = cache_->open(*moved, {.read = true, .write = true}, Caller{});
  EXPECT_EQ(errno_of(opened), 0);
  if (!opened) return;
  EXPECT_EQ(read_text(*opened->file, 0, 10), "moved!");
  ASSERT_TRUE(write_text(*opened->file, 0, "M"));
  EXPECT_EQ(read_file(*memory_, "/victim").value(), "Moved!");
}

constexpr OpenFlags kReadAndWrite{.read = true, .write = true};

/// Who does not share a look-up: nothing says yet that he may look the name up.
const Caller kOther{.uid = 1, .gid = 1, .groups = {}};

TEST_F(Overtaken, AnOlderAnswerDoesNotTakeTheNameBackFromANewerOne) {
  make({.coherence = test::for_ttl(seconds(60))});
  given("/f", "old");
  given("/new", "newer");
  hook_.hold(Operation::lookup);
  uint64_t early = 0;
  std::jthread one([&] { early = cache_->lookup(*cache_->root(), "f", Caller{}).value().attributes.size; });
  hook_.wait_held();
  ASSERT_TRUE(rename(*memory_, "/new", "/f"));
  const NodeRef seen = cache_->lookup(*cache_->root(), "f", kOther).value().node;
  hook_.go();
  one.join();
  EXPECT_EQ(early, 3U);
  EXPECT_EQ(cache_->lookup(*cache_->root(), "f", Caller{}).value().node.get(), seen.get());
  EXPECT_EQ(content("/f"), "newer");
}

TEST_F(Overtaken, AnOlderAnswerDoesNotLeadAPathBackToTheFileThatWasReplaced) {
  std::filesystem::permissions(directory_.string(), std::filesystem::perms::others_exec,
                               std::filesystem::perm_options::add);
  memory_ = make_posix_fs(directory_.string(), {.stable_identity = false}).value();
  held_ = make_hooked_fs(*memory_, hook_);
  cache_ = CacheFs::create(*held_, {.coherence = test::for_ttl(seconds(60))}).value();
  given("/f", "old");
  given("/new", "newer");
  hook_.hold(Operation::lookup);
  std::jthread one([&] { ignore(stat(*cache_, "/f"), "what it leads to is not the question"); });
  hook_.wait_held();
  ASSERT_TRUE(rename(*memory_, "/new", "/f"));
  const NodeRef seen = cache_->lookup(*cache_->root(), "f", kOther).value().node;
  hook_.go();
  one.join();
  auto opened = cache_->open(*seen, {.read = true}, Caller{}).value();
  EXPECT_EQ(read_text(*opened.file, 0, 10), "newer");
}

TEST_F(Overtaken, ACreationThatFindsAFileIsAnOpenThoughAFetchWasAnsweredBefore) {
  make({}, {.version_source = VersionSource::size_only});
  given("/f", std::string(32768, 'a'));
  auto reader = open(*cache_, "/f").value();
  ASSERT_EQ(read_text(*reader, 0, 1), "a");
  given("/f", std::string(32768, 'b'));
  hook_.hold(Operation::create);
  std::string read;
  std::jthread one([&] {
    const auto found = cache_->create({*cache_->root(), "f"}, {.open = kReadAndWrite}, Caller{});
    read = found ? read_text(*found->file, 0, 1) : "error: " + found.error().message();
  });
  hook_.wait_held();
  read_text(*reader, 20000, 1);  // its check is asked later, and answered before
  hook_.go();
  one.join();
  EXPECT_EQ(read, "b");
}

/// Over a source that tells of an open file what its path shows.
class OvertakenByPath : public Overtaken {
 protected:
  void SetUp() override {
    memory_ = make_mem_fs({.clock = &clock_});
    paths_ = std::make_unique<test::PathOnlyFs>(*memory_);
    held_ = make_hooked_fs(*paths_, hook_);
    cache_ = CacheFs::create(*held_, {.max_bytes = kMiB, .clock = &clock_}).value();
    given("/f", std::string(40'000, 'o'));
    stat(*cache_, "/f").value();
  }
  void TearDown() override {
    Overtaken::TearDown();
    cache_.reset();
    held_.reset();
  }
  Result<CreatedFile> create() {
    return cache_->create({*cache_->root(), "f"}, {.open = kReadAndWrite}, Caller{});
  }
  std::unique_ptr<FileSystem> paths_;
};

TEST_F(OvertakenByPath, WhatIsWrittenToAFileThatACreationFoundIsNotTakenForTheOneAtThePath) {
  hook_.hold(Operation::create);
  std::unique_ptr<File> old;
  std::jthread one([&] { old = create().value().file; });
  hook_.wait_held();
  given("/new", std::string(40'000, 'n'));
  ASSERT_TRUE(rename(*memory_, "/new", "/f"));
  clock_.inner.advance(seconds(2));
  ASSERT_TRUE(stat(*cache_, "/f"));
  hook_.go();
  one.join();
  ASSERT_TRUE(write_text(*old, 0, std::string(16384, 'X')));
  EXPECT_EQ(content("/f"), std::string(40'000, 'n'));
}

TEST_F(OvertakenByPath, AFileMadeWhileOneOfThatNameIsRemovedIsNotTheRemovedOne) {
  const NodeRef removed = resolve(*cache_, "/f").value().node;
  hook_.hold(Operation::remove);
  std::jthread remover([&] { EXPECT_TRUE(remove(*cache_, "/f")); });
  hook_.wait_held();
  const auto made = create();
  hook_.go();
  remover.join();
  ASSERT_TRUE(made);
  EXPECT_NE(made->entry.node.get(), removed.get());
  EXPECT_EQ(resolve(*cache_, "/f").value().node.get(), made->entry.node.get());
}

TEST_F(OvertakenByPath, WhatIsWrittenToANewFileIsCached) {
  ASSERT_TRUE(remove(*cache_, "/f"));
  const auto made = create().value();
  ASSERT_TRUE(write_text(*made.file, 0, std::string(4096, 'x')));
  const uint64_t reads = cache_->stats().source_reads;
  EXPECT_EQ(read_text(*made.file, 0, 4096), std::string(4096, 'x'));
  EXPECT_EQ(cache_->stats().source_reads, reads);
}

/// How many descriptors of this process can read files of `directory`; those with O_PATH cannot.
size_t open_for_reading(const std::string& directory) {
  size_t count = 0;
  std::error_code error;
  for (const auto& fd : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    if (!std::filesystem::read_symlink(fd.path(), error).string().starts_with(directory + "/")) continue;
    std::ifstream info("/proc/self/fdinfo/" + fd.path().filename().string());
    std::string word, flags;
    while (info >> word) {
      if (word == "flags:") info >> flags;
    }
    if ((std::stoul(flags, nullptr, 8) & O_PATH) == 0) ++count;
  }
  return count;
}

class RemovalAndLastClose : public Overtaken {
 protected:
  void SetUp() override {
    memory_ = make_posix_fs(directory_.string()).value();
    held_ = make_hooked_fs(*memory_, hook_);
    cache_ = CacheFs::create(*held_, {.coherence = test::for_ttl(seconds(60))}).value();
    given("/f", "hello");
    ASSERT_TRUE(link(*memory_, "/f", "/g"));
    EXPECT_EQ(content("/f"), "hello");
    handle_ = open(*cache_, "/f").value();  // from the cache, without a file of the source
  }
  std::unique_ptr<File> handle_;
};

TEST_F(RemovalAndLastClose, LeaveNoFileOpenThoughTheyOverlap) {
  hook_.hold(Operation::open);
  std::jthread remover([&] { EXPECT_TRUE(remove(*cache_, "/g")); });
  hook_.wait_held();
  handle_.reset();
  hook_.go();
  remover.join();
  EXPECT_EQ(open_for_reading(directory_.string()), 0U);
}

TEST_F(RemovalAndLastClose, LeaveNoFileOpenOneAfterTheOther) {
  EXPECT_TRUE(remove(*cache_, "/g"));
  EXPECT_EQ(open_for_reading(directory_.string()), 1U) << "for the handle, which has none";
  handle_.reset();
  EXPECT_EQ(open_for_reading(directory_.string()), 0U);
}

TEST_F(Overtaken, ARemovalThatCannotLookTheFileUpFails) {
  memory_ = make_posix_fs(directory_.string(), {.max_cached_descriptors = 1}).value();
  faulty_ = make_hooked_fs(*memory_, faults_);
  CacheOptions options;
  options.coherence = test::for_ttl(seconds(60));
  options.clock = &clock_;
  cache_ = CacheFs::create(*faulty_, options).value();
  given("/f", std::string(40000, 'a'));
  given("/other", "b");
  {
    auto first = open(*cache_, "/f").value();
    read_text(*first, 0, 1);
  }
  auto handle = open(*cache_, "/f").value();  // from the cache
  content("/other");
  clock_.inner.advance(seconds(61));
  faults_.fail_nth(1, Error(std::errc::io_error));
  EXPECT_EQ(errno_of(cache_->remove({*cache_->root(), "f"}, RemoveKind::file, Caller{})), EIO);
  faults_.recover();
  ASSERT_TRUE(cache_->remove({*cache_->root(), "f"}, RemoveKind::file, Caller{}));
  content("/other");
  EXPECT_EQ(read_text(*handle, 20000, 3), "aaa") << "the file was opened for the handle before";
}

TEST_F(Overtaken, ANameDoesNotLeadBackToAReplacedFile) {
  make({.coherence = test::for_ttl(seconds(60))}, {.inode_numbers = InodeNumbers::random});
  given("/f", "oldest");
  auto old = open(*cache_, "/f").value();
  EXPECT_EQ(read_text(*old, 0, 1), "o");
  given("/f", "older!");  // changed, elsewhere
  clock_.inner.advance(seconds(61));
  hook_.hold(Operation::attributes);  // of the open file, asked since the version is another
  std::thread one([&] { ignore(stat(*cache_, "/f"), "what it leads to is not the question"); });
  hook_.wait_held();
  given("/new", "newest");
  ASSERT_TRUE(rename(*memory_, "/new", "/f"));
  // Somebody who does not share the look-up: as a creation that finds the file, or a caller of fewer rights.
  EXPECT_TRUE(cache_->lookup(*cache_->root(), "f", kOther));
  hook_.go();
  one.join();
  EXPECT_EQ(content("/f"), "newest");
}

}  // namespace
}  // namespace cachefs
