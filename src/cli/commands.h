// The commands of the program. Each adds itself to the command line and gives what runs it, one file per
// command.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "cli/mount_options.h"
#include "cli/output.h"

namespace cachefs::cli {

struct Command {
  CLI::App* options = nullptr;     ///< of the program; says whether the command was called
  std::function<int(Format)> run;  ///< returns the exit code
};

Command add_mount(CLI::App& program);
Command add_umount(CLI::App& program);
Command add_status(CLI::App& program);
Command add_stats(CLI::App& program);
Command add_simulate(CLI::App& program);
Command add_version(CLI::App& program);

/// What the command `mount` does with arguments whose options are taken.
int run_mount(Format format, const MountArguments& arguments);

/// What the command `version` does; `--version` too.
int report_version(Format format);

}  // namespace cachefs::cli
