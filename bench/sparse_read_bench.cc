// Does a small read of a huge file fetch what was asked for, and no more?
//
// 4 KiB somewhere in 10 GiB are one unit. POSIX_FADV_RANDOM keeps the kernel's own read-ahead out.
#include <fcntl.h>
#include <fmt/format.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "cachefs/cache_fs.h"
#include "cachefs/decorators.h"
#include "cachefs/path_operations.h"
#include "cachefs/posix_fs.h"
#include "support/files.h"
#include "support/measure.h"
#include "support/mounts.h"

namespace cachefs::bench {
namespace {

constexpr uint64_t kFileSize = uint64_t{10} << 30;
constexpr size_t kUnit = 4096;
constexpr uint64_t kBlock = 128 * 1024;

/// Places that share no block, none at the start of the file.
uint64_t place(int i) { return kFileSize / 2 + static_cast<uint64_t>(i) * 17 * kBlock + 3 * kUnit; }

struct Outcome {
  uint64_t requests = 0;
  uint64_t bytes = 0;
  Spread microseconds;
};

template <typename Read>
Spread time_each(int reads, const Read& read) {
  std::vector<double> times;
  for (int i = 0; i < reads; ++i) {
    const Time begin = std::chrono::steady_clock::now();
    read(place(i));
    times.push_back(seconds_since(begin) * 1e6);
  }
  return spread_of(times);
}

Outcome run_library(const std::string& directory, int reads) {
  const auto posix = need(make_posix_fs(directory), "open the source");
  OperationCounter counter;
  const std::unique_ptr<FileSystem> source = make_hooked_fs(*posix, counter);
  const auto cache = need(CacheFs::create(*source), "make the cache");
  const auto file = need(open(*cache, "/sparse"), "open the file");
  counter.reset();
  std::vector<std::byte> buffer(kUnit);
  Outcome outcome;
  outcome.microseconds = time_each(reads, [&](uint64_t offset) {
    require(need(file->read_at(offset, buffer), "read") == kUnit, "a short read");
  });
  outcome.requests = counter.reads();
  outcome.bytes = counter.read_bytes();
  return outcome;
}

Outcome run_mount(const Workspace& workspace, const std::string& directory, int reads) {
  const CacheMount cache(directory, workspace.directory("cachefs"), {});
  const Descriptor file(cache.path() + "/sparse", O_RDONLY);
  require(posix_fadvise(file.get(), 0, 0, POSIX_FADV_RANDOM) == 0, "posix_fadvise failed");
  const nlohmann::json before = cache.stats();
  std::vector<std::byte> buffer(kUnit);
  Outcome outcome;
  outcome.microseconds = time_each(reads, [&](uint64_t offset) { file.read_exactly(offset, buffer); });
  const nlohmann::json after = cache.stats();
  outcome.requests = delta(before, after, "source_reads");
  outcome.bytes = delta(before, after, "source_read_bytes");
  return outcome;
}

Spread run_source(const std::string& directory, int reads) {
  const Descriptor file(directory + "/sparse", O_RDONLY);
  require(posix_fadvise(file.get(), 0, 0, POSIX_FADV_RANDOM) == 0, "posix_fadvise failed");
  std::vector<std::byte> buffer(kUnit);
  return time_each(reads, [&](uint64_t offset) { file.read_exactly(offset, buffer); });
}

void show(const Table& table, const std::string& title, int reads, const Outcome& outcome) {
  const auto count = static_cast<uint64_t>(reads);
  table.row({title, std::to_string(reads), std::to_string(outcome.requests), std::to_string(outcome.bytes),
             format_spread(outcome.microseconds, 1)});
  require(outcome.requests == count, fmt::format("{}: {} requests", title, outcome.requests));
  require(outcome.bytes == count * kUnit,
          fmt::format("{}: {} bytes fetched for {} reads", title, outcome.bytes, reads));
}

bool measure(const Options& options) {
  const Workspace workspace;
  const std::string directory = workspace.directory("source");
  make_sparse_file(directory + "/sparse", kFileSize);
  const Table table({"4 KiB of 10 GiB  ", "reads", "source reads", "source bytes", "us each: min med max"});
  for (const int reads : {1, options.quick ? 50 : 400}) {
    show(table, "library", reads, run_library(directory, reads));
    show(table, "mount", reads, run_mount(workspace, directory, reads));
    table.row(
        {"the source itself", std::to_string(reads), "", "", format_spread(run_source(directory, reads), 1)});
  }
  return true;
}

}  // namespace
}  // namespace cachefs::bench

int main(int argc, char** argv) {
  return cachefs::bench::run_benchmark(argc, argv, "Does a 4 KiB read of a 10 GiB file fetch 4 KiB?",
                                       cachefs::bench::measure);
}
