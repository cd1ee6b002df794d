// The library by itself: a cache in front of a directory that answers slowly, read twice. No mount is needed.
//
//   library_demo DIRECTORY
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cachefs/cache_fs.h"
#include "cachefs/decorators.h"
#include "cachefs/posix_fs.h"

namespace {

using namespace std::chrono_literals;

/// What a walk over a tree has seen. Equal digests: equal names and equal bytes.
struct Tally {
  uint64_t files = 0;
  uint64_t bytes = 0;
  uint64_t digest = 14695981039346656037ULL;  // FNV-1a

  void add(std::span<const std::byte> data) {
    for (const std::byte byte : data) digest = (digest ^ static_cast<uint64_t>(byte)) * 1099511628211ULL;
  }
};

cachefs::Result<void> read_file(cachefs::FileSystem& fs, cachefs::Node& node, Tally& tally) {
  auto opened = fs.open(node, cachefs::OpenFlags{}, cachefs::Caller::self());
  if (!opened) return std::unexpected(opened.error());
  std::vector<std::byte> buffer(128 * cachefs::kKiB);
  for (uint64_t offset = 0;;) {
    const auto size = opened->file->read_at(offset, std::span(buffer));
    if (!size) return std::unexpected(size.error());
    if (*size == 0) break;
    tally.add(std::span(buffer).first(*size));
    offset += *size;
    tally.bytes += *size;
  }
  ++tally.files;
  return opened->file->close();
}

cachefs::Result<void> read_tree(cachefs::FileSystem& fs, cachefs::Node& directory, Tally& tally) {
  const auto caller = cachefs::Caller::self();
  auto stream = fs.open_directory(directory, caller);
  if (!stream) return std::unexpected(stream.error());
  std::vector<std::string> names;
  for (;;) {
    auto batch = (*stream)->next_batch();
    if (!batch) return std::unexpected(batch.error());
    if (batch->empty()) break;
    for (cachefs::DirectoryEntry& entry : *batch) names.push_back(std::move(entry.name));
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    auto entry = fs.lookup(directory, name, caller);
    if (!entry) return std::unexpected(entry.error().during(name));
    tally.add(std::as_bytes(std::span(name)));
    cachefs::Result<void> read;
    if (entry->attributes.kind == cachefs::FileKind::directory) read = read_tree(fs, *entry->node, tally);
    if (entry->attributes.kind == cachefs::FileKind::regular) read = read_file(fs, *entry->node, tally);
    if (!read) return std::unexpected(read.error().during(name));
  }
  return {};
}

/// One walk, timed, as a row of the table.
cachefs::Result<Tally> timed_pass(std::string_view title, cachefs::FileSystem& fs,
                                  const cachefs::OperationCounter& source) {
  const uint64_t reads = source.reads();
  const uint64_t metadata = source.metadata();
  const auto start = std::chrono::steady_clock::now();
  Tally tally;
  const auto root = fs.root();
  const auto read = read_tree(fs, *root, tally);
  if (!read) return std::unexpected(read.error());
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  fmt::print("{:<30} {:>7.2f} s {:>15} {:>18}\n", title, seconds.count(), source.reads() - reads,
             source.metadata() - metadata);
  return tally;
}

cachefs::Result<bool> demonstrate(const std::string& directory) {
  auto disk = cachefs::make_posix_fs(directory);
  if (!disk) return std::unexpected(disk.error());
  const auto delay = cachefs::make_delay_hook(
      {.per_metadata_operation = 5ms, .per_data_request = 5ms, .bytes_per_second = 100'000'000});
  const auto slow = cachefs::make_hooked_fs(**disk, *delay);
  cachefs::OperationCounter counter;
  const auto source = cachefs::make_hooked_fs(*slow, counter);

  cachefs::CacheOptions options;
  options.max_bytes = 256 * cachefs::kMiB;
  auto cache = cachefs::CacheFs::create(*source, options);
  if (!cache) return std::unexpected(cache.error());

  fmt::print("\n{:<30} {:>9} {:>15} {:>18}\n", "every file read", "time", "data requests",
             "metadata requests");
  const std::array<std::pair<std::string_view, cachefs::FileSystem*>, 3> passes{
      {{"from the slow source itself", source.get()},
       {"through the cache, first pass", cache->get()},
       {"through the cache, second pass", cache->get()}}};
  std::vector<Tally> tallies;
  for (const auto& [title, fs] : passes) {
    const auto tally = timed_pass(title, *fs, counter);
    if (!tally) return std::unexpected(tally.error());
    tallies.push_back(*tally);
  }
  const bool equal = tallies[0].digest == tallies[1].digest && tallies[0].digest == tallies[2].digest;
  fmt::print("\n{} files, {}: {}\n", tallies[0].files, cachefs::format_size(tallies[0].bytes),
             equal ? "every byte is equal to the original." : "THE BYTES DIFFER.");
  return equal;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: library_demo DIRECTORY\n");
    return 2;
  }
  const auto equal = demonstrate(argv[1]);
  if (!equal) fmt::print(stderr, "library_demo: {}\n", equal.error().message());
  return equal && *equal ? 0 : 1;
}
