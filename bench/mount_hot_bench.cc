// Is a hot cachefs mount in ttl=60s as fast as a mount that does nothing but pass requests on?
//
// Both serve the same local directory, with the same timeouts, keep_cache and xattrs. Whatever is hot the
// kernel answers by itself: a ratio below 0.9 means that it was not allowed to.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "support/files.h"
#include "support/measure.h"
#include "support/mounts.h"

namespace cachefs::bench {
namespace {

constexpr double kTarget = 0.9;
constexpr size_t kPage = 4096;
constexpr size_t kChunk = 1024 * 1024;
/// The mounts trust what they know for 60 s: after that, the source is asked again.
constexpr double kTrustedSeconds = 55;

struct Source {
  std::string path;
  uint64_t file_size = 0;
  std::vector<std::string> files;
  int directories = 0;
};

/// One way to use a mount. `warm` brings one of its parts to the caches; `step` does some and says how much.
class Use {
 public:
  virtual ~Use() = default;
  [[nodiscard]] virtual uint64_t parts() const { return 1; }
  virtual void warm(uint64_t part) = 0;
  virtual double step() = 0;
};

class Reads : public Use {
 public:
  Reads(const std::string& root, const Source& source)
      : file_(root + "/large", O_RDONLY), size_(source.file_size) {}
  [[nodiscard]] uint64_t parts() const override { return size_ / kChunk; }
  void warm(uint64_t part) override { file_.read_exactly(part * kChunk, buffer()); }

 protected:
  /// One for both sides: where a buffer lies in memory is worth some percent by itself.
  static std::span<std::byte> buffer() {
    static std::vector<std::byte> bytes(kChunk);
    return bytes;
  }

  const Descriptor file_;
  const uint64_t size_;
};

class RandomReads final : public Reads {
 public:
  using Reads::Reads;
  double step() override {
    constexpr int kReads = 1000;
    for (int i = 0; i < kReads; ++i)
      file_.read_exactly(random_.below(size_ / kPage) * kPage, buffer().first(kPage));
    return kReads;
  }

 private:
  Random random_{1};
};

class SequentialReads final : public Reads {
 public:
  using Reads::Reads;
  double step() override {  // of 1 MiB
    for (uint64_t part = 0; part < parts(); ++part) warm(part);
    return static_cast<double>(parts());
  }
};

class Stats final : public Use {
 public:
  Stats(const std::string& root, const Source& source) {
    for (const std::string& file : source.files) paths_.push_back(root + "/" + file);
  }
  void warm(uint64_t /*part*/) override { step(); }
  double step() override {
    struct stat stat{};
    for (const std::string& path : paths_) require(::stat(path.c_str(), &stat) == 0, "stat failed");
    return static_cast<double>(paths_.size());
  }

 private:
  std::vector<std::string> paths_;
};

class Walks final : public Use {
 public:
  Walks(const std::string& root, const Source& source) : expected_(source.files.size()) {
    for (int i = 0; i < source.directories; ++i) paths_.push_back(fmt::format("{}/d{:03}", root, i));
  }
  void warm(uint64_t /*part*/) override {
    step();  // the kernel keeps a listing from its second reading on
    step();
  }
  double step() override {
    uint64_t names = 0;
    for (const std::string& path : paths_) names += count_names(path);
    require(names == expected_, "a walk did not give all names");
    return static_cast<double>(names);
  }

 private:
  const uint64_t expected_;
  std::vector<std::string> paths_;
};

class OpenReadClose final : public Use {
 public:
  OpenReadClose(const std::string& root, const Source& source) : buffer_(2 * kPage) {
    for (const std::string& file : source.files) paths_.push_back(root + "/" + file);
  }
  void warm(uint64_t /*part*/) override { step(); }
  double step() override {
    for (const std::string& path : paths_) read_whole(path, buffer_);
    return static_cast<double>(paths_.size());
  }

