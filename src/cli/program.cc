#include "cli/program.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/commands.h"
#include "cli/nearest.h"

namespace cachefs::cli {
namespace {

constexpr const char* kDetails =
    R"(`cachefs COMMAND --help` tells more of each. Options may stand before or after
the names. With --json each command prints one JSON object; errors are sentences
on stderr, and with --json an object {"error": ...} too.

Examples:
  cachefs mount /srv/nfs/photos /mnt/photos
  cachefs stats /mnt/photos
  cachefs umount /mnt/photos

Exit codes: 0 done, 1 could not be done, 2 wrong usage.)";

/// The subcommand that the user has called, else the program itself.
const CLI::App& called(const CLI::App& program) {
  const auto commands = program.get_subcommands();
  return commands.empty() ? program : *commands.front();
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
  }
  return names;
}

std::vector<std::string> command_names(const CLI::App& program) {
  std::vector<std::string> names;
  for (const CLI::App* command : program.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

bool has_option(const CLI::App& app, const std::string& name) {
  const auto names = option_names(app);
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// The command that `name` is an option of: the one that was called, or, if none was, the first that has it.
const CLI::App* command_with_option(const CLI::App& program, const std::string& name) {
  const CLI::App& app = called(program);
  if (&app != &program) return has_option(app, name) ? &app : nullptr;
  const auto commands = program.get_subcommands([](const CLI::App*) { return true; });
  const auto command = std::find_if(commands.begin(), commands.end(),
                                    [&](const CLI::App* candidate) { return has_option(*candidate, name); });
  return command == commands.end() ? nullptr : *command;
}

std::string explain_option(const CLI::App& program, const std::string& name, const std::string& help) {
  if (const CLI::App* command = command_with_option(program, name)) {  // it stood before the command
    return fmt::format(
        "'{0}' is an option of `cachefs {1}` and goes after that word: cachefs {1} {0} ...; see "
        "`cachefs {1} --help`",
        name, command->get_name());
  }
  const CLI::App& app = called(program);
  if (&app == &program && (name == "-v" || name == "-V")) {
    return fmt::format("'{}' is not an option; `cachefs version` and `cachefs --version` tell the version",
                       name);
  }
  const bool is_letter = name.size() == 2;  // any other letter is but one typing error away
  return fmt::format("'{}' is not an option{}; {} lists them", name,
                     is_letter ? "" : did_you_mean(name, option_names(app)), help);
}

/// The option that CLI11 misses a value of, from its message "--ram-size: 1 required SIZE missing".
std::string option_without_value(const CLI::ParseError& error) {
  const std::string message = error.what();
  const bool is_missing = error.get_name() == "ArgumentMismatch" && message.ends_with(" missing");
  return is_missing && message.starts_with('-') ? message.substr(0, message.find(':')) : "";
}

/// The sentence for a line that does not parse. CLI11's own messages are for what it knows best: missing
/// arguments.
std::string explain(const CLI::App& program, const CLI::ParseError& error,
                    const std::vector<std::string>& arguments) {
  const CLI::App& app = called(program);
  const std::vector<std::string> unknown = program.remaining(true);
  const auto option = std::find_if(unknown.begin(), unknown.end(), [](const std::string& word) {
    return word.size() > 1 && word.front() == '-' && word != "--";
  });
  const bool is_command = &app != &program;
  const std::string help =
      is_command ? fmt::format("`cachefs {} --help`", app.get_name()) : "`cachefs --help`";
  if (option != unknown.end()) {
    return explain_option(program, option->substr(0, option->find('=')), help);
  }
  if (!is_command) {
    const auto word = std::find_if_not(arguments.begin(), arguments.end(),
                                       [](const std::string& argument) { return argument.starts_with('-'); });
    if (word == arguments.end()) return fmt::format("no command given; {} lists them", help);
    return fmt::format("'{}' is not a command{}; {} lists them", *word,
                       did_you_mean(*word, command_names(program)), help);
  }
  if (!unknown.empty()) return fmt::format("'{}' is one argument too many; see {}", unknown.front(), help);
  if (const std::string name = option_without_value(error); !name.empty()) {
    return fmt::format("{} needs a value; see {}", name, help);
  }
  return fmt::format("{}; see {}", error.what(), help);
}

/// CLI11 knows the flag only once the whole line was understood.
Format wanted_format(const std::vector<std::string>& arguments) {
  return std::find(arguments.begin(), arguments.end(), "--json") != arguments.end() ? Format::json
                                                                                    : Format::text;
}

std::vector<Command> add_commands(CLI::App& program, bool& json) {
  std::vector<Command> commands{add_mount(program), add_umount(program),   add_status(program),
                                add_stats(program), add_simulate(program), add_version(program)};
  for (const Command& command : commands) {
    command.options->add_flag("--json", json, "Print one JSON object");
    command.options->get_formatter()->column_width(30);
  }
  return commands;
}

/// `cachefs help mount` is `cachefs mount --help`.
std::vector<std::string> with_help_as_option(std::vector<std::string> arguments) {
  if (arguments.empty() || arguments.front() != "help") return arguments;
  arguments.erase(arguments.begin());
  arguments.emplace_back("--help");
  return arguments;
}

}  // namespace

int run_program_line(const std::vector<std::string>& line) {
  const std::vector<std::string> arguments = with_help_as_option(line);
  CLI::App program("cachefs: a fast cache in front of a slow file system", "cachefs");
  program.require_subcommand(1);
  program.footer(kDetails);
  program.set_version_flag("--version", "");  // the answer is the command's
  bool json = false;
  program.add_flag("--json", json, "Print one JSON object");
  const std::vector<Command> commands = add_commands(program, json);
  try {
    program.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    if (error.get_name() == "CallForVersion") return report_version(wanted_format(arguments));
    if (error.get_exit_code() == 0) return program.exit(error);  // help
    return report_failure(wanted_format(arguments), {explain(program, error, arguments), kExitUsage});
  }
  for (const Command& command : commands) {
    if (command.options->parsed()) return command.run(json ? Format::json : Format::text);
  }
  return kExitUsage;
}

}  // namespace cachefs::cli
