// What does a second pass over small files on a slow source cost, and what does it ask of the source?
//
// close-to-open: at most two calls on the source for each open, the kernel's look-up of a name older than
// a second and the open's own check; no data. ttl=60s: nothing at all.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "support/files.h"
#include "support/measure.h"
#include "support/mounts.h"

namespace cachefs::bench {
namespace {

constexpr int kFiles = 1000;
constexpr uint64_t kFileSize = 4096;
/// Older than the coarsest timestamps that are taken for certain.
constexpr int kSettledMs = 2100;
/// What goes for directories is not an open's: each is checked about once a second, when its attributes
/// expire.
constexpr double kDirectoryChecksPerSecond = 2;
constexpr double kTtlSeconds = 60;

struct Pass {
  double seconds = 0;
  uint64_t reads = 0;     ///< data requests that reached the source
  uint64_t metadata = 0;  ///< all other calls on the source's FileSystem
  uint64_t arrived = 0;   ///< what the kernel made of those: metadata requests that slowfs served
};

double read_all(const std::string& root, const std::vector<std::string>& files) {
  std::vector<std::byte> buffer(2 * kFileSize);
  const Time begin = std::chrono::steady_clock::now();
  for (const std::string& file : files) read_whole(root + "/" + file, buffer);
  return seconds_since(begin);
}

/// Reads all files through the cache; what it counted must be what slowfs has seen of data.
Pass pass_through_cache(const CacheMount& cache, const SlowMount& slow,
                        const std::vector<std::string>& files) {
  const nlohmann::json cache_before = cache.stats();
  const nlohmann::json slow_before = slow.control({"stats"});
  Pass pass;
  pass.seconds = read_all(cache.path(), files);
  const nlohmann::json cache_after = cache.stats();
  pass.reads = delta(cache_before, cache_after, "source_reads");
  pass.metadata = delta(cache_before, cache_after, "source_metadata_ops");
  const nlohmann::json slow_after = slow.control({"stats"});
  pass.arrived = delta(slow_before, slow_after, "metadata");
  const uint64_t arrived = delta(slow_before, slow_after, "reads");
  require(arrived == pass.reads,
          fmt::format("the cache counted {} source reads, slowfs saw {}", pass.reads, arrived));
  return pass;
}

void show(const Table& table, const std::string& title, const Pass& pass, double direct) {
  table.row({title, fmt::format("{:.3f} s", pass.seconds), fmt::format("{:.1f}", direct / pass.seconds),
             std::to_string(pass.reads), std::to_string(pass.metadata),
             fmt::format("{:.3f}", static_cast<double>(pass.metadata) / kFiles),
             std::to_string(pass.arrived)});
}

struct Passes {
  Pass first;
  Pass second;
};

Passes run_mode(const Workspace& workspace, const SlowMount& slow, const std::vector<std::string>& files,
                const std::string& coherence) {
  const CacheMount cache(slow.path(), workspace.directory("cachefs"), {"--coherence", coherence});
  Passes passes;
  passes.first = pass_through_cache(cache, slow, files);
  require(passes.first.reads >= kFiles, "the first pass did not read every file from the source");
  passes.second = pass_through_cache(cache, slow, files);
  return passes;
}

void check_close_to_open(const Pass& second) {
  require(second.reads == 0, fmt::format("close-to-open: the second pass read {} times", second.reads));
  require(second.metadata >= kFiles, "close-to-open: an open was not checked with the source");
  const auto directories = static_cast<uint64_t>(kDirectoryChecksPerSecond * second.seconds) + 4;
  require(second.metadata <= 2 * kFiles + directories,
          fmt::format("close-to-open: {} calls for {} opens", second.metadata, kFiles));
}

void check_ttl(const Passes& passes) {
  require(passes.first.seconds + passes.second.seconds < kTtlSeconds, "the passes outlived the ttl");
  require(
      passes.second.reads == 0 && passes.second.metadata == 0,
      fmt::format("ttl=60s: the second pass asked {} times", passes.second.reads + passes.second.metadata));
}

bool measure(const Options& options) {
  const Workspace workspace;
  const std::string source = workspace.directory("source");
  const std::vector<std::string> files =
      make_tree(source, {.directories = 1, .files = kFiles, .size = kFileSize});
  wait_until_settled(source, kSettledMs);
  const std::string delay = options.quick ? "1ms" : "5ms";
  const SlowMount slow(source, workspace.directory("slow"), delay);
  fmt::print("slowfs with {} for each request; {} files of {} bytes, one after the other\n\n", delay, kFiles,
             kFileSize);
  const Table table({"open + read + close of each", "time    ", "speed-up", "data requests", "metadata calls",
                     "per open", "at slowfs"});
  const nlohmann::json before = slow.control({"stats"});
  const double direct = read_all(slow.path(), files);
  const nlohmann::json after = slow.control({"stats"});
  show(table, "the source itself",
       {.seconds = direct,
        .reads = delta(before, after, "reads"),
        .metadata = delta(before, after, "metadata"),
        .arrived = delta(before, after, "metadata")},
       direct);
  for (const std::string coherence : {"close-to-open", "ttl=60s"}) {
    const Passes passes = run_mode(workspace, slow, files, coherence);
    show(table, coherence + ", first pass", passes.first, direct);
    show(table, coherence + ", second pass", passes.second, direct);
    if (coherence == "ttl=60s") {
      check_ttl(passes);
    } else {
      check_close_to_open(passes.second);
    }
  }
  return true;
}

}  // namespace
}  // namespace cachefs::bench

int main(int argc, char** argv) {
  return cachefs::bench::run_benchmark(
      argc, argv, "What does a second pass over 1,000 small files on a slow source ask and take?",
      cachefs::bench::measure);
}
