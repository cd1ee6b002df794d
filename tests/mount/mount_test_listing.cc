// Listings that are read while the directory changes, from any place that was ever read.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "mount/mount_test_fixture.h"
#include "support/scale.h"

namespace cachefs::test {
namespace {

struct Seen {
  std::string name;
  off_t after = 0;  ///< the offset after the entry
};

/// An open directory, read with requests of any size.
class Reader {
 public:
  explicit Reader(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {}
  ~Reader() { close(fd_); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  /// Adds to seen(). False at the end.
  bool read(size_t bytes) {
    std::vector<uint64_t> buffer(bytes / sizeof(uint64_t));
    const ssize_t size = getdents64(fd_, buffer.data(), bytes);
    EXPECT_GE(size, 0) << strerrorname_np(errno);
    const char* at = reinterpret_cast<const char*>(buffer.data());
    for (const char* const end = at + size; at < end;) {
      const auto* entry = reinterpret_cast<const dirent64*>(at);
      seen_.push_back({.name = entry->d_name, .after = entry->d_off});
      at += entry->d_reclen;
    }
    return size > 0;
  }
  void read_all(size_t bytes) {
    while (read(bytes)) {
    }
  }
  /// Back to where `count` entries had been read.
  void go_back(size_t count) {
    const off_t offset = count == 0 ? 0 : seen_[count - 1].after;
    EXPECT_EQ(lseek(fd_, offset, SEEK_SET), offset);
    seen_.resize(count);
  }
  [[nodiscard]] const std::vector<Seen>& seen() const { return seen_; }

 private:
  const int fd_;
  std::vector<Seen> seen_;  ///< before the place where it is now
};

class MountListing : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_EQ(mkdir(directory().c_str(), 0755), 0);
  }
  [[nodiscard]] std::string directory() const { return at("directory"); }
  [[nodiscard]] bool make(const std::string& name) const {
    return mknod((directory() + "/" + name).c_str(), S_IFREG | 0644, 0) == 0;
  }
  [[nodiscard]] bool remove(const std::string& name) const {
    return unlink((directory() + "/" + name).c_str()) == 0;
  }

  /// A reader, and which of the names that come and go were there, or not any more, when it began.
  struct Pass {
    explicit Pass(const MountListing& test) : reader(test.directory()) { begin(test); }
    void begin(const MountListing& test) {
      there = test.others_;
      gone = test.removed_;
    }
    Reader reader;
    std::set<std::string> there, gone;
  };
  void make_what_stays(int count);
  void change_at_random(std::mt19937& random);
  void read_at_random(Pass& pass, std::mt19937& random);
  void expect_right(const Pass& pass) const;

