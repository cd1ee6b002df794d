// slowfs: serves a directory slowly, and fails or hangs on command. A source to test and measure against.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "cachefs/units.h"
#include "control.h"
#include "serve.h"

namespace cachefs::slowfs {
namespace {

struct Arguments {
  std::vector<std::string> words;  ///< SOURCE MOUNTPOINT, or a command and its words
  std::string control;
  std::string op_delay = "5ms";
  std::string request_delay = "5ms";
  std::string bandwidth = "100MB/s";
  bool foreground = false;
  bool json = false;
  std::vector<std::string> fuse_options;
};

constexpr const char* kFooter =
    "Ends once it is unmounted: umount MOUNTPOINT, or as an ordinary user fusermount3 -u MOUNTPOINT.\n\n"
    "Commands (with --control MOUNTPOINT):\n"
    "  stats                          count of operations since the start or the last reset\n"
    "  reset                          set all counts to 0\n"
    "  fail ERRNO_NAME [OPERATION...] fail these operations from now on (all, if none is named)\n"
    "  hang [OPERATION...]            keep these operations waiting\n"
    "  slow DURATION [OPERATION...]   let each of these operations take that much longer\n"
    "  recover                        end all faults; what hangs goes on\n"
    "OPERATION is data, metadata, or one that stats shows. Failing flush makes close(2) of what was open "
    "for\n"
    "writing fail; all, data and metadata leave it alone.\n"
    "Nothing is kept in the kernel's caches; files can be mapped privately, not shared.\n\n"
    "Exit codes: 0 done, 1 could not be done, 2 wrong usage.";

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

int complain(const std::string& sentence, int exit_code = kExitFailed) {
  fmt::print(stderr, "slowfs: {}\n", sentence);
  return exit_code;
}

Result<DelayOptions> delay_options(const Arguments& arguments) {
  const auto op_delay = parse_duration(arguments.op_delay);
  if (!op_delay) return std::unexpected(op_delay.error().during("--op-delay"));
  const auto request_delay = parse_duration(arguments.request_delay);
  if (!request_delay) return std::unexpected(request_delay.error().during("--request-delay"));
  std::string_view rate = arguments.bandwidth;
  if (rate.ends_with("/s")) rate.remove_suffix(2);
  const auto bandwidth = parse_size(rate);
  if (!bandwidth) return std::unexpected(bandwidth.error().during("--bandwidth"));
  return DelayOptions{.per_metadata_operation = *op_delay,
                      .per_data_request = *request_delay,
                      .bytes_per_second = *bandwidth};
}

int run_serve(const Arguments& arguments) {
  if (arguments.words.size() != 2)
    return complain("two places are needed: slowfs SOURCE MOUNTPOINT (see --help)", kExitUsage);
  const Result<DelayOptions> delay = delay_options(arguments);
  if (!delay) return complain(sentence_of(delay.error()), kExitUsage);
  const Result<std::string> mountpoint = resolve_mountpoint(arguments.words[1]);
  if (!mountpoint) return complain(sentence_of(mountpoint.error()));
  const std::expected<void, std::string> served = serve({.source = arguments.words[0],
                                                         .mountpoint = *mountpoint,
                                                         .delay = *delay,
                                                         .foreground = arguments.foreground,
                                                         .fuse_options = arguments.fuse_options});
  return served ? 0 : complain(served.error());
}

nlohmann::json request_of(const std::vector<std::string>& words) {
  nlohmann::json request{{"command", words[0]}};
  const bool has_value = words[0] == "fail" || words[0] == "slow";
  if (has_value && words.size() > 1) request[words[0] == "fail" ? "error" : "delay"] = words[1];
  const size_t first = std::min<size_t>(has_value ? 2 : 1, words.size());
  request["operations"] =
      std::vector<std::string>(words.begin() + static_cast<ptrdiff_t>(first), words.end());
  return request;
}

void show(const nlohmann::json& stats) {
  for (const auto& [name, value] : stats.items()) {
    if (value.is_number()) fmt::print("{:<16} {}\n", name, value.get<uint64_t>());
  }
  for (const auto& [name, value] : stats.at("operations").items()) {
    if (value.get<uint64_t>() > 0) fmt::print("  {:<14} {}\n", name, value.get<uint64_t>());
  }
}

int run_control(const Arguments& arguments) {
  if (arguments.words.empty()) {
    return complain("a command is needed: stats, reset, fail, hang, slow or recover", kExitUsage);
  }
  const Result<std::string> mountpoint = resolve_mountpoint(arguments.control);
  if (!mountpoint) return complain(sentence_of(mountpoint.error()));
  const Result<nlohmann::json> answer = send_command(*mountpoint, request_of(arguments.words));
  if (!answer) {
    const bool is_refused = answer.error().is(std::errc::invalid_argument);
    return complain(answer.error().doing(), is_refused ? kExitUsage : kExitFailed);
  }
  if (arguments.json) {
    fmt::print("{}\n", answer->dump());
  } else if (arguments.words[0] == "stats") {
    show(*answer);
  }
  return 0;
}

int run(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a write beyond our limit of file size fails (EFBIG), nothing else
  Arguments arguments;
  CLI::App app("Serves a directory slowly: slowfs SOURCE MOUNTPOINT");
  app.footer(kFooter);
  app.add_option("places", arguments.words, "SOURCE MOUNTPOINT, or a command after --control MOUNTPOINT");
  app.add_option("--op-delay", arguments.op_delay, "delay of each metadata operation")
      ->capture_default_str()
      ->take_last();
  app.add_option("--request-delay", arguments.request_delay, "delay of each read or write")
      ->capture_default_str()
      ->take_last();
  app.add_option("--bandwidth", arguments.bandwidth, "shared by all requests; 0: no limit")
      ->capture_default_str()
      ->take_last();
  app.add_flag("--foreground,-f", arguments.foreground, "do not go to the background");
  app.add_option("-o", arguments.fuse_options, "options of the mount, as for mount(8)")
      ->allow_extra_args(false);
  app.add_option("--control", arguments.control, "send a command to the slowfs mounted there")->take_last();
  app.add_flag("--json", arguments.json, "print the answer of a command as JSON");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    return complain(std::string(error.what()) + " (see --help)", kExitUsage);
  }
  return arguments.control.empty() ? run_serve(arguments) : run_control(arguments);
}

}  // namespace
}  // namespace cachefs::slowfs

int main(int argc, char** argv) { return cachefs::slowfs::run(argc, argv); }
