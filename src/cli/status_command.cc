#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "cachefs/units.h"
#include "cli/commands.h"
#include "cli/daemon_client.h"
#include "cli/daemon_search.h"
#include "cli/kernel_features.h"
#include "cli/mount_options.h"
#include "cli/mount_table.h"

namespace cachefs::cli {
namespace {

constexpr const char* kDetails =
    R"(Asks the daemon; neither the mount nor the source is touched.

Examples:
  cachefs status /mnt/photos
  cachefs status /mnt/photos --json

Exit codes: 0 it is served, 1 it is not (or its daemon has died), 2 wrong usage.)";

/// For how long names and attributes are relied upon. Empty: the daemon does not tell.
std::string attribute_ttl(const nlohmann::json& status) {
  const auto ttl = status.find("attr_ttl_seconds");
  if (ttl == status.end()) return "";
  if (!ttl->is_number()) return "for ever";
  const std::chrono::duration<double> seconds(ttl->get<double>());
  return seconds.count() > 0
             ? "for " + format_duration(std::chrono::duration_cast<std::chrono::nanoseconds>(seconds))
             : "asked for each time";
}

std::string source_state(const nlohmann::json& status) {
  const std::string trouble = status.value("source_trouble", "");
  const auto hanging = status.value("source_hanging", uint64_t{0});
  std::string state = status.value("source_state", "");
  if (!trouble.empty()) state += fmt::format(" ({})", trouble);
  if (hanging > 0) state += fmt::format(", {} requests hang", hanging);
  return state;
}

std::string files_known(const nlohmann::json& status) {
  if (!status.contains("nodes")) return "";
  return fmt::format("{} to the kernel, at most {}", status.value("nodes", uint64_t{0}),
                     status.value("max_nodes", uint64_t{0}));
}

/// Empty: the daemon does not tell.
std::string locks(const nlohmann::json& status) {
  const std::string reach = status.value("lock_reach", "");
  if (reach == "mount") return "local: among the programs of this mount";
  if (reach == "machine") return "source: among all who use it, on this machine at least";
  return reach.empty() ? "" : "source: among all who use it";
}

/// What was asked for with that option of cachefs, by its name in -o. Empty: the daemon does not tell.
std::string option(const nlohmann::json& status, const std::string& name) {
  return status.value("options", nlohmann::json::object()).value(name, "");
}

/// For how long over its time; in strict, not at all.
std::string stale_answers(const nlohmann::json& status) {
  const std::string given = option(status, "stale_if_error");
  if (given.empty()) return "";
  const auto limit = parse_duration(given);
  const bool is_off = status.value("coherence", "") == "strict" || (limit && limit->count() == 0);
  return is_off ? "none while the source cannot be reached"
                : fmt::format("up to {} over their time while the source cannot be reached", given);
}

/// The options of the mount as the kernel has them now, each once, without its own figures.
std::vector<std::string> mount_options(const MountEntry& mount) {
  std::vector<std::string> options;
  for (const std::string& option : split_options(mount.options).value_or(std::vector<std::string>{})) {
    const bool is_figure = option.find('=') != std::string::npos;
    const bool is_known = std::ranges::find(options, option) != options.end();
    if (!is_figure && !is_known) options.push_back(option);
  }
  // Both the mount and its file system have one of these, and either can forbid to write.
  if (std::ranges::find(options, "ro") != options.end()) std::erase(options, "rw");
  return options;
}

/// What the daemon told, whatever its version; what is missing is left out.
std::string format_status(const nlohmann::json& status) {
  const auto text = [&](const char* key) { return status.value(key, std::string()); };
  const std::chrono::duration<double> uptime(status.value("uptime_seconds", 0.0));
  const auto rounded = std::chrono::floor<std::chrono::seconds>(uptime);
  return format_rows(
      {{"state", text("state")},
       {"source", text("source")},
       {"source state", source_state(status)},
       {"mount point", text("mountpoint")},
       {"pid", fmt::format("{}", status.value("pid", 0))},
       {"coherence", text("coherence")},
       {"attributes", attribute_ttl(status)},
       {"access check", option(status, "access_check")},
       {"time limits", text("timeout")},
       {"stale answers", stale_answers(status)},
       {"ram size", format_size(status.value("ram_size", uint64_t{0}))},
       {"eviction", text("policy")},
       {"files known", files_known(status)},
       {"locks", locks(status)},
       {"mount options",
        fmt::format("{}", fmt::join(status.value("mount_options", std::vector<std::string>{}), ","))},
       {"kernel", format_kernel_features(status.value("kernel_features", nlohmann::json()))},
       {"uptime", format_duration(rounded)},
       {"version", text("version")}},
      Align::left);
}

int run_status(Format format, const std::string& path) {
  const auto served = find_served_mount(path);
  if (!served) return report_failure(format, served.error());
  const auto daemon = ask_daemon_or_explain(served->mount, "status");
  if (!daemon) return report_failure(format, daemon.error());
  nlohmann::json status = daemon->result;
  if (served->mount.is_mounted()) status["mount_options"] = mount_options(served->mount);
  return report(format, status, format_status(status));
}

}  // namespace

Command add_status(CLI::App& program) {
  const auto mountpoint = std::make_shared<std::string>();
  CLI::App* app = program.add_subcommand("status", "Who serves a mount, and how");
  app->add_option("MOUNTPOINT", *mountpoint, "Where it is mounted")->required()->type_name("");
  app->footer(kDetails);
  return {app, [mountpoint](Format format) { return run_status(format, *mountpoint); }};
}

}  // namespace cachefs::cli
