// The tables of docs/SEMANTICS.md on files that change elsewhere while they are open, through the program and
// the kernel: a test for each cell, over a directory, slowfs and sshfs. What the cell says is read from the
// document.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <iostream>
#include <map>
#include <optional>

#include "mount/cli_fixture.h"
#include "mount/source_place.h"
#include "server/unique_fd.h"
#include "support/semantics_tables.h"

namespace cachefs::test {
namespace {

using server::UniqueFd;

constexpr std::string_view kOld = "0123456789";
constexpr time_t kOldTime = 1'000'000'000;
constexpr time_t kNewTime = kOldTime + 100;  // sshfs knows whole seconds alone

/// A place, mounted through cachefs in one mode. Lives as long as the program, for all cells of that mode.
class MountedPlace {
 public:
  MountedPlace(const std::string& kind, const std::vector<std::string>& options) {
    std::string pattern = (std::filesystem::temp_directory_path() / "cachefs-coherence.XXXXXX").string();
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = std::filesystem::canonical(pattern);
    for (const char* name : {"files", "mount", "room"}) std::filesystem::create_directory(folder_ / name);
    place_ = make_source_place(kind, folder_ / "files", folder_ / "room");
    std::vector<std::string> arguments{CACHEFS_PROGRAM, "mount", "--foreground", place_->path(),
                                       cached_path()};
    arguments.insert(arguments.end(), options.begin(), options.end());
    daemon_ = std::make_unique<ChildProcess>(arguments, SIGTERM, folder_ / "room" / "cachefs.log");
    const bool mounted = eventually([&] { return is_mount(cached_path()) || !daemon_->is_running(); });
    EXPECT_TRUE(mounted && is_mount(cached_path())) << daemon_->printed();
  }
  ~MountedPlace() {
    daemon_.reset();
    unmount_if_mounted(cached_path());
    place_.reset();
    std::filesystem::remove_all(folder_);
  }
  MountedPlace(const MountedPlace&) = delete;
  MountedPlace& operator=(const MountedPlace&) = delete;

  /// The files as they are, as the source shows them, and through the cache.
  [[nodiscard]] std::string real_path() const { return folder_ / "files"; }
  [[nodiscard]] const std::string& source_path() const { return place_->path(); }
  [[nodiscard]] std::string cached_path() const { return folder_ / "mount"; }

 private:
  std::filesystem::path folder_;
  std::unique_ptr<SourcePlace> place_;
  std::unique_ptr<ChildProcess> daemon_;
};

void write_whole(const std::string& path, std::string_view content, time_t time) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  ASSERT_EQ(::write(fd.get(), content.data(), content.size()), static_cast<ssize_t>(content.size()));
  const std::array<timespec, 2> times{timespec{time, 0}, timespec{time, 0}};
  ASSERT_EQ(::futimens(fd.get(), times.data()), 0);
}

/// nullopt: it cannot be read.
std::optional<std::string> read_up_to(int fd, size_t size) {
  std::string text(size, '\0');
  const ssize_t count = ::pread(fd, text.data(), size, 0);
  if (count < 0) return std::nullopt;
  text.resize(static_cast<size_t>(count));
  return text;
}

/// The first bytes of a mapping, without a signal where there are none any more.
std::string read_mapping(const void* mapping, size_t size) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd out(ends[0]);
  const UniqueFd in(ends[1]);
  if (::write(in.get(), mapping, size) < 0) return "";
  std::string text(size, '\0');
  EXPECT_EQ(::read(out.get(), text.data(), size), static_cast<ssize_t>(size));
  return text;
}

enum class Shown : uint8_t { old_state, new_state, error, neither };

std::ostream& operator<<(std::ostream& out, Shown shown) {
  constexpr std::array kNames{"old", "new", "error", "neither"};
  return out << kNames.at(static_cast<size_t>(shown));
}

/// A file that is open through the cache, and what is seen of it.
class OpenedFile {
 public:
  OpenedFile(const MountedPlace& place, const std::string& name, std::string_view view)
      : real_(place.real_path() + "/" + name),
        source_(place.source_path() + "/" + name),
        cached_(place.cached_path() + "/" + name),
        view_(view) {
    write_whole(real_, kOld, kOldTime);
    // Past the kernel's pages, but for the view of these. One handle alone, so that it has the source's file.
    const bool past_pages = view_ == "old handle" || view_ == "old handle's end";
    handle_ = UniqueFd(::open(cached_.c_str(), O_RDONLY | O_CLOEXEC | (past_pages ? O_DIRECT : 0)));
    EXPECT_TRUE(handle_) << cached_;
    EXPECT_EQ(read_up_to(handle_.get(), 100), kOld);
    if (view_ == "kernel's page") {
      mapping_ = ::mmap(nullptr, kOld.size(), PROT_READ, MAP_SHARED, handle_.get(), 0);
      EXPECT_NE(mapping_, MAP_FAILED);
      EXPECT_EQ(read_mapping(mapping_, kOld.size()), kOld);
    }
    struct stat status{};
    EXPECT_EQ(::stat(cached_.c_str(), &status), 0);
  }
  ~OpenedFile() {
    if (mapping_ != nullptr) ::munmap(mapping_, kOld.size());
  }
  OpenedFile(const OpenedFile&) = delete;
  OpenedFile& operator=(const OpenedFile&) = delete;

