// A cache over a source in memory that counts, fails and hangs on demand, with the clock in hand.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

#include "cachefs/cache_fs.h"
#include "cachefs/decorators.h"
#include "cachefs/mem_fs.h"
#include "cachefs/path_operations.h"

namespace cachefs::test {

/// 0 for success.
template <typename T>
int errno_of(const Result<T>& result) {
  return result ? 0 : result.error().to_errno();
}

inline Coherence for_ttl(std::chrono::nanoseconds ttl) { return {.mode = CoherenceMode::ttl, .ttl = ttl}; }

/// Calls pass cache -> counter -> faults -> memory. `memory` is the source as others see it: changes made
/// there are foreign ones.
class CacheStack {
 public:
  explicit CacheStack(CacheOptions options = {}, MemFsOptions memory_options = {}) {
    memory_options.clock = &clock;
    memory = make_mem_fs(memory_options);
    faulty_ = make_hooked_fs(*memory, faults);
    counted_ = make_hooked_fs(*faulty_, counter);
    options.clock = &clock;
    auto made = CacheFs::create(*counted_, options);
    if (made) cache = std::move(*made);
    counter.reset();
  }

  ManualClock clock;
  std::unique_ptr<FileSystem> memory;
  FaultHook faults;
  OperationCounter counter;

 private:
  std::unique_ptr<FileSystem> faulty_;
  std::unique_ptr<FileSystem> counted_;

 public:
  std::unique_ptr<CacheFs> cache;
};

/// The stack's file system, failing as the stack says. It keeps the stack: what a guard leaves behind at its
/// end may use it for a moment.
inline std::shared_ptr<FileSystem> make_faulty_source(const std::shared_ptr<CacheStack>& stack) {
  return {make_hooked_fs(*stack->memory, stack->faults).release(),
          [stack](FileSystem* source) { delete source; }};
}

/// Reads and writes with text.
inline std::string read_text(File& file, uint64_t offset, size_t size) {
  std::string text(size, '\0');
  const auto count = file.read_at(offset, std::as_writable_bytes(std::span(text)));
  if (!count) return "error: " + count.error().message();
  text.resize(*count);
  return text;
}
inline Result<size_t> write_text(File& file, uint64_t offset, std::string_view text) {
  return file.write_at(offset, std::as_bytes(std::span(text)));
}
inline Result<AppendResult> append_text(File& file, std::string_view text) {
  return file.append(std::as_bytes(std::span(text)));
}

inline constexpr OpenOptions kReadWrite{.read = true, .write = true};

/// Tests over one stack; at the end the invariants must hold and clear() must bring the used bytes to 0.
class CacheStackTest : public ::testing::Test {
 protected:
  explicit CacheStackTest(const CacheOptions& options = {}, const MemFsOptions& memory_options = {})
      : stack_(std::make_shared<CacheStack>(options, memory_options)) {}
  void TearDown() override {
    if (stack_->cache == nullptr) return;
    cache().check_invariants();
    EXPECT_LE(cache().stats().bytes_used, cache().stats().bytes_limit);
  }

  CacheFs& cache() { return *stack_->cache; }
  FileSystem& source() { return *stack_->memory; }
  OperationCounter& requests() { return stack_->counter; }
  FaultHook& faults() { return stack_->faults; }
  void pass(std::chrono::nanoseconds time) { stack_->clock.advance(time); }
  /// Names and attributes known so far are asked for again.
  void outlive_attributes() { pass(std::chrono::seconds(2)); }

  /// All fail the test if they cannot.
  void given(std::string_view path, std::string_view content) {
    ASSERT_TRUE(write_file(source(), path, content));
  }
  std::string cached(std::string_view path) { return content_of(cache(), path); }
  std::string on_source(std::string_view path) { return content_of(source(), path); }
  std::unique_ptr<File> open_cached(std::string_view path, const OpenOptions& options = {}) {
    auto file = open(cache(), path, options);
    EXPECT_TRUE(file) << path;
    return file ? std::move(*file) : nullptr;
  }
  Attributes attributes_of(std::string_view path) { return stat(cache(), path).value_or(Attributes{}); }
  /// What the cache says of a path is what the source says, asked anew.
  void expect_same(std::string_view path) {
    const auto here = stat(cache(), path);
    const auto there = stat(source(), path);
    ASSERT_EQ(errno_of(here), errno_of(there)) << path;
    EXPECT_TRUE(!there || *here == *there) << path;
  }

  std::shared_ptr<CacheStack> stack_;

 private:
  static std::string content_of(FileSystem& fs, std::string_view path) {
    const auto content = read_file(fs, path);
    return content ? *content : "error: " + content.error().message();
  }
};

}  // namespace cachefs::test
