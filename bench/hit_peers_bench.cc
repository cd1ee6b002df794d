// Is a hit as fast as a look-up in RocksDB's block caches?
//
// Both sides find a value by a key of the same popularity (zipf 0.99) and copy it out. LRUCache is asked by a
// path, HyperClockCache by 16 bytes, the only size that it takes. What is cached fits: there are no misses.
#include <fmt/format.h>
#include <rocksdb/cache.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "cachefs/cache_fs.h"
#include "cachefs/mem_fs.h"
#include "cachefs/path_operations.h"
#include "support/measure.h"

namespace cachefs::bench {
namespace {

constexpr double kSkew = 0.99;
constexpr size_t kBatch = 512;  ///< operations between two looks at the clock

/// What is not looked at would not be done.
template <typename Value>
void keep(const Value& value) {
  asm volatile("" : : "r"(&value) : "memory");
}

/// A long sequence of entries by their popularity; which ones are popular has nothing to do with their place.
std::vector<uint32_t> zipf_sequence(size_t entries, size_t length, uint64_t seed) {
  std::vector<double> sums(entries);
  double sum = 0;
  for (size_t i = 0; i < entries; ++i) sums[i] = sum += 1 / std::pow(static_cast<double>(i + 1), kSkew);
  std::vector<uint32_t> order(entries);
  std::iota(order.begin(), order.end(), 0U);
  std::shuffle(order.begin(), order.end(), std::mt19937_64(1));  // the same for all threads
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform(0, sum);
  std::vector<uint32_t> sequence(length);
  for (uint32_t& entry : sequence) {
    const auto rank = std::lower_bound(sums.begin(), sums.end(), uniform(random)) - sums.begin();
    entry = order[std::min(static_cast<size_t>(rank), entries - 1)];
  }
  return sequence;
}

std::string path_of(size_t i) { return fmt::format("/files/{:03}/{:06}", i % 100, i); }

struct FreeArray {
  static void destroy(const rocksdb::Slice& /*key*/, void* value) { delete[] static_cast<char*>(value); }
};

/// One of RocksDB's caches with values in it.
class Peer {
 public:
  Peer(std::shared_ptr<rocksdb::Cache> cache, std::vector<std::string> keys, size_t size)
      : cache_(std::move(cache)), keys_(std::move(keys)), size_(size) {
    for (const std::string& key : keys_) {
      auto* value = new char[size];
      std::memset(value, 'x', size);
      require(cache_->Insert(key, value, size, &FreeArray::destroy).ok(), "RocksDB takes a value");
    }
  }
  void copy(size_t i, std::byte* to) const {
    rocksdb::Cache::Handle* found = cache_->Lookup(keys_[i]);
    if (found == nullptr) {
      misses_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    std::memcpy(to, cache_->Value(found), size_);
    cache_->Release(found);
  }
  void look_up(size_t i) const {
    rocksdb::Cache::Handle* found = cache_->Lookup(keys_[i]);
    keep(found);
    cache_->Release(found);
  }
  [[nodiscard]] uint64_t misses() const { return misses_; }

 private:
  const std::shared_ptr<rocksdb::Cache> cache_;
  const std::vector<std::string> keys_;
  const size_t size_;
  mutable std::atomic<uint64_t> misses_{0};
};

Peer make_lru(size_t entries, size_t size) {
  std::vector<std::string> keys(entries);
  for (size_t i = 0; i < entries; ++i) keys[i] = path_of(i);
  return {rocksdb::NewLRUCache(entries * (size + 512) * 2), std::move(keys), size};
}

Peer make_clock(size_t entries, size_t size) {
  std::vector<std::string> keys(entries);
  for (size_t i = 0; i < entries; ++i) keys[i] = fmt::format("{:016x}", i * 0x9E3779B97F4A7C15U);
  return {rocksdb::HyperClockCacheOptions(entries * (size + 512) * 2, size).MakeSharedCache(),
          std::move(keys), size};
}

/// A cache over a file system in memory, with all files cached and open.
class Files {
 public:
  Files(size_t entries, size_t size, const std::string& policy) : size_(size), source_(make_mem_fs()) {
    need(mkdir(*source_, "/files"), "make a directory");
    for (int i = 0; i < 100; ++i) need(mkdir(*source_, fmt::format("/files/{:03}", i)), "make a directory");
    const std::string content(size, 'x');
    CacheOptions options;
    options.max_bytes = std::max<uint64_t>(entries * (size + 4096) * 2, 256 * kMiB);
    options.metadata_max_entries = 4 * entries;
    options.coherence = need(parse_coherence("ttl=1h"), "read the mode");
    options.policy = policy;
    cache_ = need(CacheFs::create(*source_, options), "make the cache");
    std::vector<std::byte> buffer(size);
    for (size_t i = 0; i < entries; ++i) {
      paths_.push_back(path_of(i));
      need(write_file(*source_, paths_[i], content), "write a file");
      files_.push_back(need(open(*cache_, paths_[i]), "open a file"));
      entries_.push_back(need(resolve(*cache_, paths_[i]), "look a file up").node);
      require(need(files_[i]->read_at(0, buffer), "read a file") == size, "a file is read whole");
    }
    before_ = cache_->stats();
  }
  void copy(size_t i, std::byte* to) const { keep(files_[i]->read_at(0, std::span(to, size_))); }
  void open_and_copy(size_t i, std::byte* to) const {
    const auto file = need(open(*cache_, paths_[i]), "open a file");
    keep(file->read_at(0, std::span(to, size_)));
    need(file->close(), "close a file");
  }
  void look_at(size_t i) const { keep(cache_->attributes(*entries_[i], caller_)); }
  void look_at_path(size_t i) const { keep(stat(*cache_, paths_[i])); }
  void check() const {
    const CacheStats now = cache_->stats();
    require(now.misses == before_.misses && now.source_metadata_ops == before_.source_metadata_ops,
            "all was in the cache");
    require(now.hits + now.metadata_hits > before_.hits + before_.metadata_hits, "the cache was asked");
  }