  /// Changes the file past the cache, and makes sure that the source shows it.
  void change(std::string_view how) {
    new_content_ = how == "grow"            ? "ABCDEFGHIJKLMNOP"
                   : how == "shrink"        ? "ABCD"
                   : how == "truncate to 0" ? ""
                                            : "ABCDEFGHIJ";
    gone_ = how == "delete";
    if (how == "replace by rename") {
      write_whole(real_ + ".new", new_content_, kNewTime);
      ASSERT_EQ(::rename((real_ + ".new").c_str(), real_.c_str()), 0);
    } else {
      const bool removed = gone_ || how == "delete, new file";
      ASSERT_EQ(removed ? ::unlink(real_.c_str()) : 0, 0);
      if (!gone_) write_whole(real_, new_content_, kNewTime);
    }
    ASSERT_TRUE(eventually([&] { return shown_at(source_) == Shown::new_state; })) << "the source shows it";
  }

  Shown seen() {
    if (view_ == "old handle") return shown(read_up_to(handle_.get(), 4), 4);
    if (view_ == "old handle's end") return shown(read_up_to(handle_.get(), 100), 100);
    if (view_ == "new handle") {
      const UniqueFd fd(::open(cached_.c_str(), O_RDONLY | O_CLOEXEC));
      if (!fd) return missing(errno);
      return shown(read_up_to(fd.get(), 100), 100);
    }
    if (view_ == "stat by path") return shown_at(cached_);
    if (view_ == "fstat by old handle") {
      struct stat status{};
      return ::fstat(handle_.get(), &status) == 0 ? shown(status) : Shown::error;
    }
    const Shown mapped = shown(read_mapping(mapping_, 4), 4);
    const Shown read = shown(read_up_to(handle_.get(), 4), 4);
    return mapped == read ? read : Shown::neither;
  }

  /// Others use the file by its path.
  void ask() const {
    struct stat status{};
    if (::stat(cached_.c_str(), &status) != 0) return;
    const UniqueFd fd(::open(cached_.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd) read_up_to(fd.get(), 100);
  }
  [[nodiscard]] Shown by_path() const { return shown_at(cached_); }
  [[nodiscard]] const std::string& last_read() const { return last_read_; }

 private:
  [[nodiscard]] Shown missing(int error) const {
    return gone_ && error == ENOENT ? Shown::new_state : Shown::error;
  }
  [[nodiscard]] Shown shown(const std::optional<std::string>& content, size_t wanted) {
    last_read_ = content.value_or("error");
    if (!content) return Shown::error;
    if (content == kOld.substr(0, wanted)) return Shown::old_state;
    const bool is_new = !gone_ && content == std::string_view(new_content_).substr(0, wanted);
    return is_new ? Shown::new_state : Shown::neither;
  }
  [[nodiscard]] Shown shown(const struct stat& status) const {
    const auto size = static_cast<size_t>(status.st_size);
    if (size == kOld.size() && status.st_mtime == kOldTime) return Shown::old_state;
    const bool is_new = !gone_ && size == new_content_.size() && status.st_mtime == kNewTime;
    return is_new ? Shown::new_state : Shown::neither;
  }
  [[nodiscard]] Shown shown_at(const std::string& path) const {
    struct stat status{};
    return ::stat(path.c_str(), &status) == 0 ? shown(status) : missing(errno);
  }

  const std::string real_;
  const std::string source_;
  const std::string cached_;
  const std::string view_;
  UniqueFd handle_;
  void* mapping_ = nullptr;
  std::string new_content_;
  std::string last_read_;
  bool gone_ = false;
};

/// A mode, as options of a mount. `time_passes`: its time is so short that a test can wait for its end; else
/// it is longer than any test.
struct MountMode {
  std::vector<std::string> options;
  bool time_passes = false;
};

std::vector<MountMode> mounts_of(const std::string& mode) {
  if (mode == "close-to-open") return {{{"--coherence", mode, "--attr-ttl", "100ms"}, true}};
  if (mode == "ttl") {
    return {{{"--coherence", "ttl=1h"}, false}, {{"--coherence", "ttl=100ms"}, true}};
  }
  return {{{"--coherence", mode}, false}};
}

struct MountCell {
  std::string source;
  ChangedFileCell cell;
};

// NOLINTNEXTLINE(readability-identifier-naming): the name is GoogleTest's
void PrintTo(const MountCell& value, std::ostream* out) { *out << value.source << ": " << value.cell.shows; }

class CoherenceOverMounts : public testing::TestWithParam<MountCell> {
 protected:
  static bool can_mount() { return ::access("/dev/fuse", R_OK | W_OK) == 0; }

