// What do the library's hits cost, in time and allocations, and what does a miss at capacity?
//
// The source is a file system in memory: what is measured is the cache. Every case checks by the counters
// that it did what its name says.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "cachefs/cache_fs.h"
#include "cachefs/mem_fs.h"
#include "cachefs/path_operations.h"
#include "support/allocations.h"

namespace cachefs::bench {
namespace {

template <typename Result>
auto need(Result result) {
  if (!result) throw std::runtime_error(result.error().message());
  if constexpr (!std::is_void_v<typename Result::value_type>) return std::move(*result);
}

/// `count` files of `size` bytes below /files, a cache over them, and a handle for each.
class World {
 public:
  World(int count, size_t size, uint64_t limit) : source_(make_mem_fs()) {
    need(mkdir(*source_, "/files"));
    const std::string content(size, 'x');
    for (int i = 0; i < count; ++i) {
      paths_.push_back(fmt::format("/files/{:06}", i));
      need(write_file(*source_, paths_.back(), content));
    }
    CacheOptions options;
    options.max_bytes = limit;
    options.coherence = need(parse_coherence("ttl=1h"));
    cache_ = need(CacheFs::create(*source_, options));
    for (const std::string& path : paths_) files_.push_back(need(open(*cache_, path)));
    std::vector<std::byte> buffer(size);
    for (const auto& file : files_) need(file->read_at(0, buffer));
  }

  [[nodiscard]] CacheFs& cache() const { return *cache_; }
  [[nodiscard]] size_t count() const { return files_.size(); }
  [[nodiscard]] File& file(size_t i) const { return *files_[i]; }
  [[nodiscard]] const std::string& path(size_t i) const { return paths_[i]; }

 private:
  std::unique_ptr<FileSystem> source_;
  std::unique_ptr<CacheFs> cache_;
  std::vector<std::string> paths_;
  std::vector<std::unique_ptr<File>> files_;
};

/// Made by the first case that asks for that size, shared by its threads; `count` differs by size alone.
World& world_of(size_t size) {
  static World small(1000, 1024, 256 * kMiB);
  static World page(1000, 4096, 256 * kMiB);
  static World block(200, 128 * kKiB, 256 * kMiB);
  return size == 1024 ? small : size == 4096 ? page : block;
}

/// Shards are not alike full, so that some blocks outlive a round. The counter tells how many of the reads
/// missed.
constexpr double kMissesMin = 0.5;

/// Counts allocations and the cache's own counters over the measured loop, and judges them.
class Watch {
 public:
  Watch(benchmark::State& state, const World& world)
      : state_(state),
        world_(world),
        before_(world.cache().stats()),
        allocations_(allocations_of_this_thread()) {}

  /// To be called after the loop. `misses`: each operation is one, or none is.
  void finish(bool misses) {
    const auto made = static_cast<double>(allocations_of_this_thread() - allocations_);
    state_.counters["allocations"] =
        benchmark::Counter(made, benchmark::Counter::kAvgIterations);  // of all threads, per operation
    const CacheStats after = world_.cache().stats();
    const uint64_t missed = after.misses - before_.misses;
    const uint64_t asked = after.source_metadata_ops - before_.source_metadata_ops;
    if (misses)
      state_.counters["misses"] =
          benchmark::Counter(static_cast<double>(missed), benchmark::Counter::kAvgIterations);
    if (!misses && (missed != 0 || asked != 0))
      state_.SkipWithError("a hit was to be measured, and there were misses");
    if (misses && static_cast<double>(missed) < kMissesMin * static_cast<double>(state_.iterations()))
      state_.SkipWithError("misses were to be measured, and there were hits");
  }

 private:
  benchmark::State& state_;
  const World& world_;
  const CacheStats before_;
  const uint64_t allocations_;
};

/// Files in an order without pattern; each thread its own.
class Order {
 public:
  Order(const benchmark::State& state, size_t count)
      : state_(static_cast<uint64_t>(state.thread_index()) * 7919 + 1), count_(count) {}
  size_t next() {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<size_t>((state_ >> 33) % count_);
  }

 private:
  uint64_t state_;
  const size_t count_;
};

void read_hit_by_handle(benchmark::State& state) {
  const auto size = static_cast<size_t>(state.range(0));
  const World& world = world_of(size);
  std::vector<std::byte> buffer(size);
  Order order(state, world.count());
  Watch watch(state, world);
  for (auto _ : state) {
    benchmark::DoNotOptimize(world.file(order.next()).read_at(0, buffer));
    benchmark::ClobberMemory();
  }
  watch.finish(false);
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(read_hit_by_handle)->Arg(1024)->Arg(4096)->Arg(128 << 10)->Threads(1)->Threads(2)->UseRealTime();

void open_read_close_by_path(benchmark::State& state) {
  const World& world = world_of(4096);
  std::vector<std::byte> buffer(4096);
  Order order(state, world.count());
  Watch watch(state, world);
  for (auto _ : state) {
    const auto file = need(open(world.cache(), world.path(order.next())));
    benchmark::DoNotOptimize(file->read_at(0, buffer));
    need(file->close());
    benchmark::ClobberMemory();
  }
  watch.finish(false);
}
BENCHMARK(open_read_close_by_path)->Threads(1)->Threads(2)->UseRealTime();

void stat_hit_by_path(benchmark::State& state) {
  const World& world = world_of(4096);
  Order order(state, world.count());
  Watch watch(state, world);
  for (auto _ : state) benchmark::DoNotOptimize(stat(world.cache(), world.path(order.next())));
  watch.finish(false);
}
BENCHMARK(stat_hit_by_path)->Threads(1)->Threads(2)->UseRealTime();

void stat_hit_by_node(benchmark::State& state) {
  const World& world = world_of(4096);
  std::vector<Entry> entries;
  for (size_t i = 0; i < world.count(); ++i) entries.push_back(need(resolve(world.cache(), world.path(i))));
  const Caller caller;
  Order order(state, world.count());
  Watch watch(state, world);
  for (auto _ : state)
    benchmark::DoNotOptimize(world.cache().attributes(*entries[order.next()].node, caller));
  watch.finish(false);
}
BENCHMARK(stat_hit_by_node)->Threads(1)->Threads(2)->UseRealTime();

/// Four times as many blocks as there is room for, in a circle: with LRU each one has just gone.
void miss_and_insert_at_capacity(benchmark::State& state) {
  static World world(16384, 4096, 32 * kMiB);
  std::vector<std::byte> buffer(4096);
  size_t next = 0;
  const uint64_t evictions = world.cache().stats().evictions;
  Watch watch(state, world);
  for (auto _ : state) {
    benchmark::DoNotOptimize(world.file(next).read_at(0, buffer));
    next = next + 1 == world.count() ? 0 : next + 1;
  }
  watch.finish(true);
  if (world.cache().stats().evictions == evictions) state.SkipWithError("nothing was evicted");
}
BENCHMARK(miss_and_insert_at_capacity);

}  // namespace
}  // namespace cachefs::bench
