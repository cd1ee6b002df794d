#include "cli/mount_table.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

namespace cachefs::cli {
namespace {

constexpr int kSymlinksMax = 40;  // as the kernel's own limit

/// mountinfo writes space, tab, newline and backslash as \ooo.
std::string unescape(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    int code = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 4, code, 8).ptr == text.data() + i + 4) {
      result += static_cast<char>(code);
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  Number number{};
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (status != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

uid_t owner_of(std::string_view super_options) {
  constexpr std::string_view kKey = "user_id=";
  const size_t start = super_options.find(kKey);
  if (start == std::string_view::npos) return 0;
  const std::string_view rest = super_options.substr(start + kKey.size());
  return parse_number<uid_t>(rest.substr(0, rest.find(','))).value_or(0);
}

Result<std::string> real_path(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> resolved(::realpath(path.c_str(), nullptr), &std::free);
  if (!resolved) return fail_errno(errno);
  return std::string(resolved.get());
}

/// The target if `path` is a symlink. On the root of a mount the kernel answers by itself that it is none.
std::optional<std::string> read_symlink(const std::string& path) {
  std::string target(PATH_MAX, '\0');
  const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
  if (size < 0) return std::nullopt;
  target.resize(static_cast<size_t>(size));
  return target;
}

std::unexpected<Failure> refuse_missing(const std::string& path) {
  return refuse(
      fmt::format("'{}' does not exist; `findmnt -t {}` lists the mounts of cachefs", path, kMountType));
}

void strip_trailing(std::string& path) {
  while (path.size() > 1 && (path.ends_with('/') || path.ends_with("/."))) path.pop_back();
}

}  // namespace

std::optional<MountEntry> parse_mountinfo_line(std::string_view line) {
  // 36 35 98:0 /root /mount/point rw,noatime shared:1 - type source super,options
  std::istringstream words{std::string(line)};
  std::string id, parent, device, root, mountpoint, options, tag;
  if (!(words >> id >> parent >> device >> root >> mountpoint >> options)) return std::nullopt;
  bool shared = false;
  while (words >> tag && tag != "-") shared |= tag.starts_with("shared:");
  std::string type, source, super_options;
  if (!(words >> type >> source >> super_options)) return std::nullopt;
  const auto number = parse_number<int>(id);
  if (!number) return std::nullopt;
  return MountEntry{.id = *number,
                    .mountpoint = unescape(mountpoint),
                    .type = unescape(type),
                    .source = unescape(source),
                    .owner = owner_of(super_options),
                    .device = device,
                    .root = unescape(root),
                    .shared = shared,
                    .options = options + "," + super_options};
}

Result<std::vector<MountEntry>> read_mount_table() {
  std::ifstream file("/proc/self/mountinfo");
  if (!file) return fail_errno(errno, "open '/proc/self/mountinfo'");
  std::vector<MountEntry> table;
  for (std::string line; std::getline(file, line);) {
    if (auto entry = parse_mountinfo_line(line)) table.push_back(std::move(*entry));
  }
  return table;
}

std::optional<MountEntry> mounted_at(const std::vector<MountEntry>& table, std::string_view mountpoint) {
  for (size_t i = table.size(); i-- > 0;) {
    if (table[i].mountpoint == mountpoint) return table[i];
  }
  return std::nullopt;
}

Result<std::string> resolve_mountpoint(const std::string& path) {
  if (path.empty()) return fail(std::errc::no_such_file_or_directory);
  std::string current = path;
  if (!path.starts_with('/')) {
    std::error_code failed;
    const std::filesystem::path working = std::filesystem::current_path(failed);
    if (failed) return fail_errno(failed.value(), "find the working directory");
    current = working.string() + "/" + path;
  }
  for (int followed = 0; followed < kSymlinksMax; ++followed) {
    strip_trailing(current);
    const size_t slash = current.rfind('/');
    const std::string name = current.substr(slash + 1);
    if (name.empty() || name == "..") return real_path(current);
    auto parent = real_path(slash == 0 ? "/" : current.substr(0, slash));
    if (!parent) return parent;
    const std::string prefix = *parent == "/" ? "/" : *parent + "/";
    const auto target = read_symlink(prefix + name);
    if (!target) return prefix + name;
    current = target->starts_with('/') ? *target : prefix + *target;
  }
  return fail(std::errc::too_many_symbolic_link_levels);
}

Outcome<MountEntry> find_cachefs_mount(const std::string& path) {
  const auto mountpoint = resolve_mountpoint(path);
  if (!mountpoint && mountpoint.error().is(std::errc::no_such_file_or_directory)) return refuse_missing(path);
  if (!mountpoint) return refuse(fmt::format("cannot find '{}': {}", path, mountpoint.error().message()));
  const auto table = read_mount_table();
  if (!table) return refuse(fmt::format("cannot read the list of mounts: {}", table.error().message()));
  const auto entry = mounted_at(*table, *mountpoint);
  if (entry && entry->is_cachefs()) return *entry;
  if (entry) {
    return refuse(
        fmt::format("'{}' is a mount of type {}, not of cachefs; `findmnt -t {}` lists those of cachefs",
                    *mountpoint, entry->type, kMountType));
  }
  struct stat status{};
  if (::lstat(mountpoint->c_str(), &status) != 0 && errno == ENOENT) return refuse_missing(path);
  return refuse(fmt::format("'{}' is not a mount point of cachefs; `findmnt -t {}` lists them", *mountpoint,
                            kMountType));
}

}  // namespace cachefs::cli
