// Many threads at once.
#include <array>
#include <atomic>
#include <functional>
#include <set>
#include <thread>

#include "conformance/fixture.h"

namespace cachefs::conformance {
namespace {

class Concurrency : public FileSystemTest {
 protected:
  static constexpr int kThreads = 4;
  static constexpr int kRounds = 200;

  static void in_parallel(const std::function<void(int)>& work) {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) threads.emplace_back([&work, i] { work(i); });
  }
};
RUN_OVER_ALL_FILE_SYSTEMS(Concurrency);

TEST_P(Concurrency, AppendsNeverOverlap) {
  constexpr size_t kRecord = 16;
  const Entry entry = make_file("log");
  in_parallel([&](int thread) {
    auto file = open(*entry.node);
    const std::string record(kRecord, static_cast<char>('a' + thread));
    for (int i = 0; i < kRounds; ++i) EXPECT_EQ(errno_of(file->append(std::as_bytes(std::span(record)))), 0);
  });
  const std::string log = content(*entry.node);
  ASSERT_EQ(log.size(), kRecord * kThreads * kRounds);
  for (size_t at = 0; at < log.size(); at += kRecord) {
    EXPECT_EQ(log.substr(at, kRecord), std::string(kRecord, log[at]));
  }
}

TEST_P(Concurrency, OneOfManyExclusiveCreatesWins) {
  for (int i = 0; i < 20; ++i) {
    const std::string name = "lock" + std::to_string(i);
    std::atomic<int> winners = 0;
    in_parallel([&](int) {
      const int error = errno_of(fs().create({root(), name}, {.exclusive = true}, caller()));
      if (error == 0) ++winners;
      EXPECT_TRUE(error == 0 || error == EEXIST) << error;
    });
    EXPECT_EQ(winners, 1);
  }
}

TEST_P(Concurrency, WritersOfDisjointRangesDoNotDisturb) {
  constexpr size_t kShare = 10'000;
  const Entry entry = make_file("file");
  in_parallel([&](int thread) {
    auto file = open(*entry.node);
    write(*file, static_cast<uint64_t>(thread) * kShare,
          std::string(kShare, static_cast<char>('a' + thread)));
  });
  const std::string all = content(*entry.node);
  ASSERT_EQ(all.size(), kShare * kThreads);
  for (int thread = 0; thread < kThreads; ++thread) {
    EXPECT_EQ(all.substr(static_cast<size_t>(thread) * kShare, kShare),
              std::string(kShare, static_cast<char>('a' + thread)));
  }
}

TEST_P(Concurrency, ReplacedNameIsNeverMissing) {
  make_file("file", "content");
  std::atomic<bool> done = false;
  std::jthread replacer([&] {
    for (int i = 0; i < kRounds; ++i) {
      make_file("new", "content");
      EXPECT_EQ(rename("new", "file"), 0);
    }
    done = true;
  });
  while (!done) {
    auto entry = fs().lookup(root(), "file", caller());
    ASSERT_EQ(errno_of(entry), 0);
    EXPECT_EQ(entry->attributes.size, 7U);
  }
}

TEST_P(Concurrency, CrossingRenamesOfDirectoriesEnd) {
  const Entry left = make_directory("left");
  const Entry right = make_directory("right");
  make_directory(*left.node, "child");
  in_parallel([&](int thread) {
    for (int i = 0; i < kRounds; ++i) {
      Node& from = thread % 2 == 0 ? *left.node : *right.node;
      Node& to = thread % 2 == 0 ? *right.node : *left.node;
      const int error = errno_of(fs().rename({from, "child"}, {to, "child"}, RenameMode::replace, caller()));
      EXPECT_TRUE(error == 0 || error == ENOENT) << error;
    }
  });
  EXPECT_EQ(names(*left.node).size() + names(*right.node).size(), 1U);
}

TEST_P(Concurrency, NamesComeAndGoInOneDirectory) {
  in_parallel([&](int thread) {
    for (int i = 0; i < kRounds; ++i) {
      const std::string name = "file" + std::to_string(thread) + "-" + std::to_string(i);
      make_file(name, "x");
      if (i % 10 == 0) names(root());
      EXPECT_EQ(rename(name, name + "r"), 0);
      EXPECT_EQ(remove(name + "r"), 0);
    }
  });
  EXPECT_TRUE(names(root()).empty());
}

}  // namespace
}  // namespace cachefs::conformance