 private:
  std::vector<std::string> paths_;
  std::vector<std::byte> buffer_;
};

template <typename Kind>
std::unique_ptr<Use> make(const std::string& root, const Source& source) {
  return std::make_unique<Kind>(root, source);
}

struct Question {
  const char* name;
  std::unique_ptr<Use> (*make)(const std::string& root, const Source& source);
  bool reads_data;
  std::optional<double> target;
};

constexpr std::array<Question, 5> kQuestions{{
    {"4 KiB random reads", make<RandomReads>, true, kTarget},
    {"sequential reads, 1 MiB each", make<SequentialReads>, true, kTarget},
    {"stat", make<Stats>, false, kTarget},
    {"readdir, names", make<Walks>, false, kTarget},
    {"open + read 4 KiB + close", make<OpenReadClose>, true, std::nullopt},
}};

/// One side of a comparison: rounds of one use, and the daemon's part in it.
class Side {
 public:
  Side(const Mount& mount, std::unique_ptr<Use> use, std::chrono::nanoseconds round_time)
      : mount_(mount), use_(std::move(use)), round_time_(round_time) {}
  [[nodiscard]] Use& use() { return *use_; }
  double round() {
    const uint64_t before = mount_.answers();
    const double per_second = rate(round_time_, [this] {
      const double operations = use_->step();
      operations_ += operations;
      return operations;
    });
    answers_ += static_cast<double>(mount_.answers() - before);
    return per_second;
  }
  [[nodiscard]] std::string answers_per_operation() const {
    return fmt::format("{:.3f}", answers_ / operations_);
  }

 private:
  const Mount& mount_;
  const std::unique_ptr<Use> use_;
  const std::chrono::nanoseconds round_time_;
  double operations_ = 0;
  double answers_ = 0;
};

/// Both in turns, part by part: pages that lie in memory one after the other are copied up to twice as fast
/// as scattered ones, and the scattered ones of those that are free are given away first. Warmed as a whole,
/// the first would have them all.
void warm_in_turns(Use& first, Use& second) {
  for (uint64_t part = 0; part < first.parts(); ++part) {
    const bool swapped = part % 2 == 1;
    (swapped ? second : first).warm(part);
    (swapped ? first : second).warm(part);
  }
}

/// Fresh mounts for each question, so that it ends while what they know is trusted.
bool ask(const Question& question, const Workspace& workspace, const std::string& pass_through,
         const Source& source, const Options& options, const Table& table) {
  const CacheMount cached(source.path, workspace.directory("cachefs"),
                          {"--coherence", "ttl=60s", "--ram-size", "512MiB"});
  const PassThrough bare(pass_through, source.path, workspace.directory("bare"));
  const Time begin = std::chrono::steady_clock::now();
  Side first(cached, question.make(cached.path(), source), options.round_time);
  Side second(bare, question.make(bare.path(), source), options.round_time);

  const nlohmann::json cold = cached.stats();
  warm_in_turns(first.use(), second.use());
  const nlohmann::json warm = cached.stats();
  require(delta(cold, warm, question.reads_data ? "source_reads" : "source_metadata_ops") > 0,
          "the first pass did not reach the source");
  const Comparison result =
      compare(options.rounds, [&] { return first.round(); }, [&] { return second.round(); });
  const nlohmann::json hot = cached.stats();
  require(seconds_since(begin) < kTrustedSeconds,
          "the rounds outlived the ttl: ask for fewer or shorter ones");
  require(delta(warm, hot, "source_reads") == 0 && delta(warm, hot, "source_metadata_ops") == 0,
          fmt::format("{}: the source was asked while all was hot", question.name));

  table.row({question.name, format_rate(result.first.median), format_rate(result.second.median),
             format_spread(result.ratio), question.target ? fmt::format("{:.1f}", *question.target) : "none",
             first.answers_per_operation(), second.answers_per_operation()});
  return !question.target || result.ratio.median >= *question.target;
}

bool measure(const Options& options) {
  const Workspace workspace;
  const std::string pass_through = compile_pass_through(workspace);
  Source source{.path = workspace.directory("source"),
                .file_size = (options.quick ? 32 : 256) * uint64_t{1024 * 1024},
                .files = {},
                .directories = options.quick ? 10 : 100};
  make_file(source.path + "/large", source.file_size);
  source.files = make_tree(source.path, {.directories = source.directories, .files = 100, .size = kPage});

  const Table table({"hot, ttl=60s                ", "cachefs/s", "bare/s  ", "ratio min med max", "target",
                     "answers per op.: cachefs", "bare  "});
  bool met = true;
  for (const Question& question : kQuestions) {
    if (std::string_view(question.name).find(options.only) == std::string_view::npos) continue;
    met = ask(question, workspace, pass_through, source, options, table) && met;
  }
  return met;
}

}  // namespace
}  // namespace cachefs::bench

int main(int argc, char** argv) {
  return cachefs::bench::run_benchmark(argc, argv,
                                       "Is a hot mount in ttl=60s as fast as a bare libfuse pass-through?",
                                       cachefs::bench::measure);
}
