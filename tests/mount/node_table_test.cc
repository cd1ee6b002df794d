// The table of the kernel's nodes: who sleeps, who is found again, and what the kernel is asked to forget.
#include "mount/node_table.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "cachefs/mem_fs.h"

namespace cachefs::mount {
namespace {

class NodeTableTest : public testing::Test {
 protected:
  void make_table(bool by_identity, const NodeLimits& limits) {
    table_ = std::make_unique<NodeTable>(fs_->root(), by_identity, limits, kFirstGeneration);
    root_ = table_->at(1);
  }
  void SetUp() override { make_table(true, {.known = 1000, .awake = 0}); }
  void TearDown() override { table_->check_invariants(); }

  Entry make(Node& directory, const std::string& name, FileKind kind = FileKind::regular) {
    auto made = fs_->make({directory, name}, {.kind = kind}, Caller::self());
    EXPECT_TRUE(made);
    return *made;
  }
  Entry look_up(const MountNodeRef& directory, const std::string& name) {
    auto found = fs_->lookup(*directory->node(), name, Caller::self());
    EXPECT_TRUE(found) << name;
    return *found;
  }
  /// Makes a file in the root and enters it. Only its number is kept.
  uint64_t enter_new(const std::string& name) {
    return NodeTable::number_of(*table_->enter(*root_, name, make(*root_->node(), name)));
  }
  /// Enters one more file, at which others fall asleep.
  void use_another() {
    static int count = 0;
    enter_new(fmt::format("other{}", ++count));
    enter_new(fmt::format("other{}", ++count));
  }

  /// The kernel forgets a node that it was told of once.
  void forget(uint64_t number) { table_->forget(number, 1); }
  bool finds_again(uint64_t number, const Entry& found) {
    const MountNodeRef node = table_->find_number(number);
    return node && table_->rouse(*node, found) && table_->enter_again(*node);
  }

