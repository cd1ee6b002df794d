// Do programs that write different parts of one file at once wait for each other?
//
// Each write of theirs reaches a source that takes some time for it. "Serial" are the same programs, of which
// only one may write at a time.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cachefs/cache_fs.h"
#include "cachefs/decorators.h"
#include "cachefs/mem_fs.h"
#include "cachefs/path_operations.h"
#include "mount/session.h"
#include "support/files.h"
#include "support/measure.h"
#include "support/mounts.h"

namespace cachefs::bench {
namespace {

constexpr size_t kPage = 4096;
constexpr int kWriters = 8;
constexpr uint64_t kPagesEach = 64;
constexpr uint64_t kSize = kWriters * kPagesEach * kPage;

/// How many writes are at the source at once, at most.
class ConcurrencyHook final : public OperationHook {
 public:
  Result<void> before(Operation operation, uint64_t /*bytes*/) override {
    if (operation != Operation::write) return {};
    const int now = ++under_way_;
    for (int most = most_; now > most && !most_.compare_exchange_weak(most, now);) {
    }
    return {};
  }
  void after(Operation operation, uint64_t /*bytes*/, bool /*ok*/) override {
    if (operation != Operation::write) return;
    --under_way_;
    ++writes_;
  }
  int take_most() { return most_.exchange(0); }
  [[nodiscard]] uint64_t writes() const { return writes_; }

 private:
  std::atomic<int> under_way_{0};
  std::atomic<int> most_{0};
  std::atomic<uint64_t> writes_{0};
};

/// A file in memory, some time away, and a cache that knows all of it.
class Stack {
 public:
  explicit Stack(std::chrono::nanoseconds delay)
      : memory_(make_mem_fs()),
        delay_(make_delay_hook({.per_metadata_operation = delay, .per_data_request = delay})),
        slow_(make_hooked_fs(*memory_, *delay_)),
        source_(make_hooked_fs(*slow_, concurrency)) {
    need(write_file(*memory_, "/file", std::string(kSize, 'x')), "write the file");
    cache = need(CacheFs::create(*source_, {.max_bytes = 4 * kSize}), "make the cache");
    require(need(read_file(*cache, "/file"), "read the file").size() == kSize, "the file is short");
  }
  /// All that was written is in the cache, and what is there is what the source has.
  void check() {
    const auto file = need(open(*cache, "/file"), "open the file");
    const CacheStats before = cache->stats();
    std::vector<std::byte> here(kSize), there(kSize);
    require(need(file->read_at(0, here), "read") == kSize, "the file is short");
    require(cache->stats().misses == before.misses, "what was written is no longer cached");
    const auto original = need(open(*memory_, "/file"), "open the file at the source");
    require(need(original->read_at(0, there), "read") == kSize && here == there,
            "the cache has other bytes than the source");
  }

  ConcurrencyHook concurrency;

 private:
  const std::unique_ptr<FileSystem> memory_;
  const std::unique_ptr<OperationHook> delay_;
  const std::unique_ptr<FileSystem> slow_;
  const std::unique_ptr<FileSystem> source_;

