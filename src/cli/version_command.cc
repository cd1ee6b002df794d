#include <fmt/format.h>

#include "cli/commands.h"

namespace cachefs::cli {

Command add_version(CLI::App& program) {
  CLI::App* app = program.add_subcommand("version", "The version of this program");
  return {app, [](Format format) {
            return report(format, {{"version", CACHEFS_VERSION}},
                          fmt::format("cachefs {}\n", CACHEFS_VERSION));
          }};
}

}  // namespace cachefs::cli
