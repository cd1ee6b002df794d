// The options of a mount. What cachefs knows itself is in one table, from which both forms are made:
// `cachefs mount --ram-size 2G` and `-o ram_size=2G`, as mount(8) and fstab write it.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cli/outcome.h"

namespace cachefs::cli {

/// The command line, as it was written.
struct MountArguments {
  MountArguments();  ///< with the defaults

  std::string source;
  std::string mountpoint;
  std::string ram_size;
  std::string policy;
  std::string max_nodes;
  std::string coherence;
  std::string attribute_ttl;  ///< empty: not given
  std::string access_check = "mode-bits";
  std::string locks = "local";
  std::string kernel_features = "all";
  std::string timeout;
  std::string stale_if_error;
  bool over = false;
  bool foreground = false;
  bool remount = false;                   ///< as -o alone
  std::set<std::string> given;            ///< names in -o of those of the table that were given, in any form
  std::set<std::string> listed;           ///< those of them whose value is of -o
  std::vector<std::string> fuse_options;  ///< as after -o; once taken (take_options) those of FUSE alone
};

/// How a message names an option of the table: "--ram-size", or "-o ram_size" if it was given so.
std::string as_given(const MountArguments& arguments, std::string_view name);

/// An option of a mount. In -o its name has '_' where the long form has '-'; either is taken.
struct MountOption {
  std::string_view name;        ///< without dashes before it
  std::string_view value_name;  ///< as --help shows it; empty: the option is a flag
  std::string_view help;
  std::variant<std::string MountArguments::*, bool MountArguments::*> field;
  bool takes_list = false;  ///< its value may have commas
};

/// All of them, in the order of --help.
std::span<const MountOption> mount_options();

/// Adds their long forms to a command. Of one that is given twice the last counts.
void add_mount_options(CLI::App& command, MountArguments& arguments);

/// What to do with an option that nobody knows.
enum class Unknown : bool { refuse, ignore };

/// Sorts all that was given with -o: cachefs's own go into their fields, what is for mount(8) alone is
/// dropped, the rest stays in fuse_options, one each. What is in `given` already counts more than -o. Errors:
/// of usage.
Outcome<void> take_options(MountArguments& arguments, Unknown unknown);

/// Those of the table that `command` was given in their long form, by their name in -o.
std::set<std::string> given_options(const CLI::App& command);

/// Each option of the table as text, by its name in -o.
std::map<std::string, std::string> option_texts(const MountArguments& arguments);

/// Takes "a,b=c" apart at its commas. As libmount and libfuse write them, a comma within double quotes or
/// after a backslash is none, and these are taken off; the empty ones are left out. Errors: of usage.
Outcome<std::vector<std::string>> split_options(std::string_view list);

}  // namespace cachefs::cli