 public:
  std::unique_ptr<CacheFs> cache;
};

/// Writes a page at an offset.
using Write = std::function<bool(uint64_t offset)>;

/// Writes per second of all writers, each in a part of the file that is his.
double run_writers(std::chrono::nanoseconds time, const Write& write, std::mutex* one_at_a_time) {
  std::atomic<uint64_t> done{0};
  std::atomic<bool> failed{false};
  const Time begin = std::chrono::steady_clock::now();
  std::vector<std::jthread> threads;
  for (int writer = 0; writer < kWriters; ++writer) {
    threads.emplace_back([&, writer] {
      const uint64_t first = static_cast<uint64_t>(writer) * kPagesEach;
      for (uint64_t i = 0; std::chrono::steady_clock::now() - begin < time; ++i) {
        std::unique_lock<std::mutex> lock;
        if (one_at_a_time != nullptr) lock = std::unique_lock(*one_at_a_time);
        if (!write((first + i % kPagesEach) * kPage)) failed = true;
        ++done;
      }
    });
  }
  threads.clear();
  require(!failed, "a write failed");
  return static_cast<double>(done) / seconds_since(begin);
}

constexpr double kTarget = 3;

bool ask(const Options& options, const Table& table, const std::string& title, Stack& stack,
         const Write& write) {
  std::mutex one_at_a_time;
  int most_parallel = 0;
  int most_serial = 0;
  const auto parallel = [&] {
    (void)stack.concurrency.take_most();
    const double rate = run_writers(options.round_time, write, nullptr);
    most_parallel = std::max(most_parallel, stack.concurrency.take_most());
    return rate;
  };
  const auto serial = [&] {
    (void)stack.concurrency.take_most();
    const double rate = run_writers(options.round_time, write, &one_at_a_time);
    most_serial = std::max(most_serial, stack.concurrency.take_most());
    return rate;
  };
  const Comparison result = compare(options.rounds, parallel, serial);
  stack.check();
  table.row({title, format_rate(result.first.median), format_rate(result.second.median),
             format_spread(result.ratio), std::to_string(most_parallel), std::to_string(most_serial)});
  require(most_serial == 1, "the serial writes were at the source together");
  return result.ratio.median >= kTarget;
}

bool in_library(const Options& options, const Table& table, std::chrono::microseconds delay) {
  Stack stack(delay);
  const auto file = need(open(*stack.cache, "/file", {.read = true, .write = true}), "open the file");
  const std::vector<std::byte> page(kPage, std::byte{'w'});
  return ask(options, table, fmt::format("library, {} us", delay.count()), stack, [&](uint64_t offset) {
    const auto written = file->write_at(offset, page);
    return written && *written == kPage;
  });
}

/// A mount of the cache by threads of this process.
class Served {
 public:
  Served(CacheFs& cache, const std::string& mountpoint) {
    mount::SessionOptions options;
    options.mountpoint = mountpoint;
    options.source = "memory";
    session_ = need(mount::Session::create(cache, &cache, options), "mount the cache");
    serving_ = std::thread([this] { ignore(session_->run(), "what is measured then fails"); });
  }
  ~Served() {
    session_->stop();
    serving_.join();
  }
  Served(const Served&) = delete;
  Served& operator=(const Served&) = delete;

 private:
  std::unique_ptr<mount::Session> session_;
  std::thread serving_;
};

bool through_mount(const Options& options, const Table& table, const Workspace& workspace,
                   std::chrono::microseconds delay) {
  Stack stack(delay);
  const std::string mountpoint = workspace.directory("cachefs");
  const Served served(*stack.cache, mountpoint);
  const Descriptor file(mountpoint + "/file", O_RDWR | O_DIRECT);
  alignas(kPage) static const std::array<std::byte, kPage> kZeros{};
  return ask(options, table, fmt::format("mount, O_DIRECT, {} us", delay.count()), stack,
             [&](uint64_t offset) {
               return pwrite(file.get(), kZeros.data(), kPage, static_cast<off_t>(offset)) ==
                      static_cast<ssize_t>(kPage);
             });
}

bool measure(const Options& options) {
  const Workspace workspace;
  const Table table({"8 writers of one file ", "parallel/s", "serial/s", "ratio min med max  ",
                     "at the source at once: parallel", "serial"});
  bool good = true;
  for (const int delay : {200, 1000, 5000}) {
    good = in_library(options, table, std::chrono::microseconds(delay)) && good;
    good = through_mount(options, table, workspace, std::chrono::microseconds(delay)) && good;
  }
  return good;
}

}  // namespace
}  // namespace cachefs::bench

int main(int argc, char** argv) {
  return cachefs::bench::run_benchmark(
      argc, argv, "Do programs that write different parts of one file at once wait for each other?",
      cachefs::bench::measure);
}