  /// All cells of a mode share the mount, each with a file of its own.
  static const MountedPlace& mounted(const std::string& source, const std::vector<std::string>& options) {
    auto& place = places()[{source, options}];
    if (place == nullptr) place = std::make_unique<MountedPlace>(source, options);
    return *place;
  }
  static void TearDownTestSuite() { places().clear(); }

 private:
  using Key = std::pair<std::string, std::vector<std::string>>;
  static std::map<Key, std::unique_ptr<MountedPlace>>& places() {
    static std::map<Key, std::unique_ptr<MountedPlace>> all;
    return all;
  }
};

/// Where the mode's time does not pass, what is to show "in time" does not, nor what nobody may ask about.
void expect_cell(const ChangedFileCell& cell, const MountMode& mode, OpenedFile& file) {
  file.change(cell.change);
  if (cell.shows == "at once") {
    EXPECT_EQ(file.seen(), Shown::new_state);
  } else if (cell.shows == "in time") {
    if (mode.time_passes) {
      EXPECT_TRUE(eventually([&] { return file.seen() == Shown::new_state; }));
    } else {
      EXPECT_EQ(file.seen(), Shown::old_state);
    }
  } else if (cell.shows == "error") {
    const bool asks = cell.mode == "strict" || mode.time_passes;
    if (asks) {
      EXPECT_TRUE(eventually([&] { return file.seen() == Shown::error; }));
    } else {
      EXPECT_EQ(file.seen(), Shown::old_state);
    }
  } else if (cell.shows == "once found") {
    EXPECT_EQ(file.seen(), Shown::old_state) << "nobody has asked";
    file.ask();
    const bool may_ask = cell.mode != "ttl" || mode.time_passes;
    if (may_ask) {
      EXPECT_TRUE(eventually([&] { return file.ask(), file.seen() == Shown::new_state; }));
    } else {
      EXPECT_EQ(file.seen(), Shown::old_state);
    }
  } else {
    ASSERT_EQ(cell.shows, "kept") << "no word of the tables";
    EXPECT_EQ(file.seen(), Shown::old_state);
    const bool others_find_it = cell.mode == "strict" || mode.time_passes;
    EXPECT_TRUE(!others_find_it || eventually([&] { return file.by_path() == Shown::new_state; }));
    file.ask();
    EXPECT_EQ(file.seen(), Shown::old_state) << "for good";
  }
}

TEST_P(CoherenceOverMounts, ShowsAsTheTableSays) {
  CACHEFS_REQUIRE_MOUNT();
  const auto& [source, cell] = GetParam();
  if (!can_make_source_place(source)) {
    const char* required = std::getenv("CACHEFS_TEST_REQUIRE_MOUNT");
    ASSERT_TRUE(required == nullptr || std::string(required) != "1") << source << " is required here";
    GTEST_SKIP() << "its programs are not installed";
  }
  for (const MountMode& mode : mounts_of(cell.mode)) {
    SCOPED_TRACE(mode.options.back());
    OpenedFile file(mounted(source, mode.options), cell.name(), cell.view);
    if (!HasFailure()) expect_cell(cell, mode, file);
    if (HasFailure()) std::cerr << "the last bytes read: '" << file.last_read() << "'\n";
  }
}

std::vector<MountCell> all_cells() {
  std::vector<MountCell> all;
  for (const char* source : {"Directory", "Slowfs", "Sshfs"}) {
    const auto identity = std::string(source) == "Sshfs" ? Identity::path_alone : Identity::file;
    for (ChangedFileCell& cell : read_changed_file_cells(identity)) all.push_back({source, std::move(cell)});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Cell, CoherenceOverMounts, testing::ValuesIn(all_cells()),
                         [](const auto& test) { return test.param.source + "_" + test.param.cell.name(); });

}  // namespace
}  // namespace cachefs::test