 private:
  const size_t size_;
  const Caller caller_{};
  const std::unique_ptr<FileSystem> source_;
  std::unique_ptr<CacheFs> cache_;
  std::vector<std::string> paths_;
  std::vector<std::unique_ptr<File>> files_;
  std::vector<NodeRef> entries_;
  CacheStats before_;
};

/// Threads that do the same, each with a sequence and a buffer of its own.
class Crowd {
 public:
  Crowd(size_t threads, size_t entries, size_t size) : buffers_(threads, std::vector<std::byte>(size)) {
    for (size_t i = 0; i < threads; ++i) sequences_.push_back(zipf_sequence(entries, kLength, i + 1));
  }
  /// Operations per second of all together.
  template <typename Step>
  double rate_of(std::chrono::nanoseconds time, const Step& step) {
    std::vector<uint64_t> counts(sequences_.size());
    std::vector<double> seconds(sequences_.size());
    std::barrier begin(static_cast<std::ptrdiff_t>(sequences_.size()));
    std::vector<std::thread> threads;
    for (size_t t = 0; t < sequences_.size(); ++t) {
      threads.emplace_back([&, t] {
        begin.arrive_and_wait();
        const Time since = std::chrono::steady_clock::now();
        uint64_t count = 0;
        do {
          for (size_t i = 0; i < kBatch; ++i) step(sequences_[t][(count + i) % kLength], buffers_[t].data());
          count += kBatch;
        } while (std::chrono::steady_clock::now() - since < time);
        seconds[t] = seconds_since(since);
        counts[t] = count;
      });
    }
    for (std::thread& thread : threads) thread.join();
    double rate = 0;
    for (size_t t = 0; t < counts.size(); ++t) rate += static_cast<double>(counts[t]) / seconds[t];
    return rate;
  }

 private:
  static constexpr size_t kLength = size_t{1} << 18U;
  std::vector<std::vector<uint32_t>> sequences_;
  std::vector<std::vector<std::byte>> buffers_;
};

std::string nanoseconds(const Spread& rate, size_t threads) {
  return fmt::format("{:.0f}", static_cast<double>(threads) * 1e9 / rate.median);
}

/// Time for each operation of the first against the second, once the copy is taken from both.
Spread without_copy(const std::vector<std::array<double, 3>>& rates) {
  std::vector<double> ratios;
  for (const auto& [first, second, copy] : rates)
    ratios.push_back((1 / first - 1 / copy) / (1 / second - 1 / copy));
  return spread_of(std::move(ratios));
}

class Report {
 public:
  explicit Report(const Options& options)
      : options_(options),
        table_({"what                                            ", "policy ", "threads", "cachefs ns",
                "peer ns", "time against the peer's", "at most"}) {}

  template <typename Ours, typename Theirs>
  Comparison row(const std::string& what, const std::string& policy, Crowd& crowd, size_t threads,
                 double target, const Ours& ours, const Theirs& theirs) {
    const auto time = options_.round_time;
    const Comparison result = compare(
        options_.rounds, [&] { return crowd.rate_of(time, ours); },
        [&] { return crowd.rate_of(time, theirs); });
    const Spread times{
        .min = 1 / result.ratio.max, .median = 1 / result.ratio.median, .max = 1 / result.ratio.min};
    write(what, policy, threads, result, times, target);
    return result;
  }
  void write(const std::string& what, const std::string& policy, size_t threads, const Comparison& rates,
             const Spread& times, double target) {
    table_.row({what, policy, std::to_string(threads), nanoseconds(rates.first, threads),
                nanoseconds(rates.second, threads), format_spread(times),
                target > 0 ? fmt::format("{}", target) : "none"});
    good_ = good_ && (target <= 0 || times.median <= target);
  }
  [[nodiscard]] bool good() const { return good_; }
  [[nodiscard]] const Options& options() const { return options_; }

