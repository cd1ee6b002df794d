#include "fault/fault_scenario.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <vector>

namespace cachefs::test {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

template <typename T>
Result<void> done(const Result<T>& result) {
  if (!result) return std::unexpected(result.error());
  return {};
}

/// Opens, uses and closes; the first error counts.
template <typename Use>
Result<void> with_file(FileSystem& fs, std::string_view path, const OpenOptions& options, Use use) {
  auto file = open(fs, path, options);
  if (!file) return std::unexpected(file.error());
  Result<void> used = done(use(**file));
  Result<void> closed = (*file)->close();
  return used ? closed : used;
}

constexpr OpenOptions kWrite{.read = false, .write = true};
constexpr OpenOptions kReadWrite{.read = true, .write = true};

bool holds(FileSystem& source, std::string_view path, std::string_view content) {
  return read_file(source, path).value_or("unreadable") == content;
}
bool exists(FileSystem& source, std::string_view path) { return lstat(source, path).has_value(); }
bool always(FileSystem& /*source*/) { return true; }

Result<void> reads(FileSystem& fs, std::string_view path) { return done(read_file(fs, path)); }

std::vector<Step> data_steps() {
  return {
      {"create", [](FileSystem& fs) { return write_file(fs, "/d/new", "first"); },
       [](FileSystem& source) { return holds(source, "/d/new", "first"); }},
      {"read what was created", [](FileSystem& fs) { return reads(fs, "/d/new"); }, always},
      {"overwrite",
       [](FileSystem& fs) {
         return with_file(fs, "/d/warm", kWrite,
                          [](File& file) { return file.write_at(5000, bytes_of("middle")); });
       },
       [](FileSystem& source) {
         return read_file(source, "/d/warm").value_or(std::string(6000, '?')).substr(5000, 6) == "middle";
       }},
      {"read, then write through one handle",
       [](FileSystem& fs) {
         return with_file(fs, "/d/cold", kReadWrite, [](File& file) -> Result<size_t> {
           std::byte buffer[100];
           if (auto count = file.read_at(0, std::span(buffer)); !count) return count;
           return file.write_at(0, bytes_of("COLD"));
         });
       },
       [](FileSystem& source) { return read_file(source, "/d/cold").value_or("?").starts_with("COLD"); }},
      {"append",
       [](FileSystem& fs) {
         return with_file(fs, "/d/warm", kWrite, [](File& file) { return file.append(bytes_of("tail")); });
       },
       [](FileSystem& source) { return read_file(source, "/d/warm").value_or("?").ends_with("tail"); }},
      {"write behind the end",
       [](FileSystem& fs) {
         return with_file(fs, "/d/warm", kWrite,
                          [](File& file) { return file.write_at(60'000, bytes_of("far")); });
       },
       [](FileSystem& source) { return stat(source, "/d/warm").value_or(Attributes{}).size == 60'003; }},
      {"read all of it", [](FileSystem& fs) { return reads(fs, "/d/warm"); }, always},
      {"truncate", [](FileSystem& fs) { return truncate(fs, "/d/warm", 7000); },
       [](FileSystem& source) { return stat(source, "/d/warm").value_or(Attributes{}).size == 7000; }},
      {"replace the content", [](FileSystem& fs) { return write_file(fs, "/d/cold", "replaced"); },
       [](FileSystem& source) { return holds(source, "/d/cold", "replaced"); }},
      {"punch a hole",
       [](FileSystem& fs) {
         return with_file(fs, "/d/warm", kWrite,
                          [](File& file) { return file.allocate(AllocateMode::punch_hole, 0, 4096); });
       },
       [](FileSystem& source) { return read_file(source, "/d/warm").value_or("?")[0] == '\0'; }},
      {"copy a range",
       [](FileSystem& fs) -> Result<void> {
         auto from = open(fs, "/d/cold");
         if (!from) return std::unexpected(from.error());
         return with_file(fs, "/d/warm", kReadWrite,
                          [&](File& to) { return (*from)->copy_range(0, to, 100, 8); });
       },
       [](FileSystem& source) {  // what was there to be copied, an earlier step having failed perhaps
         const std::string from = read_file(source, "/d/cold").value_or("?").substr(0, 8);
         return read_file(source, "/d/warm").value_or("?").compare(100, from.size(), from) == 0;
       }},
      {"sync",
       [](FileSystem& fs) {
         return with_file(fs, "/d/warm", kWrite, [](File& file) { return file.sync(SyncKind::all); });
       },
       always},
  };
}

std::vector<Step> metadata_steps() {
  return {
      {"chmod", [](FileSystem& fs) { return chmod(fs, "/d/warm", 0640); },
       [](FileSystem& source) { return stat(source, "/d/warm").value_or(Attributes{}).mode == 0640; }},
      {"set times",
       [](FileSystem& fs) { return utimens(fs, "/d/warm", {.atime = {}, .mtime = TimeChange{}}); },
       [](FileSystem& source) {
         return stat(source, "/d/warm").value_or(Attributes{}).mtime == Timestamp{};
       }},
      {"set an extended attribute", [](FileSystem& fs) { return set_xattr(fs, "/d/warm", "user.k", "v"); },
       [](FileSystem& source) { return get_xattr(source, "/d/warm", "user.k").value_or("") == "v"; }},
      {"make a directory", [](FileSystem& fs) { return mkdir(fs, "/d/sub"); },
       [](FileSystem& source) { return exists(source, "/d/sub"); }},
      {"list", [](FileSystem& fs) { return done(read_directory(fs, "/d")); }, always},
      {"link", [](FileSystem& fs) { return link(fs, "/d/warm", "/d/sub/linked"); },
       [](FileSystem& source) { return exists(source, "/d/sub/linked"); }},
      {"make a symlink", [](FileSystem& fs) { return symlink(fs, "warm", "/d/soft"); },
       [](FileSystem& source) { return read_link(source, "/d/soft").value_or("") == "warm"; }},
      {"read through the symlink", [](FileSystem& fs) { return reads(fs, "/d/soft"); }, always},
      {"rename", [](FileSystem& fs) { return rename(fs, "/d/new", "/d/moved"); },
       [](FileSystem& source) { return exists(source, "/d/moved") && !exists(source, "/d/new"); }},
      {"read what was moved", [](FileSystem& fs) { return reads(fs, "/d/moved"); }, always},
      {"rename over", [](FileSystem& fs) { return rename(fs, "/d/moved", "/d/cold"); },
       [](FileSystem& source) { return exists(source, "/d/cold") && !exists(source, "/d/moved"); }},
      {"exchange", [](FileSystem& fs) { return rename(fs, "/d/cold", "/d/warm", RenameMode::exchange); },
       [](FileSystem& source) { return exists(source, "/d/cold") && exists(source, "/d/warm"); }},
      {"rename a directory", [](FileSystem& fs) { return rename(fs, "/d/sub", "/sub"); },
       [](FileSystem& source) { return exists(source, "/sub") && !exists(source, "/d/sub"); }},
      {"unlink one of two names", [](FileSystem& fs) { return remove(fs, "/d/warm"); },
       [](FileSystem& source) { return !exists(source, "/d/warm"); }},
      {"unlink while open",
       [](FileSystem& fs) {
         return with_file(fs, "/d/cold", kReadWrite, [&](File& file) -> Result<void> {
           if (auto removed = remove(fs, "/d/cold"); !removed) return removed;
           return done(file.write_at(0, bytes_of("ghost")));
         });
       },
       [](FileSystem& source) { return !exists(source, "/d/cold"); }},
      {"remove a directory with what it holds", [](FileSystem& fs) { return remove_all(fs, "/sub"); },
       [](FileSystem& source) { return !exists(source, "/sub"); }},
      {"create under a removed name", [](FileSystem& fs) { return write_file(fs, "/d/warm", "again"); },
       [](FileSystem& source) { return holds(source, "/d/warm", "again"); }},
  };
}

/// The start of a content and a hash of all of it: short enough for a message, long enough to tell.
std::string digest(const std::string& content) {
  std::string text = fmt::format("{:016x} ", std::hash<std::string>()(content));
  for (const char c : std::string_view(content).substr(0, 16)) text += c >= ' ' && c < '\x7f' ? c : '.';
  return text;
}

void describe(FileSystem& fs, const std::string& path, const Entry& entry, std::string& text) {
  const Attributes& a = entry.attributes;
  text += fmt::format("{} kind={} mode={:o} nlink={} uid={} mtime={} ctime={}", path,
                      static_cast<int>(a.kind), a.mode, a.nlink, a.uid, a.mtime.time_since_epoch().count(),
                      a.ctime.time_since_epoch().count());
  if (a.kind == FileKind::regular) {
    const auto content = read_file(fs, path);
    text +=
        fmt::format(" size={} content={}", a.size, content ? digest(*content) : content.error().message());
    text += fmt::format(" xattr={}", get_xattr(fs, path, "user.k").value_or("none"));
  }
  if (a.kind == FileKind::symlink) text += " target=" + read_link(fs, path).value_or("?");
  if (a.kind == FileKind::directory) {
    const auto entries = read_directory(fs, path);
    text += " entries=";
    for (const DirectoryEntry& child : entries.value_or(std::vector<DirectoryEntry>{}))
      text += child.name + ",";
  }
  text += '\n';
}

}  // namespace

std::span<const Step> scenario_steps() {
  static const std::vector<Step> steps = [] {
    std::vector<Step> all = data_steps();
    for (Step& step : metadata_steps()) all.push_back(std::move(step));
    return all;
  }();
  return steps;
}

void make_initial_tree(FileSystem& source) {
  ASSERT_TRUE(mkdir(source, "/d"));
  ASSERT_TRUE(write_file(source, "/d/warm", std::string(40'000, 'w')));
  ASSERT_TRUE(write_file(source, "/d/cold", std::string(20'000, 'c')));
}

std::string snapshot(FileSystem& fs) {
  std::string text;
  const auto walked = walk(fs, "/", [&](const std::string& path, const Entry& entry) {
    describe(fs, path, entry, text);
    return WalkAction::go_on;
  });
  if (!walked) text += "walk: " + walked.error().message();
  return text;
}

}  // namespace cachefs::test
