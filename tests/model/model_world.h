// A source with a cache over it, and a plain file system beside them that is told the same. Random operations
// go through the cache or straight to the source; whatever the cache answers must agree with the plain one.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cachefs/cache_fs.h"
#include "cachefs/clock.h"
#include "cachefs/mem_fs.h"
#include "cachefs/path_operations.h"

namespace cachefs::model {

struct WorldOptions {
  CacheOptions cache;
  /// The clock that cache and source share can be turned; else it is the machine's.
  ManualClock* clock = nullptr;
};

class World {
 public:
  /// `source` is empty. Neither it nor the clock is owned.
  World(FileSystem& source, const WorldOptions& options, uint64_t seed);
  ~World();

  /// One random operation. False, with failure() telling why, when the cache's answer is wrong.
  bool step();
  [[nodiscard]] const std::string& failure() const { return failure_; }
  /// Everything that can be reached through the cache against the plain file system.
  bool compare_all();
  [[nodiscard]] CacheFs& cache() { return *cache_; }

 private:
  /// A file kept open, and every content it had since then.
  struct Handle {
    std::unique_ptr<File> cached;
    std::unique_ptr<File> plain;
    std::vector<std::string> contents;  ///< the last is the present one
    size_t oldest_allowed = 0;  ///< what was read or written through the cache may not be forgotten again
    bool any_version = false;   ///< the source hides its changes: no content can be excluded
  };
  enum class Through : bool { cache, source };

  using Operation = Result<void> (*)(const PathContext&, World&);
  uint64_t random(uint64_t below) { return rng_() % below; }
  std::string random_directory();
  std::string random_path();
  std::string random_content();
  bool fails(const std::string& what);

  /// Runs the same on both sides and compares what became of it.
  template <typename Run>
  bool mutate(const char* name, Through through, Run run);
  void after_mutation(Through through);
  bool random_mutation();
  bool random_check();
  bool check_file(const std::string& path);
  bool check_attributes(const std::string& path);
  bool check_directory(const std::string& path);
  bool open_handle(const std::string& path);
  bool use_handle();
  bool read_handle(Handle& handle);
  bool write_handle(Handle& handle);
  void forget_or_wait();
  void note_contents(Through through);
  [[nodiscard]] bool certain() const;

  std::mt19937_64 rng_;
  const WorldOptions options_;
  FileSystem& source_;
  std::unique_ptr<FileSystem> plain_;
  std::unique_ptr<CacheFs> cache_;
  std::vector<Handle> handles_;
  MonotonicTime certain_since_;
  std::string failure_;
  std::string last_;
  std::string paths_;
};

}  // namespace cachefs::model
