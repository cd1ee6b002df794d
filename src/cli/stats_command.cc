#include <memory>

#include "cli/commands.h"
#include "cli/daemon_client.h"
#include "cli/daemon_search.h"
#include "cli/stats_report.h"

namespace cachefs::cli {
namespace {

constexpr const char* kDetails =
    R"(Counts the requests that reached cachefs: what the kernel answered from its own
caches is not among them. Source reads and writes are data requests, source
metadata requests all others but closing. Each is one call of the source's file
system, which may be several requests on the network. The command itself causes
none.

Examples:
  cachefs stats /mnt/photos
  cachefs stats --json /mnt/photos | jq .hit_ratio

Exit codes: 0 told, 1 nothing to tell (no mount, or its daemon has died), 2 wrong
usage.)";

int run_stats(Format format, const std::string& path) {
  const auto served = find_served_mount(path);
  if (!served) return report_failure(format, served.error());
  const auto daemon = ask_daemon_or_explain(served->mount, "stats");
  if (!daemon) return report_failure(format, daemon.error());
  return report(format, daemon->result, format_stats(daemon->result));
}

}  // namespace

Command add_stats(CLI::App& program) {
  const auto mountpoint = std::make_shared<std::string>();
  CLI::App* app = program.add_subcommand("stats", "What the cache has done so far");
  app->add_option("MOUNTPOINT", *mountpoint, "Where it is mounted")->required()->type_name("");
  app->footer(kDetails);
  return {app, [mountpoint](Format format) { return run_stats(format, *mountpoint); }};
}

}  // namespace cachefs::cli
