#include "cli/mount_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "cachefs/cache_fs.h"
#include "cachefs/units.h"
#include "cli/fuse_checks.h"
#include "cli/nearest.h"
#include "mount/node_limits.h"

namespace cachefs::cli {
namespace {

constexpr std::array kOptions{
    MountOption{"ram-size", "SIZE", "Memory for the cache, never exceeded", &MountArguments::ram_size},
    MountOption{"policy", "NAME", "Eviction policy: which data leaves when there is no room",
                &MountArguments::policy},
    MountOption{"max-nodes", "COUNT", "Files that the kernel may know; above it, it is asked to forget some",
                &MountArguments::max_nodes},
    MountOption{"coherence", "MODE",
                "When the source is asked again: strict, close-to-open, ttl=DURATION, immutable",
                &MountArguments::coherence},
    MountOption{"attr-ttl", "DURATION", "close-to-open: how long names and attributes are relied upon [1s]",
                &MountArguments::attribute_ttl},
    MountOption{"access-check", "WHO", "Who decides who may have what is cached: mode-bits, source",
                &MountArguments::access_check},
    MountOption{"locks", "WHERE", "Where programs' locks of files are kept: local (this mount), source",
                &MountArguments::locks},
    MountOption{"kernel-features", "LIST", "Features of newer kernels to use or, with no- before, not",
                &MountArguments::kernel_features, true},
    MountOption{"timeout", "LIMITS",
                "How long the source may take: auto, none (or 0), DURATION, or by class (read=20s,...)",
                &MountArguments::timeout, true},
    MountOption{"stale-if-error", "DURATION",
                "How long over its time what is known is served while the source cannot be reached",
                &MountArguments::stale_if_error},
    MountOption{"over", "", "Mount on the source itself; MOUNTPOINT is left out", &MountArguments::over},
};

/// What mount(8) and fstab say to each other, or of a mount that there is.
constexpr std::array<std::string_view, 12> kForMount{"defaults", "auto",    "noauto", "user",
                                                     "nouser",   "users",   "owner",  "group",
                                                     "nofail",   "_netdev", "silent", "loud"};
constexpr std::array<std::string_view, 7> kForMountBegin{
    "x-", "X-", "comment=", "user=", "user_id=", "group_id=", "uhelper="};

bool is_for_mount(std::string_view option) {
  return std::find(kForMount.begin(), kForMount.end(), option) != kForMount.end() ||
         std::any_of(kForMountBegin.begin(), kForMountBegin.end(),
                     [&](std::string_view begin) { return option.starts_with(begin); });
}

std::string name_in_list(std::string_view name) {
  std::string result(name);
  std::replace(result.begin(), result.end(), '-', '_');
  return result;
}

const MountOption* find_option(std::string_view name) {
  const auto option = std::find_if(kOptions.begin(), kOptions.end(), [&](const MountOption& candidate) {
    return name_in_list(candidate.name) == name_in_list(name);
  });
  return option == kOptions.end() ? nullptr : option;
}

/// What people bring from sshfs, NFS or libfuse's own options, and what to do about it.
struct ForeignOption {
  std::string_view name;
  std::string_view advice;
};
constexpr std::string_view kNotNeeded = "it is not needed; leave it out";
constexpr std::string_view kSourceOwns = "owners and modes are those of the source; leave it out";
constexpr std::string_view kByCoherence =
    "when the source is asked again is for coherence and attr_ttl to say, as in coherence=ttl=60s; leave it "
    "out";
constexpr std::array kForeign{
    ForeignOption{"nonempty",
                  "it is not needed; give an empty directory, or mount on the source itself with over"},
    ForeignOption{"big_writes", kNotNeeded},
    ForeignOption{"large_read", kNotNeeded},
    ForeignOption{"hard_remove", kNotNeeded},
    ForeignOption{"use_ino", kNotNeeded},
    ForeignOption{"reconnect", "a source that comes back is taken up again by itself; leave it out"},
    ForeignOption{"uid", kSourceOwns},
    ForeignOption{"gid", kSourceOwns},
    ForeignOption{"umask", kSourceOwns},
    ForeignOption{"idmap", kSourceOwns},
    ForeignOption{"kernel_cache", kByCoherence},
    ForeignOption{"auto_cache", kByCoherence},
    ForeignOption{"direct_io", kByCoherence},
    ForeignOption{"attr_timeout", kByCoherence},
    ForeignOption{"entry_timeout", kByCoherence},
    ForeignOption{"negative_timeout", kByCoherence},
};

/// Sets the field, or refuses what the option does not take.
Outcome<void> set_option(const MountOption& option, std::optional<std::string> value,
                         MountArguments& arguments) {
  const std::string name = name_in_list(option.name);
  arguments.given.insert(name);
  if (const auto* flag = std::get_if<bool MountArguments::*>(&option.field)) {
    if (value) return refuse_usage(fmt::format("-o {}: takes no value", name));
    arguments.** flag = true;
    return {};
  }
  if (!value) {
    return refuse_usage(fmt::format("-o {0}: needs a value; write it as {0}={1}", name, option.value_name));
  }
  arguments.*std::get<std::string MountArguments::*>(option.field) = std::move(*value);
  return {};
}

std::optional<std::string> value_of(const std::string& option) {
  const size_t end = option.find('=');
  return end == std::string::npos ? std::nullopt : std::optional(option.substr(end + 1));
}

/// `before`: the option of cachefs that stands before it in the list, or null. Of a value with a comma
/// without quotes, the rest looks like an option.
Outcome<void> refuse_unknown(const std::string& option, const MountOption* before) {
  const std::string name = option.substr(0, option.find('='));
  const auto foreign = std::ranges::find(kForeign, name, &ForeignOption::name);
  if (foreign != kForeign.end()) return refuse_usage(fmt::format("-o {}: {}", option, foreign->advice));
  if (before != nullptr && before->takes_list) {
    return refuse_usage(fmt::format(
        R"(-o {0}: cachefs has no such option; if it is of {1}, put the value in double quotes: -o '{1}="...,{0}"')",
        option, name_in_list(before->name)));
  }
  std::vector<std::string> known = fuse_option_names();
  for (const MountOption& own : kOptions) known.push_back(name_in_list(own.name));
  return refuse_usage(fmt::format("-o {}: cachefs has no such option{}; `cachefs mount --help` lists them",
                                  option, did_you_mean(name, known)));
}

}  // namespace

MountArguments::MountArguments()
    : ram_size(fmt::format("{}MiB", CacheOptions{}.max_bytes / kMiB)),
      policy(CacheOptions{}.policy),
      max_nodes(fmt::format("{}", mount::NodeLimits{}.known)),
      coherence(format_coherence(Coherence{})),
      timeout("auto"),
      stale_if_error("1h") {}

std::string as_given(const MountArguments& arguments, std::string_view name) {
  const std::string in_list = name_in_list(name);
  return arguments.listed.contains(in_list) ? fmt::format("-o {}", in_list) : fmt::format("--{}", name);
}

std::span<const MountOption> mount_options() { return kOptions; }

void add_mount_options(CLI::App& command, MountArguments& arguments) {
  for (const MountOption& option : kOptions) {
    const std::string name = fmt::format("--{}", option.name);
    const std::string help(option.help);
    if (const auto* flag = std::get_if<bool MountArguments::*>(&option.field)) {
      command.add_flag(name, arguments.**flag, help);
      continue;
    }
    command.add_option(name, arguments.*std::get<std::string MountArguments::*>(option.field), help)
        ->type_name(std::string(option.value_name))
        ->take_last()
        ->capture_default_str();
  }
}

std::set<std::string> given_options(const CLI::App& command) {
  std::set<std::string> given;
  for (const MountOption& option : kOptions) {
    if (command.count(fmt::format("--{}", option.name)) > 0) given.insert(name_in_list(option.name));
  }
  return given;
}

std::map<std::string, std::string> option_texts(const MountArguments& arguments) {
  std::map<std::string, std::string> texts;
  for (const MountOption& option : kOptions) {
    const auto* flag = std::get_if<bool MountArguments::*>(&option.field);
    texts[name_in_list(option.name)] = flag != nullptr
                                           ? (arguments.**flag ? "yes" : "no")
                                           : arguments.*std::get<std::string MountArguments::*>(option.field);
  }
  return texts;
}

Outcome<std::vector<std::string>> split_options(std::string_view list) {
  std::vector<std::string> options(1);
  bool quoted = false;
  for (size_t i = 0; i < list.size(); ++i) {
    const char c = list[i];
    if (c == '\\' && i + 1 < list.size()) {
      options.back() += list[++i];
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      options.emplace_back();
    } else {
      options.back() += c;
    }
  }
  if (quoted) return refuse_usage(fmt::format("-o {}: a double quote is not closed", list));
  std::erase_if(options, [](const std::string& option) { return option.empty(); });
  return options;
}

Outcome<void> take_options(MountArguments& arguments, Unknown unknown) {
  const std::set<std::string> spoken = arguments.given;
  std::vector<std::string> rest;
  for (const std::string& list : arguments.fuse_options) {
    const auto options = split_options(list);
    if (!options) return std::unexpected(options.error());
    const MountOption* before = nullptr;
    for (const std::string& option : *options) {
      const MountOption* own = find_option(option.substr(0, option.find('=')));
      if (own != nullptr) {
        before = own;
        if (spoken.contains(name_in_list(own->name))) continue;
        arguments.listed.insert(name_in_list(own->name));
        if (const auto set = set_option(*own, value_of(option), arguments); !set) return set;
      } else if (option == "remount") {
        arguments.remount = true;
      } else if (is_fuse_option(option)) {
        rest.push_back(option);
      } else if (!is_for_mount(option) && unknown == Unknown::refuse) {
        return refuse_unknown(option, before);
      }
    }
  }
  arguments.fuse_options = std::move(rest);
  return {};
}

}  // namespace cachefs::cli