  static constexpr uint32_t kFirstGeneration = 0xFFFFFFF0;
  std::unique_ptr<FileSystem> fs_ = make_mem_fs();
  std::unique_ptr<NodeTable> table_;
  MountNodeRef root_;
};

TEST_F(NodeTableTest, WhatIsNotUsedFallsAsleepAndIsFoundByItsPlace) {
  const uint64_t number = enter_new("file");
  use_another();
  const MountNodeRef node = table_->at(number);
  EXPECT_FALSE(node->is_awake());
  const auto place = table_->place_of(*node);
  ASSERT_TRUE(place);
  EXPECT_EQ(place->directory, root_);
  EXPECT_EQ(place->name, "file");
  EXPECT_TRUE(table_->rouse(*node, look_up(root_, "file")));
  EXPECT_EQ(node->node(), look_up(root_, "file").node);
}

TEST_F(NodeTableTest, OneThatSleepsIsFoundByTheNodeThatItHad) {
  const uint64_t number = enter_new("file");
  const NodeRef had = look_up(root_, "file").node;
  use_another();
  ASSERT_FALSE(table_->at(number)->is_awake());
  EXPECT_EQ(table_->find(*had), table_->at(number));
  forget(number);
  EXPECT_FALSE(table_->find(*had));
}

TEST_F(NodeTableTest, WhatIsReferencedStaysAwake) {
  const MountNodeRef node = table_->at(enter_new("file"));
  for (int i = 0; i < 20; ++i) use_another();
  EXPECT_TRUE(node->is_awake());
}

TEST_F(NodeTableTest, ALookUpWakesAndGivesTheSameNumber) {
  const uint64_t number = enter_new("file");
  use_another();
  const MountNodeRef again = table_->enter(*root_, "file", look_up(root_, "file"));
  EXPECT_EQ(NodeTable::number_of(*again), number);
  EXPECT_TRUE(again->is_awake());
}

TEST_F(NodeTableTest, AHardLinkLeadsToTheNodeThatSleeps) {
  const uint64_t number = enter_new("file");
  const auto linked = fs_->link(*look_up(root_, "file").node, {*root_->node(), "link"}, Caller::self());
  ASSERT_TRUE(linked);
  use_another();
  EXPECT_EQ(NodeTable::number_of(*table_->enter(*root_, "link", *linked)), number);
  EXPECT_EQ(table_->place_of(*table_->at(number))->name, "link") << "where it was seen last";
}

TEST_F(NodeTableTest, AnotherFileAtItsPlaceDoesNotWakeIt) {
  const uint64_t number = enter_new("file");
  use_another();
  ASSERT_TRUE(fs_->remove({*root_->node(), "file"}, RemoveKind::file, Caller::self()));
  const Entry other = make(*root_->node(), "file");
  const MountNodeRef node = table_->at(number);
  EXPECT_FALSE(table_->rouse(*node, other));
  EXPECT_NE(NodeTable::number_of(*table_->enter(*root_, "file", other)), number);
  EXPECT_FALSE(table_->place_of(*node)) << "the place is the other's now";
}

TEST_F(NodeTableTest, WithoutStableIdentityThePlaceIsTheFile) {
  make_table(false, {.known = 1000, .awake = 0});
  const uint64_t number = enter_new("file");
  use_another();
  ASSERT_TRUE(fs_->remove({*root_->node(), "file"}, RemoveKind::file, Caller::self()));
  const Entry other = make(*root_->node(), "file");
  EXPECT_EQ(NodeTable::number_of(*table_->enter(*root_, "file", other)), number);
}

TEST_F(NodeTableTest, APlaceFollowsARename) {
  const uint64_t number = enter_new("file");
  const uint64_t victim = enter_new("victim");
  table_->name_moved(*root_, "file", *root_, "victim");
  EXPECT_EQ(table_->place_of(*table_->at(number))->name, "victim");
  EXPECT_FALSE(table_->place_of(*table_->at(victim)));
  use_another();
  EXPECT_TRUE(table_->at(victim)->is_awake()) << "nothing would lead to it";
}

TEST_F(NodeTableTest, PlacesAreExchanged) {
  const uint64_t one = enter_new("one");
  const uint64_t other = enter_new("other");
  table_->names_exchanged(*root_, "one", *root_, "other");
  EXPECT_EQ(table_->place_of(*table_->at(one))->name, "other");
  EXPECT_EQ(table_->place_of(*table_->at(other))->name, "one");
}

TEST_F(NodeTableTest, DirectoriesThatSeemToBeAboveEachOtherAreCutApart) {
  const MountNodeRef upper = table_->enter(*root_, "a", make(*root_->node(), "a", FileKind::directory));
  const MountNodeRef lower = table_->enter(*upper, "b", make(*upper->node(), "b", FileKind::directory));
  const Entry upper_entry = look_up(root_, "a");
  table_->enter(*lower, "a", upper_entry);  // as after /a/b was moved to /b, and /a into it
  EXPECT_TRUE(table_->place_of(*upper));
  EXPECT_FALSE(table_->place_of(*lower));
}

TEST_F(NodeTableTest, ADirectoryOutlivesTheKernelsMemoryOfItForWhatIsInIt) {
  const uint64_t directory = enter_new("d");
  const MountNodeRef child = table_->enter(*table_->at(directory), "x", make(*root_->node(), "x"));
  table_->forget(directory, 1);
  EXPECT_EQ(table_->size(), 2U);
  const auto place = table_->place_of(*child);
  ASSERT_TRUE(place);
  EXPECT_EQ(place->name, "x");
}

TEST_F(NodeTableTest, WhatIsForgottenGivesItsNodeBack) {
  const Entry entry = make(*root_->node(), "file");
  const uint64_t number = NodeTable::number_of(*table_->enter(*root_, "file", entry));
  table_->enter(*root_, "file", entry);
  table_->forget(number, 1);
  EXPECT_EQ(table_->size(), 2U);
  table_->forget(number, 1);
  EXPECT_EQ(table_->size(), 1U);
  EXPECT_FALSE(table_->find(*entry.node));
}

TEST_F(NodeTableTest, WhatIsForgottenIsFoundAgainByItsNumberAndAsTheSame) {
  const uint64_t number = enter_new("file");
  const uint32_t generation = table_->generation_of(*table_->at(number));
  forget(number);
  EXPECT_EQ(table_->size(), 1U);
  EXPECT_EQ(table_->forgotten(), 1U);
  EXPECT_TRUE(finds_again(number, look_up(root_, "file")));
  EXPECT_EQ(table_->size(), 2U);
  EXPECT_EQ(table_->forgotten(), 0U);
  EXPECT_EQ(table_->generation_of(*table_->at(number)), generation);
  forget(number);
  EXPECT_EQ(NodeTable::number_of(*table_->enter(*root_, "file", look_up(root_, "file"))), number)
      << "by its name too";
}

TEST_F(NodeTableTest, AnotherFileAtItsPlaceIsNotWhatWasForgotten) {
  const uint64_t number = enter_new("file");
  forget(number);
  ASSERT_TRUE(fs_->remove({*root_->node(), "file"}, RemoveKind::file, Caller::self()));
  const Entry other = make(*root_->node(), "file");
  EXPECT_FALSE(finds_again(number, other));
  EXPECT_NE(NodeTable::number_of(*table_->enter(*root_, "file", other)), number);
  EXPECT_FALSE(table_->find_number(number)) << "nothing leads to it";
}

TEST_F(NodeTableTest, NumbersThatNoNodeHasAreNotFound) {
  const uint64_t number = enter_new("file");
  for (const uint64_t wrong : {uint64_t{0}, uint64_t{2}, number + 8, number - 1, ~uint64_t{0}})
    EXPECT_FALSE(table_->find_number(wrong)) << wrong;
  EXPECT_EQ(table_->find_number(1), root_);
}

TEST_F(NodeTableTest, GenerationsTellNodesApartFromAFirstOneThatWraps) {
  std::set<uint32_t> generations;
  for (int i = 0; i < 100; ++i)
    generations.insert(table_->generation_of(*table_->at(enter_new(fmt::format("f{}", i)))));
  EXPECT_EQ(generations.size(), 100U);
  EXPECT_TRUE(generations.contains(kFirstGeneration + 2));
  EXPECT_TRUE(generations.contains(5));
  EXPECT_EQ(table_->generation_of(*root_), 0U);
}

TEST_F(NodeTableTest, AsManyAreKeptAsMayBeAndADirectoryLongerThanWhatIsInIt) {
  make_table(true, {.known = 1000, .awake = 0, .forgotten = 3});
  const Entry directory_entry = make(*root_->node(), "d", FileKind::directory);
  const uint64_t directory = NodeTable::number_of(*table_->enter(*root_, "d", directory_entry));
  const uint64_t child =
      NodeTable::number_of(*table_->enter(*table_->at(directory), "x", make(*directory_entry.node, "x")));
  forget(directory);
  forget(child);
  std::vector<uint64_t> files;
  for (int i = 0; i < 2; ++i) {
    files.push_back(enter_new(fmt::format("f{}", i)));
    forget(files.back());
  }
  EXPECT_EQ(table_->forgotten(), 3U);
  EXPECT_FALSE(table_->find_number(child));
  EXPECT_TRUE(table_->find_number(directory));
  EXPECT_TRUE(table_->find_number(files[0]));
}

TEST_F(NodeTableTest, WhatIsForgottenWhileItIsUsedFallsAsleepLater) {
  const uint64_t number = enter_new("file");
  MountNodeRef user = table_->at(number);
  forget(number);
  EXPECT_TRUE(user->is_awake());
  EXPECT_EQ(table_->size(), 1U);
  table_->check_invariants();
  user = nullptr;
  use_another();
  EXPECT_EQ(table_->forgotten(), 1U);
  EXPECT_TRUE(finds_again(number, look_up(root_, "file")));
}

TEST_F(NodeTableTest, WhatHasLostItsNameIsNotKept) {
  const uint64_t before = enter_new("before");
  table_->name_removed(*root_, "before");
  forget(before);
  EXPECT_FALSE(table_->find_number(before));
  const uint64_t after = enter_new("after");
  forget(after);
  table_->name_removed(*root_, "after");
  EXPECT_FALSE(table_->find_number(after));
  EXPECT_EQ(table_->forgotten(), 0U);
}

TEST_F(NodeTableTest, WhatIsForgottenFollowsARenameAndGoesWhenItIsReplaced) {
  const uint64_t file = enter_new("file");
  const uint64_t victim = enter_new("victim");
  forget(file);
  forget(victim);
  table_->name_moved(*root_, "file", *root_, "victim");
  EXPECT_EQ(table_->place_of(*table_->find_number(file))->name, "victim");
  EXPECT_FALSE(table_->find_number(victim));
  const uint64_t other = enter_new("other");
  forget(other);
  table_->names_exchanged(*root_, "victim", *root_, "other");
  EXPECT_EQ(table_->place_of(*table_->find_number(file))->name, "other");
  EXPECT_EQ(table_->place_of(*table_->find_number(other))->name, "victim");
}

TEST_F(NodeTableTest, WithoutStableIdentityNothingIsKept) {
  make_table(false, {.known = 1000, .awake = 0});
  const uint64_t number = enter_new("file");
  forget(number);
  EXPECT_FALSE(table_->find_number(number));
}

TEST_F(NodeTableTest, WhoWokeWhatIsNoLongerKeptDoesNotBringItBack) {
  const uint64_t number = enter_new("file");
  forget(number);
  const MountNodeRef node = table_->find_number(number);
  table_->name_removed(*root_, "file");
  EXPECT_FALSE(table_->rouse(*node, look_up(root_, "file")));
  EXPECT_FALSE(table_->enter_again(*node));
  EXPECT_EQ(table_->size(), 1U);
}

TEST_F(NodeTableTest, HandlesOfWhatOthersForgetAndMoveLeadToTheirFilesOrToNone) {
  make_table(true, {.known = 1000, .awake = 2, .forgotten = 4});
  constexpr int kFiles = 16;
  struct File {
    std::string name;
    Entry entry;
    uint64_t number = 0;
    uint32_t generation = 0;
  };
  std::vector<File> files;
  for (int i = 0; i < kFiles; ++i) {
    const std::string name = fmt::format("f{}", i);
    files.push_back({.name = name, .entry = make(*root_->node(), name)});
    const MountNodeRef node = table_->enter(*root_, name, files.back().entry);
    files.back().number = NodeTable::number_of(*node);
    files.back().generation = table_->generation_of(*node);
    forget(files.back().number);
  }
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 20'000; ++i) {
        const File& file = files[static_cast<size_t>(i * 7 + thread) % kFiles];
        if (thread == 0) {  // by name
          table_->forget(NodeTable::number_of(*table_->enter(*root_, file.name, file.entry)), 1);
          continue;
        }
        const MountNodeRef node = table_->find_number(file.number);  // by handle
        if (!node || table_->generation_of(*node) != file.generation) continue;
        if (!table_->rouse(*node, file.entry) || !table_->enter_again(*node)) continue;
        if (node->identity != file.entry.attributes.identity) std::abort();
        if (node->node() != file.entry.node) std::abort();
        table_->forget(file.number, 1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(table_->size(), 1U);
}

TEST_F(NodeTableTest, AboveTheLimitTheOldestAreNamedAndADirectoryAfterWhatIsInIt) {
  const uint64_t directory = enter_new("d");
  table_->enter(*table_->at(directory), "x", make(*root_->node(), "x"));
  std::vector<uint64_t> numbers;
  for (int i = 0; i < 999; ++i) numbers.push_back(enter_new(fmt::format("f{}", i)));
  ASSERT_TRUE(table_->is_crowded());
  const std::vector<UnusedNode> first = table_->take_unused(100);
  ASSERT_EQ(first.size(), 100U);
  for (const UnusedNode& node : first) EXPECT_NE(node.number, directory);
  EXPECT_TRUE(std::ranges::any_of(first, [](const UnusedNode& node) { return node.name == "f0"; }));
  EXPECT_FALSE(std::ranges::any_of(first, [](const UnusedNode& node) { return node.name == "f900"; }));
}

TEST_F(NodeTableTest, ARoundEndsAndAsksForEachOnceThoughNoneIsForgotten) {
  for (int i = 0; i < 945; ++i) enter_new(fmt::format("f{}", i));
  std::set<uint64_t> asked;
  size_t asks = 0;
  while (table_->is_crowded()) {
    for (const UnusedNode& node : table_->take_unused(512)) {
      asked.insert(node.number);
      ++asks;
    }
  }
  EXPECT_EQ(asked.size(), asks);
  EXPECT_GE(asks, 100U);
  EXPECT_LE(asks, 400U) << "an eighth, and what is too much";
  enter_new("one more");
  EXPECT_FALSE(table_->is_crowded()) << "not again for each file";
  for (int i = 0; i < 70; ++i) enter_new(fmt::format("g{}", i));
  EXPECT_TRUE(table_->is_crowded()) << "but for each sixteenth";
}

TEST_F(NodeTableTest, NodesThatFallAsleepWhileTheyAreUsedByOthersAreNeverSeenHalfAwake) {
  constexpr int kFiles = 16;
  std::vector<uint64_t> numbers;
  std::vector<Entry> entries;
  for (int i = 0; i < kFiles; ++i) {
    const std::string name = fmt::format("f{}", i);
    entries.push_back(make(*root_->node(), name));
    numbers.push_back(NodeTable::number_of(*table_->enter(*root_, name, entries.back())));
  }
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 20'000; ++i) {
        const auto index = static_cast<size_t>(i * 7 + thread) % kFiles;
        const MountNodeRef node = table_->at(numbers[index]);
        if (!node->is_awake() && !table_->rouse(*node, entries[index])) std::abort();
        if (node->node() != entries[index].node) std::abort();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(table_->size(), kFiles + 1U);
}

}  // namespace
}  // namespace cachefs::mount
