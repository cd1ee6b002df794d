// What the examples of docs/SEMANTICS.md start from.
#pragma once

#include <string_view>
#include <vector>

#include "unit/cache_stack.h"

namespace cachefs::test {

/// Files /d/f ("hello") and /d/s (a symlink to f) on the source, both known to the cache, f's content too.
class SemanticsTest : public CacheStackTest {
 protected:
  explicit SemanticsTest(const CacheOptions& options, const MemFsOptions& memory_options = {})
      : CacheStackTest(options, memory_options) {}
  void SetUp() override {
    ASSERT_TRUE(mkdir(source(), "/d"));
    given("/d/f", "hello");
    ASSERT_TRUE(symlink(source(), "f", "/d/s"));
    directory_ = resolve(cache(), "/d").value().node;
    ASSERT_EQ(cached("/d/f"), "hello");
    requests().reset();
  }
  void TearDown() override {
    directory_ = {};
    CacheStackTest::TearDown();
  }

  int look_up(std::string_view name) { return errno_of(cache().lookup(*directory_, name, Caller{})); }
  std::vector<DirectoryEntry> list() { return read_directory(cache(), "/d").value(); }
  /// Requests of that kind since the last reset.
  uint64_t sent(Operation operation) { return requests().count(operation); }

  NodeRef directory_;
};

class CloseToOpenSemantics : public SemanticsTest {
 protected:
  explicit CloseToOpenSemantics(const CacheOptions& options = {.max_bytes = 8 * kMiB, .coherence = {}})
      : SemanticsTest(options) {}
};

class TtlSemantics : public SemanticsTest {
 protected:
  TtlSemantics() : SemanticsTest({.max_bytes = 8 * kMiB, .coherence = for_ttl(std::chrono::seconds(60))}) {}
};

}  // namespace cachefs::test