 private:
  const Options& options_;
  const Table table_;
  bool good_ = true;
};

/// Hits by open handle against both peers.
void compare_reads(Report& report, size_t entries, size_t size, const std::string& policy) {
  const Files files(entries, size, policy);
  const Peer lru = make_lru(entries, size);
  const Peer clock = make_clock(entries, size);
  const auto ours = [&](size_t i, std::byte* to) { files.copy(i, to); };
  double alone = 0;
  for (const size_t threads : {1, 2, 8}) {
    Crowd crowd(threads, entries, size);
    const std::string what = fmt::format("read {} B of {} files", size, entries);
    const bool is_judged = threads == 1 && size == 1024;
    const Comparison beside_lru = report.row(what + ", LRUCache", policy, crowd, threads, is_judged ? 0.7 : 0,
                                             ours, [&](size_t i, std::byte* to) { lru.copy(i, to); });
    report.row(what + ", HyperClockCache", policy, crowd, threads, threads == 2 ? 1 : 0, ours,
               [&](size_t i, std::byte* to) { clock.copy(i, to); });
    if (threads == 1) alone = beside_lru.first.median;
    if (threads == 2)
      fmt::print("  two threads do {:.2f} times what one does (wanted: 1.8)\n",
                 beside_lru.first.median / alone);
  }
  require(lru.misses() == 0 && clock.misses() == 0, "all was in RocksDB's caches");
  files.check();
}

/// One thread, the same copy taken from both sides: what finding it takes.
void compare_finding(Report& report, size_t entries, size_t size, const std::string& policy) {
  const Files files(entries, size, policy);
  const Peer lru = make_lru(entries, size);
  const std::vector<std::byte> values(entries * size);
  Crowd crowd(1, entries, size);
  std::vector<std::array<double, 3>> rates;
  std::vector<double> ours;
  std::vector<double> theirs;
  for (int i = 0; i < report.options().rounds; ++i) {
    const auto time = report.options().round_time;
    ours.push_back(crowd.rate_of(time, [&](size_t at, std::byte* to) { files.copy(at, to); }));
    theirs.push_back(crowd.rate_of(time, [&](size_t at, std::byte* to) { lru.copy(at, to); }));
    const double copies = crowd.rate_of(time, [&](size_t at, std::byte* to) {
      std::memcpy(to, values.data() + at * size, size);
      keep(to);
    });
    rates.push_back({ours.back(), theirs.back(), copies});
  }
  report.write(fmt::format("find {} B of {} files, LRUCache", size, entries), policy, 1,
               {.first = spread_of(ours), .second = spread_of(theirs), .ratio = {}}, without_copy(rates),
               0.7);
}

void compare_paths(Report& report, size_t entries, const std::string& policy) {
  constexpr size_t kSize = 1024;
  const Files files(entries, kSize, policy);
  const Peer lru = make_lru(entries, kSize);
  Crowd crowd(1, entries, kSize);
  const auto copy = [&](size_t i, std::byte* to) { lru.copy(i, to); };
  const auto look_up = [&](size_t i, std::byte* /*to*/) { lru.look_up(i); };
  report.row(
      fmt::format("open+read 1 KiB+close of {}, LRUCache", entries), policy, crowd, 1, 2.2,
      [&](size_t i, std::byte* to) { files.open_and_copy(i, to); }, copy);
  report.row(
      fmt::format("stat of {}, look-up in LRUCache", entries), policy, crowd, 1, 1,
      [&](size_t i, std::byte* /*to*/) { files.look_at(i); }, look_up);
  report.row(
      fmt::format("stat by path of {}, look-up", entries), policy, crowd, 1, 0,
      [&](size_t i, std::byte* /*to*/) { files.look_at_path(i); }, look_up);
  files.check();
}

bool measure(const Options& options) {
  Report report(options);
  for (const size_t entries : {size_t{1000}, options.quick ? size_t{10'000} : size_t{100'000}}) {
    for (const std::string policy : {"lru", "s3-fifo"}) {
      compare_reads(report, entries, 1024, policy);
      compare_reads(report, entries, 4096, policy);
      compare_finding(report, entries, 4096, policy);
      compare_paths(report, entries, policy);
    }
  }
  return report.good();
}

}  // namespace
}  // namespace cachefs::bench

int main(int argc, char** argv) {
  return cachefs::bench::run_benchmark(argc, argv, "Is a hit as fast as a look-up in RocksDB's block caches?",
                                       cachefs::bench::measure);
}
