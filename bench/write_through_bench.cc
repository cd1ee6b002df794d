// What does writing through the cache cost beside a mount that only passes requests on?
//
// Both hand each write to the source before they answer; neither uses the kernel's writeback cache.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "support/files.h"
#include "support/measure.h"
#include "support/mounts.h"

namespace cachefs::bench {
namespace {

constexpr size_t kPage = 4096;
/// Of the writes of a mount that is never asked for an extended attribute.
constexpr double kTarget = 0.9;

class RandomWrites {
 public:
  explicit RandomWrites(const std::string& path, uint64_t size)
      : file_(path, O_WRONLY | O_CREAT), size_(size), page_(kPage, std::byte{'w'}) {
    for (uint64_t offset = 0; offset < size_; offset += kPage) file_.write_exactly(offset, page_);
  }
  double step() {
    constexpr int kWrites = 200;
    for (int i = 0; i < kWrites; ++i) file_.write_exactly(random_.below(size_ / kPage) * kPage, page_);
    done_ += kWrites;
    return kWrites;
  }
  [[nodiscard]] uint64_t done() const { return done_; }

 private:
  const Descriptor file_;
  const uint64_t size_;
  const std::vector<std::byte> page_;
  Random random_{1};
  uint64_t done_ = 0;
};

/// Creates small files, and takes them away unmeasured.
class Creations {
 public:
  explicit Creations(std::string directory)
      : directory_(std::move(directory)), page_(kPage, std::byte{'c'}) {}
  double step() {
    constexpr int kFiles = 50;
    for (int i = 0; i < kFiles; ++i)
      Descriptor(name(done_++), O_WRONLY | O_CREAT | O_EXCL).write_exactly(0, page_);
    return kFiles;
  }
  void clean_up() {
    for (; removed_ < done_; ++removed_) require(unlink(name(removed_).c_str()) == 0, "unlink failed");
  }
  [[nodiscard]] uint64_t done() const { return done_; }

 private:
  [[nodiscard]] std::string name(uint64_t number) const {
    return fmt::format("{}/{:07}", directory_, number);
  }
  const std::string directory_;
  const std::vector<std::byte> page_;
  uint64_t done_ = 0;
  uint64_t removed_ = 0;
};

/// Measured rounds on one mount, and how many answers its daemon gave for an operation.
template <typename Kind>
class Side {
 public:
  Side(const Mount& mount, Kind& use, std::chrono::nanoseconds time)
      : mount_(mount), use_(use), time_(time) {}
  double round() {
    const uint64_t answers = mount_.answers();
    const uint64_t done = use_.done();
    const double per_second = rate(time_, [this] { return use_.step(); });
    answers_ += static_cast<double>(mount_.answers() - answers);
    done_ += static_cast<double>(use_.done() - done);
    return per_second;
  }
  [[nodiscard]] std::string answers_per_operation() const { return fmt::format("{:.2f}", answers_ / done_); }

 private:
  const Mount& mount_;
  Kind& use_;
  const std::chrono::nanoseconds time_;
  double answers_ = 0;
  double done_ = 0;
};

template <typename Kind>
void show(const Table& table, const std::string& title, const Comparison& result, const Side<Kind>& first,
          const Side<Kind>& second) {
  table.row({title, format_rate(result.first.median), format_rate(result.second.median),
             format_spread(result.ratio), first.answers_per_operation(), second.answers_per_operation()});
}

Comparison ask_writes(const std::string& title, const Options& options, const Table& table,
                      const CacheMount& cached, const PassThrough& bare) {
  const uint64_t size = (options.quick ? 4 : 64) * uint64_t{1024 * 1024};
  RandomWrites first(cached.path() + "/written-cached", size);
  RandomWrites second(bare.path() + "/written-bare", size);
  Side cached_side(cached, first, options.round_time);
  Side bare_side(bare, second, options.round_time);
  const nlohmann::json before = cached.stats();
  const Comparison result =
      compare(options.rounds, [&] { return cached_side.round(); }, [&] { return bare_side.round(); });
  const nlohmann::json after = cached.stats();
  require(delta(before, after, "source_writes") == first.done() &&
              delta(before, after, "source_write_bytes") == first.done() * kPage,
          "not each write reached the source as one");
  show(table, title, result, cached_side, bare_side);
  return result;
}

void ask_creations(const Options& options, const Table& table, const Workspace& workspace,
                   const CacheMount& cached, const PassThrough& bare) {
  for (const char* name : {"source/created-cached", "source/created-bare"}) (void)workspace.directory(name);
  Creations first(cached.path() + "/created-cached");
  Creations second(bare.path() + "/created-bare");
  Side cached_side(cached, first, options.round_time);
  Side bare_side(bare, second, options.round_time);
  const auto round = [](Side<Creations>& side, Creations& use) {
    const double per_second = side.round();
    use.clean_up();
    return per_second;
  };
  const nlohmann::json before = cached.stats();
  const Comparison result = compare(
      options.rounds, [&] { return round(cached_side, first); }, [&] { return round(bare_side, second); });
  require(delta(before, cached.stats(), "source_writes") == first.done(),
          "not each file was written at the source");
  show(table, "create + write 4 KiB + close", result, cached_side, bare_side);
}

bool measure(const Options& options) {
  const Workspace workspace;
  const std::string pass_through = compile_pass_through(workspace);
  const std::string source = workspace.directory("source");
  const CacheMount cached(source, workspace.directory("cachefs"), {"--coherence", "ttl=60s"});
  const PassThrough bare(pass_through, source, workspace.directory("bare"));
  const PassThrough barer(pass_through, source, workspace.directory("barer"), PassThrough::Xattrs::none);
  const Table table({"write-through               ", "cachefs/s", "bare/s  ", "ratio min med max",
                     "answers per op.: cachefs", "bare"});
  ask_writes("4 KiB random writes", options, table, cached, bare);
  const Comparison beside_none = ask_writes("the same, bare without xattrs", options, table, cached, barer);
  ask_creations(options, table, workspace, cached, bare);
  return !options.check || beside_none.ratio.median >= kTarget;
}

}  // namespace
}  // namespace cachefs::bench

int main(int argc, char** argv) {
  return cachefs::bench::run_benchmark(
      argc, argv, "What does writing through the cache cost beside a bare libfuse pass-through?",
      cachefs::bench::measure);
}
