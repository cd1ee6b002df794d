#include "cli/helper_line.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "cli/background.h"
#include "cli/fuse_checks.h"
#include "cli/mount_plan.h"
#include "cli/output.h"
#include "cli/remount.h"
#include "server/unique_fd.h"

namespace cachefs::cli {
namespace {

constexpr int kMountUsage = 1;
constexpr int kMountFailed = 32;

constexpr const char* kUsage =
    "usage: mount.fuse.cachefs SOURCE MOUNTPOINT [-sfnv] [-N NAMESPACE] [-o OPTIONS]";
constexpr const char* kHelp =
    "mount(8) calls it for the type fuse.cachefs; `cachefs mount --help` lists the options.";

/// Takes the words of the line one after another.
class LineReader {
 public:
  explicit LineReader(const std::vector<std::string>& words) : words_(words) {}

  Outcome<HelperLine> read() {
    while (next_ < words_.size()) {
      const std::string& word = words_[next_++];
      if (word == "--") {
        while (next_ < words_.size()) names_.push_back(words_[next_++]);
      } else if (word.size() < 2 || word.front() != '-') {
        names_.push_back(word);
      } else if (const auto read = read_letters(word); !read) {
        return std::unexpected(read.error());
      }
    }
    return finish();
  }

 private:
  /// "-sfnv", "-o OPTIONS", "-oOPTIONS", or all in one: "-fo OPTIONS".
  Outcome<void> read_letters(const std::string& word) {
    for (size_t i = 1; i < word.size(); ++i) {
      const char letter = word[i];
      if (letter == 'f') line_.fake = true;
      if (letter == 'v') line_.verbose = true;
      if (letter == 's') unknown_ = Unknown::ignore;
      if (letter == 'o' || letter == 'N' || letter == 't') return read_value(letter, word.substr(i + 1));
      if (std::strchr("fvsn", letter) == nullptr) {
        return refuse_usage(fmt::format("'-{}' is not an option of a mount helper; {}", letter, kUsage));
      }
    }
    return {};
  }

  Outcome<void> read_value(char letter, std::string value) {
    if (value.empty()) {
      if (next_ == words_.size()) return refuse_usage(fmt::format("-{} needs a value; {}", letter, kUsage));
      value = words_[next_++];
    }
    if (letter == 'o')
      line_.mount.fuse_options.push_back(std::move(value));
    else if (letter == 'N')
      line_.name_space = std::move(value);
    return {};  // of -t there is but one type
  }

  Outcome<HelperLine> finish() {
    if (names_.size() != 2) return refuse_usage(kUsage);
    // mount(8) does not pass on what it takes for the default. Of ordinary users fusermount3 takes neither.
    if (::geteuid() == 0) line_.mount.fuse_options.insert(line_.mount.fuse_options.begin(), "suid,dev");
    line_.mount.source = std::move(names_[0]);
    line_.mount.mountpoint = std::move(names_[1]);
    if (const auto taken = take_options(line_.mount, unknown_); !taken) return std::unexpected(taken.error());
    return std::move(line_);
  }

  const std::vector<std::string>& words_;
  size_t next_ = 0;
  std::vector<std::string> names_;
  Unknown unknown_ = Unknown::refuse;
  HelperLine line_;
};

Outcome<void> enter(const std::string& name_space) {
  const server::UniqueFd fd(::open(name_space.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd && ::setns(fd.get(), CLONE_NEWNS) == 0) return {};
  // NOLINTNEXTLINE(concurrency-mt-unsafe): there are no threads
  return refuse(fmt::format("cannot enter the mount namespace '{}': {}", name_space, std::strerror(errno)));
}

Outcome<void> check_options(const MountArguments& arguments) {
  std::vector<std::string> notes;
  if (const auto cache = plan_cache(arguments, notes); !cache) return std::unexpected(cache.error());
  if (const auto fuse = check_fuse_options(arguments.fuse_options); !fuse)
    return std::unexpected(fuse.error());
  return {};
}

/// Returns what -v tells.
Outcome<std::string> mount(const MountArguments& arguments) {
  if (arguments.remount) {
    if (const auto done = remount(arguments, Unnamed::is_off); !done) return std::unexpected(done.error());
    return fmt::format("cachefs: '{}' is remounted", arguments.mountpoint);
  }
  const auto plan = plan_mount(arguments);
  if (!plan) return std::unexpected(plan.error());
  for (const std::string& text : plan->notes) note(text);
  const auto pid = serve_in_background(*plan);
  if (!pid) return std::unexpected(pid.error());
  return fmt::format("cachefs: '{}' is mounted on '{}' (pid {})", plan->source, plan->mountpoint, *pid);
}

Outcome<std::string> run(const HelperLine& line) {
  if (!line.name_space.empty()) {
    if (const auto entered = enter(line.name_space); !entered) return std::unexpected(entered.error());
  }
  if (!line.fake) return mount(line.mount);
  if (const auto good = check_options(line.mount); !good) return std::unexpected(good.error());
  return std::string("cachefs: the options are right; nothing was mounted (-f)");
}

}  // namespace

Outcome<HelperLine> parse_helper_line(const std::vector<std::string>& arguments) {
  return LineReader(arguments).read();
}

bool is_helper_line(std::string_view program, const std::vector<std::string>& arguments) {
  if (program.substr(program.rfind('/') + 1).starts_with("mount.")) return true;
  return !arguments.empty() && !arguments.front().starts_with('-') &&
         arguments.front().find('/') != std::string::npos;
}

int run_helper_line(const std::vector<std::string>& arguments) {
  if (std::ranges::any_of(arguments, [](const auto& word) { return word == "--help" || word == "-h"; })) {
    return report(Format::text, {}, fmt::format("{}\n{}\n", kUsage, kHelp));
  }
  const auto line = parse_helper_line(arguments);
  const auto done = line ? run(*line) : std::unexpected(line.error());
  if (done) {
    if (line->verbose) note(*done);
    return kExitOk;
  }
  report_failure(Format::text, done.error());
  return done.error().exit_code == kExitUsage ? kMountUsage : kMountFailed;
}

}  // namespace cachefs::cli
