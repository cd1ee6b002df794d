// Do readers that miss the same block at the same time share one request to the source?
//
// The source hangs until all readers wait, so that they do overlap. Through the mount they use O_DIRECT:
// else the kernel's page lock would let only one of them through.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cachefs/cache_fs.h"
#include "cachefs/decorators.h"
#include "cachefs/mem_fs.h"
#include "cachefs/path_operations.h"
#include "support/files.h"
#include "support/measure.h"
#include "support/mounts.h"

namespace cachefs::bench {
namespace {

constexpr size_t kBlock = 128 * 1024;
constexpr std::chrono::seconds kDeadline{20};

struct Outcome {
  uint64_t reads = 0;  ///< that reached the source
  double milliseconds = 0;
};

/// True once the thread waits for something.
bool sleeps(pid_t thread) {
  std::ifstream file(fmt::format("/proc/self/task/{}/stat", thread));
  std::string line;
  std::getline(file, line);
  const size_t end = line.rfind(')');
  return end != std::string::npos && end + 2 < line.size() && (line[end + 2] == 'S' || line[end + 2] == 'D');
}

/// Runs `read(i)` in `count` threads against a source that hangs; when all of them wait, `release` lets it
/// go. Returns the milliseconds from there to the last answer.
double run_readers(int count, const std::function<bool(int)>& read, const std::function<void()>& release) {
  std::vector<std::atomic<pid_t>> ids(static_cast<size_t>(count));
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      ids[static_cast<size_t>(i)] = gettid();
      if (!read(i)) ++failures;
    });
  }
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  const auto all_wait = [&] {
    for (const std::atomic<pid_t>& id : ids) {
      if (id == 0 || !sleeps(id)) return false;
    }
    return true;
  };
  bool waiting = false;
  // Twice in a row: one that only yielded for a moment is seen running the next time.
  for (int seen = 0; seen < 2 && std::chrono::steady_clock::now() < deadline; poll(nullptr, 0, 5)) {
    seen = all_wait() ? seen + 1 : 0;
    waiting = seen == 2;
  }
  const Time begin = std::chrono::steady_clock::now();
  release();
  for (std::thread& thread : threads) thread.join();
  require(waiting, "the readers did not come to wait for the source");
  require(failures == 0, "a reader got other bytes, or an error");
  return seconds_since(begin) * 1000;
}

/// `blocks` is 1, or one for each reader.
Outcome run_library(int readers, int blocks) {
  const std::unique_ptr<FileSystem> memory = make_mem_fs();
  FaultHook fault;
  OperationCounter counter;
  const std::unique_ptr<FileSystem> hanging = make_hooked_fs(*memory, fault);
  const std::unique_ptr<FileSystem> source = make_hooked_fs(*hanging, counter);
  const std::string content(kBlock * static_cast<size_t>(blocks), 'x');
  need(write_file(*memory, "/file", content), "write the file");
  const auto cache = need(CacheFs::create(*source), "make the cache");
  const auto file = need(open(*cache, "/file"), "open the file");
  counter.reset();
  fault.hang_if([](Operation operation) { return operation == Operation::read; });
  const auto read = [&](int i) {
    std::vector<std::byte> buffer(kBlock);
    const auto size = file->read_at(kBlock * static_cast<size_t>(i % blocks), buffer);
    return size && *size == kBlock && buffer.back() == std::byte{'x'};
  };
  Outcome outcome;
  outcome.milliseconds = run_readers(readers, read, [&] { fault.recover(); });
  outcome.reads = counter.reads();
  return outcome;
}

Outcome run_mount(const Workspace& workspace, int readers, int blocks) {
  const std::string source = workspace.directory("source");
  make_file(source + "/file", kBlock * static_cast<uint64_t>(blocks));
  const SlowMount slow(source, workspace.directory("slow"), "0");
  const CacheMount cache(slow.path(), workspace.directory("cachefs"), {});
  const Descriptor file(cache.path() + "/file", O_RDONLY | O_DIRECT);
  const nlohmann::json before = cache.stats();
  slow.control({"reset"});
  slow.control({"hang", "read"});
  const auto read = [&](int i) {
    alignas(4096) thread_local std::byte buffer[kBlock];
    return pread(file.get(), buffer, kBlock, static_cast<off_t>(kBlock) * (i % blocks)) ==
           static_cast<ssize_t>(kBlock);
  };
  Outcome outcome;
  outcome.milliseconds = run_readers(readers, read, [&] { slow.control({"recover"}); });
  outcome.reads = delta(before, cache.stats(), "source_reads");
  const auto arrived = slow.control({"stats"}).at("reads").get<uint64_t>();
  require(arrived == outcome.reads,
          fmt::format("the cache counted {} reads, the source {}", outcome.reads, arrived));
  return outcome;
}

void ask(const Table& table, const std::string& where, int readers, const std::function<Outcome(int)>& run) {
  const Outcome one = run(1);
  table.row({where, std::to_string(readers), "1", std::to_string(one.reads),
             fmt::format("{:.1f}", one.milliseconds)});
  require(one.reads == 1, fmt::format("{}: {} reads for one block", where, one.reads));
  // The control: without sharing, that many reads would have been seen.
  const Outcome each = run(readers);
  table.row({where, std::to_string(readers), std::to_string(readers), std::to_string(each.reads),
             fmt::format("{:.1f}", each.milliseconds)});
  require(each.reads == static_cast<uint64_t>(readers), where + ": not one read for each block");
}

bool measure(const Options& options) {
  const Workspace workspace;
  const Table table({"cold, at once      ", "readers", "blocks", "source reads", "ms to the last answer"});
  for (const int readers : options.quick ? std::vector{8} : std::vector{8, 32}) {
    ask(table, "library", readers, [&](int blocks) { return run_library(readers, blocks); });
    ask(table, "mount, O_DIRECT", readers, [&](int blocks) { return run_mount(workspace, readers, blocks); });
  }
  return true;
}

}  // namespace
}  // namespace cachefs::bench

int main(int argc, char** argv) {
  return cachefs::bench::run_benchmark(
      argc, argv, "Do concurrent readers of a cold block make one source read?", cachefs::bench::measure);
}
