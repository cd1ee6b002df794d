// Nodes outlive their descriptors: few are kept, and opened again as needed.
#include <fcntl.h>
#include <sys/resource.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "unit/posix_test_support.h"
#include "vfs/posix_node_table.h"

namespace cachefs {
namespace {

class PosixDescriptors : public PosixFsTest {
 protected:
  /// Leaves no descriptor of any other node kept.
  void evict() {
    for (int i = 0; i < 4; ++i) {
      const std::string name = "evict" + std::to_string(i);
      write_source(name, "");
      others_.push_back(*look_up(name));
    }
  }
  std::vector<Entry> others_;
  void TearDown() override { others_.clear(); }
};

TEST_F(PosixDescriptors, AreBoundedHoweverManyNodesThereAre) {
  for (int d = 0; d < 20; ++d) {
    std::filesystem::create_directory(root_ / std::to_string(d));
    for (int f = 0; f < 100; ++f)
      write_source(std::to_string(d) + "/" + std::to_string(f), std::to_string(d * f));
  }
  reopen({.max_cached_descriptors = 16});
  const size_t before = open_descriptors();
  std::vector<Entry> all;
  for (int d = 0; d < 20; ++d) {
    for (int f = 0; f < 100; ++f) all.push_back(*look_up(std::to_string(d) + "/" + std::to_string(f)));
  }
  EXPECT_LE(open_descriptors(), before + 16);
  for (int i = 0; i < 2000; i += 7) {
    EXPECT_EQ(read(*all[static_cast<size_t>(i)].node).value_or("?"), std::to_string((i / 100) * (i % 100)));
  }
  EXPECT_LE(open_descriptors(), before + 16);
}

TEST_F(PosixDescriptors, AreGivenBackWhenTheProcessRunsOutOfThem) {
  for (int i = 0; i < 100; ++i) write_source(std::to_string(i), "text");
  std::vector<Entry> all;
  for (int i = 0; i < 100; ++i) all.push_back(*look_up(std::to_string(i)));
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
  rlimit low = old;
  low.rlim_cur = open_descriptors() + 1;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  std::vector<std::unique_ptr<File>> files;
  int failures = 0;
  for (int i = 0; i < 60; ++i) {
    auto opened = fs_->open(*all[static_cast<size_t>(i)].node, {}, caller_);
    failures += opened ? 0 : 1;
    if (opened) files.push_back(std::move(opened->file));
  }
  setrlimit(RLIMIT_NOFILE, &old);
  EXPECT_EQ(failures, 0);
}

TEST_F(PosixDescriptors, OfADeepTreeAreOpenedAgain) {
  reopen({.max_cached_descriptors = 2});
  NodeRef at = fs_->root();
  constexpr int kDepth = 1000;
  for (int i = 0; i < kDepth; ++i) {
    auto made = fs_->make({*at, "d"}, {.kind = FileKind::directory}, caller_);
    ASSERT_OK(made);
    at = made->node;
  }
  ASSERT_OK(create(*at, "leaf"));
  evict();
  EXPECT_OK(fs_->lookup(*at, "leaf", caller_));
  at = {};  // releases all of them, one after the other
  others_.clear();
}

TEST_F(PosixDescriptors, SurviveRenamesOfParentsThroughUs) {
  reopen({.max_cached_descriptors = 2});
  std::filesystem::create_directories(root_ / "a/b/c");
  std::filesystem::create_directory(root_ / "x");
  write_source("a/b/c/file", "text");
  auto file = look_up("a/b/c/file");
  auto x = look_up("x");
  ASSERT_OK(file);
  ASSERT_OK(fs_->rename({*fs_->root(), "a"}, {*x->node, "moved"}, RenameMode::replace, caller_));
  evict();
  EXPECT_EQ(read(*file->node).value_or("?"), "text");
  auto moved = look_up("x/moved");
  ASSERT_OK(fs_->rename({*moved->node, "b"}, {*fs_->root(), "b"}, RenameMode::no_replace, caller_));
  evict();
  EXPECT_EQ(read(*file->node).value_or("?"), "text");
}

TEST_F(PosixDescriptors, SurviveAnExchangeThroughUs) {
  reopen({.max_cached_descriptors = 2});
  if (!fs_->capabilities().rename_exchange) GTEST_SKIP() << fs_->capabilities().type << " cannot exchange";
  std::filesystem::create_directories(root_ / "a");
  std::filesystem::create_directories(root_ / "b");
  write_source("a/file", "in a");
  write_source("b/file", "in b");
  auto in_a = look_up("a/file");
  auto in_b = look_up("b/file");
  ASSERT_OK(fs_->rename({*fs_->root(), "a"}, {*fs_->root(), "b"}, RenameMode::exchange, caller_));
  evict();
  EXPECT_EQ(read(*in_a->node).value_or("?"), "in a");
  EXPECT_EQ(read(*in_b->node).value_or("?"), "in b");
  EXPECT_EQ(look_up("a/file")->node, in_b->node);
}

TEST_F(PosixDescriptors, AnotherKnownNameServesWhenOneIsGone) {
  reopen({.max_cached_descriptors = 1});
  write_source("one", "text");
  std::filesystem::create_hard_link(root_ / "one", root_ / "two");
  auto node = look_up("one")->node;
  ASSERT_EQ(look_up("two")->node, node);
  std::filesystem::remove(root_ / "two");
  evict();
  EXPECT_EQ(read(*node).value_or("?"), "text");
}

TEST_F(PosixDescriptors, AFileReplacedElsewhereIsStaleOnceItsDescriptorIsGone) {
  reopen({.max_cached_descriptors = 1});
  write_source("file", "old");
  auto old_entry = look_up("file");
  write_source("new", "new");
  std::filesystem::rename(root_ / "new", root_ / "file");
  evict();
  EXPECT_ERRNO(fs_->open(*old_entry->node, {}, caller_), ESTALE);
  EXPECT_ERRNO(fs_->attributes(*old_entry->node, caller_), ESTALE);
  auto now = look_up("file");
  ASSERT_OK(now);
  EXPECT_NE(now->node, old_entry->node);
  EXPECT_EQ(read(*now->node).value_or("?"), "new");
}

TEST_F(PosixDescriptors, DirectoriesMovedIntoEachOtherElsewhereMakeNoCircle) {
  std::filesystem::create_directories(root_ / "a/b");
  auto a = look_up("a");
  auto b = look_up("a/b");
  std::filesystem::rename(root_ / "a/b", root_ / "b");
  std::filesystem::rename(root_ / "a", root_ / "b/a");
  ASSERT_OK(fs_->lookup(*b->node, "a", caller_));
  EXPECT_OK(look_up("b/a"));
  EXPECT_EQ(look_up("b/a")->node, a->node);
}

TEST_F(PosixDescriptors, ManyThreadsManyNodesFewDescriptors) {
  reopen({.max_cached_descriptors = 8});
  for (int d = 0; d < 8; ++d) std::filesystem::create_directory(root_ / std::to_string(d));
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::minstd_rand random(t + 1);
      const std::string mine = "file" + std::to_string(t);
      for (int i = 0; i < 400; ++i) {
        const auto from = look_up(std::to_string(random() % 8));
        const auto to = look_up(std::to_string(random() % 8));
        if (!from || !to) ++wrong;
        auto created = fs_->create({*from->node, mine}, {}, caller_);
        if (!created || !created->file->write_at(0, bytes(mine))) ++wrong;
        if (!fs_->rename({*from->node, mine}, {*to->node, mine}, RenameMode::replace, caller_)) ++wrong;
        if (read(*created->entry.node).value_or("?") != mine) ++wrong;
        if (!fs_->remove({*to->node, mine}, RemoveKind::file, caller_)) ++wrong;
        if (created->file->attributes().value_or(Attributes{}).size != mine.size()) ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

// Directories move about while others look into them: a node is never stale for what this process does.
TEST_F(PosixDescriptors, LookUpsBesideRenamesThroughUsNeverMakeANodeStale) {
  reopen({.max_cached_descriptors = 1});
  std::filesystem::create_directories(root_ / "one/dir");
  std::filesystem::create_directories(root_ / "two");
  write_source("one/dir/file", "text");
  auto file = look_up("one/dir/file");
  auto one = look_up("one");
  auto two = look_up("two");
  std::atomic<bool> stop = false;
  std::thread looker([&] {
    while (!stop) {
      ignore(fs_->lookup(*one->node, "dir", caller_), "it may be elsewhere");
      ignore(fs_->lookup(*two->node, "dir", caller_), "it may be elsewhere");
    }
  });
  int stale = 0;
  for (int i = 0; i < 2000; ++i) {
    Node& from = i % 2 == 0 ? *one->node : *two->node;
    Node& to = i % 2 == 0 ? *two->node : *one->node;
    EXPECT_OK(fs_->rename({from, "dir"}, {to, "dir"}, RenameMode::replace, caller_));
    if (read(*file->node).value_or("?") != "text") ++stale;
  }
  stop = true;
  looker.join();
  EXPECT_EQ(stale, 0);
}

size_t open_but_deleted(const std::filesystem::path& directory) {
  size_t count = 0;
  std::error_code error;
  for (const auto& fd : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    const std::string target = std::filesystem::read_symlink(fd.path(), error).string();
    if (target.starts_with(directory.string() + "/") && target.ends_with(" (deleted)")) ++count;
  }
  return count;
}

TEST_F(PosixDescriptors, DoNotKeepAFileThatWasRemovedElsewhereOnceItIsKnown) {
  write_source("f", "old");
  const Entry known = *look_up("f");
  std::filesystem::remove(root_ / "f");
  EXPECT_EQ(open_but_deleted(root_), 1U);
  EXPECT_FALSE(look_up("f"));
  EXPECT_EQ(open_but_deleted(root_), 0U);
}

TEST_F(PosixDescriptors, DoNotKeepAFileThatWasReplacedElsewhereOnceItIsKnown) {
  write_source("f", "old");
  const Entry known = *look_up("f");
  write_source("new", "new");
  std::filesystem::rename(root_ / "new", root_ / "f");
  EXPECT_EQ(open_but_deleted(root_), 1U);
  EXPECT_TRUE(look_up("f"));
  EXPECT_EQ(open_but_deleted(root_), 0U);
}

TEST(DescriptorCache, ClosesWhatWasNotUsedForAWhile) {
  ManualClock clock;
  posix::DescriptorCache cache(10, clock);
  posix::NodeTable table(true, cache);
  posix::PosixNode used(table, {.device = 1, .inode = 1, .generation = 0}, FileKind::regular);
  posix::PosixNode idle(table, {.device = 1, .inode = 2, .generation = 0}, FileKind::regular);
  const auto some_fd = [] { return posix::share(posix::UniqueFd(open("/dev/null", O_PATH | O_CLOEXEC))); };
  cache.put(idle, some_fd());
  cache.put(used, some_fd());
  clock.advance(posix::DescriptorCache::kIdle);
  EXPECT_NE(cache.get(used), nullptr);
  EXPECT_EQ(cache.size(), 2U);
  clock.advance(std::chrono::seconds(1));
  EXPECT_NE(cache.get(used), nullptr);
  EXPECT_EQ(cache.size(), 1U);
  EXPECT_EQ(cache.get(idle), nullptr);
}

TEST(DescriptorCache, KeepsNothingOfARootThatWasLetGoOf) {
  posix::DescriptorCache cache(10);
  posix::NodeTable table(true, cache);
  posix::PosixNode early(table, {.device = 1, .inode = 1, .generation = 0}, FileKind::regular);
  posix::PosixNode late(table, {.device = 1, .inode = 2, .generation = 0}, FileKind::regular);
  const auto fd_of = [](uint32_t epoch) {
    return posix::share(posix::UniqueFd(open("/dev/null", O_PATH | O_CLOEXEC), epoch));
  };
  cache.put(early, fd_of(0));
  cache.keep(early);
  cache.begin(1);
  EXPECT_EQ(cache.get(early), nullptr);
  cache.put(late, fd_of(0));
  EXPECT_EQ(cache.get(late), nullptr) << "its open was slow";
  cache.put(late, fd_of(1));
  cache.begin(1);
  EXPECT_NE(cache.get(late), nullptr);
}

}  // namespace
}  // namespace cachefs
