#include <fmt/format.h>

#include "cli/commands.h"

namespace cachefs::cli {

int report_version(Format format) {
  return report(format, {{"version", CACHEFS_VERSION}}, fmt::format("cachefs {}\n", CACHEFS_VERSION));
}

Command add_version(CLI::App& program) {
  return {program.add_subcommand("version", "The version of this program"), report_version};
}

}  // namespace cachefs::cli