  std::set<std::string> stay_;
  std::set<std::string> others_;   ///< names that come and go: those that are there now
  std::set<std::string> removed_;  ///< likewise: those that went; none comes again
};
INSTANTIATE_TEST_SUITE_P(, MountListing,
                         testing::Values(SourceKind::memory, SourceKind::posix, SourceKind::cached),
                         source_name);

/// With a cache that has no room for the directory.
class MountLargeListing : public MountListing {
 protected:
  [[nodiscard]] CacheOptions cache_options() const override { return {.max_bytes = 256 * 1024}; }
};
INSTANTIATE_TEST_SUITE_P(, MountLargeListing, testing::Values(SourceKind::cached), source_name);

void MountListing::make_what_stays(int count) {
  for (int i = 0; i < count; ++i) {
    const std::string name = "a name that stays " + std::to_string(i);
    ASSERT_TRUE(make(name));
    stay_.insert(name);
  }
}

void MountListing::change_at_random(std::mt19937& random) {
  if (random() % 2 == 0 || others_.empty()) {
    const std::string name = "comes and goes " + std::to_string(others_.size() + removed_.size());
    ASSERT_TRUE(make(name));
    others_.insert(name);
    return;
  }
  const auto victim = std::next(others_.begin(), static_cast<ptrdiff_t>(random() % others_.size()));
  ASSERT_TRUE(remove(*victim));
  removed_.insert(*victim);
  others_.erase(victim);
}

void MountListing::read_at_random(Pass& pass, std::mt19937& random) {
  const size_t bytes = size_t{512} << random() % 6;
  const size_t count = pass.reader.seen().size();
  switch (random() % 8) {
    case 0:
      if (count == 0) break;  // nobody is told of a rewinddir() of what was not yet read
      pass.reader.go_back(0);
      pass.begin(*this);
      break;
    case 1:
      pass.reader.read_all(bytes);
      expect_right(pass);
      break;
    case 2:
    case 3:
      if (count > 0) pass.reader.go_back(1 + random() % count);
      break;
    default:
      pass.reader.read(bytes);
  }
}

/// Of one that has come to the end.
void MountListing::expect_right(const Pass& pass) const {
  std::map<std::string, int> counts;
  for (const Seen& entry : pass.reader.seen()) ++counts[entry.name];
  for (const char* dots : {".", ".."}) EXPECT_EQ(counts[dots], 1) << dots;
  for (const std::string& name : stay_) EXPECT_EQ(counts[name], 1) << name;
  for (const std::string& name : pass.there) {
    if (removed_.contains(name)) continue;
    EXPECT_EQ(counts[name], 1) << name << ", there from the start";
  }
  for (const std::string& name : pass.gone) EXPECT_EQ(counts[name], 0) << name << ", gone from the start";
}

TEST_P(MountListing, WhatStaysComesOnceFromAnyPlaceWhileOthersComeAndGo) {
  make_what_stays(700);
  std::mt19937 random(static_cast<uint32_t>(seed()));
  std::vector<std::unique_ptr<Pass>> passes(2);
  for (int step = 0; step < scaled(3000) && !HasFailure(); ++step) {
    std::unique_ptr<Pass>& pass = passes[random() % passes.size()];
    if (pass == nullptr || random() % 50 == 0) pass = std::make_unique<Pass>(*this);
    if (random() % 3 == 0) change_at_random(random);
    if (random() % 10 == 0 && cache() != nullptr) cache()->clear();
    read_at_random(*pass, random);
  }
}

TEST_P(MountLargeListing, WhatStaysComesOnceFromAnyPlaceWhileOthersComeAndGo) {
  make_what_stays(700);
  std::mt19937 random(static_cast<uint32_t>(seed()));
  std::vector<std::unique_ptr<Pass>> passes(2);
  for (int step = 0; step < scaled(3000) && !HasFailure(); ++step) {
    std::unique_ptr<Pass>& pass = passes[random() % passes.size()];
    if (pass == nullptr || random() % 50 == 0) pass = std::make_unique<Pass>(*this);
    if (random() % 3 == 0) change_at_random(random);
    read_at_random(*pass, random);
  }
}

TEST_P(MountListing, AProgramMayRemoveWhatItReads) {
  make_what_stays(2000);
  Reader reader(directory());
  size_t done = 0;
  while (reader.read(1024)) {
    for (; done < reader.seen().size(); ++done) {
      const std::string& name = reader.seen()[done].name;
      ASSERT_TRUE(name == "." || name == ".." || remove(name));
    }
  }
  EXPECT_EQ(rmdir(directory().c_str()), 0) << strerrorname_np(errno);
}

uint64_t resident_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    uint64_t kib = 0;
    if (word == "VmRSS:" && status >> kib) return kib;
  }
  return 0;
}

/// Large enough for a copy to be noticed.
class MountHugeListing : public MountListing {
 protected:
  [[nodiscard]] CacheOptions cache_options() const override { return {.max_bytes = 32 * 1024 * 1024}; }
};
INSTANTIATE_TEST_SUITE_P(, MountHugeListing, testing::Values(SourceKind::cached), source_name);

TEST_P(MountHugeListing, OpenDirectoriesHoldNoCopyOfIt) {
  constexpr int kEntries = 100'000;
  const std::filesystem::path files = source_directory() / "directory";
  for (int i = 0; i < kEntries; ++i)
    ASSERT_EQ(mknod((files / ("a name that stays " + std::to_string(i))).c_str(), S_IFREG | 0644, 0), 0);
  std::vector<std::unique_ptr<Reader>> readers;
  const auto open_one = [&] {
    readers.push_back(std::make_unique<Reader>(directory()));
    readers.back()->read(512);
  };
  for (int i = 0; i < 10; ++i) open_one();
  const uint64_t before = resident_kib();
  for (int i = 0; i < 200; ++i) open_one();
  EXPECT_LT(resident_kib() - before, 200 * 128U) << "128 KiB for each: a window, and the source's";
  readers.front()->read_all(32 * 1024);
  std::set<std::string> names;
  for (const Seen& entry : readers.front()->seen()) names.insert(entry.name);
  EXPECT_EQ(names.size(), kEntries + 2U);
  EXPECT_EQ(readers.front()->seen().size(), kEntries + 2U);
}

}  // namespace
}  // namespace cachefs::test
