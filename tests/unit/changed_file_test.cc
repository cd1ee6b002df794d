// The tables of docs/SEMANTICS.md on files that change elsewhere while they are open here: a test for each
// cell, over each kind of source. What the cell says is read from the document.
#include <algorithm>
#include <array>
#include <set>

#include "support/semantics_tables.h"
#include "unit/cache_stack.h"
#include "unit/path_only_fs.h"

namespace cachefs {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using test::ChangedFileCell;
using test::errno_of;
using test::read_text;

constexpr std::string_view kPath = "/d/f";
constexpr std::string_view kOld = "0123456789";
constexpr std::array<std::string_view, 4> kModes{"strict", "close-to-open", "ttl", "immutable"};
constexpr std::array<std::string_view, 7> kChanges{
    "grow",          "shrink", "same-size overwrite", "replace by rename",
    "truncate to 0", "delete", "delete, new file"};
constexpr std::array<std::string_view, 6> kViews{"old handle",   "old handle's end",    "new handle",
                                                 "stat by path", "fstat by old handle", "kernel's page"};

struct SourceKind {
  const char* name;
  MemFsOptions options;
  test::Identity identity = test::Identity::file;
};
/// What sources are like: with and without stable inode numbers, fine and coarse times, clocks.
std::vector<SourceKind> source_kinds() {
  MemFsOptions coarse;
  coarse.version_source = VersionSource::timestamps;
  coarse.timestamp_granule = seconds(2);
  MemFsOptions foreign_clock = coarse;
  foreign_clock.local_clock = false;
  MemFsOptions like_sshfs = foreign_clock;
  like_sshfs.inode_numbers = InodeNumbers::random;
  return {{"usual", {}},
          {"reused inode numbers", {.inode_numbers = InodeNumbers::reused}},
          {"no inode numbers", {.inode_numbers = InodeNumbers::none}},
          {"random inode numbers", {.inode_numbers = InodeNumbers::random}},
          {"times in steps of 2 s", coarse},
          {"times of another clock", foreign_clock},
          {"inode numbers and times like sshfs", like_sshfs},
          {"paths alone", {}, test::Identity::path_alone},
          {"paths alone, times like sshfs", foreign_clock, test::Identity::path_alone}};
}

Coherence coherence_of(std::string_view mode) {
  const auto coherence = parse_coherence(mode == "ttl" ? "ttl=60s" : mode);
  EXPECT_TRUE(coherence) << mode;
  return coherence.value_or(Coherence{});
}

/// What a view shows.
enum class Shown : uint8_t { old_state, new_state, error, neither };

std::ostream& operator<<(std::ostream& out, Shown shown) {
  constexpr std::array kNames{"old", "new", "error", "neither"};
  return out << kNames.at(static_cast<size_t>(shown));
}

/// A file that is known and open here, and all that can be seen of it.
class OpenedFileWorld {
 public:
  OpenedFileWorld(std::string_view mode, const SourceKind& kind)
      : coherence_(coherence_of(mode)),
        memory_(make_mem_fs(with_clock(kind.options))),
        path_only_(*memory_),
        cache_(CacheFs::create(kind.identity == test::Identity::file ? *memory_ : path_only_,
                               {.max_bytes = 8 * kMiB, .coherence = coherence_, .clock = &clock_})
                   .value()) {
    must(errno_of(mkdir(*memory_, "/d")));
    must(errno_of(write_file(*memory_, kPath, kOld)));
    clock_.advance(seconds(10));  // settled, and the change will have another time
    auto opened = open(*cache_, kPath);
    must(errno_of(opened));
    old_handle_ = std::move(*opened);
    EXPECT_EQ(read_text(*old_handle_, 0, 100), kOld);
    old_attributes_ = stat(*cache_, kPath).value_or(Attributes{});
  }

  void change(std::string_view how) {
    FileSystem& source = *memory_;
    new_content_ = how == "grow"            ? "ABCDEFGHIJKLMNOP"
                   : how == "shrink"        ? "ABCD"
                   : how == "truncate to 0" ? ""
                                            : "ABCDEFGHIJ";
    gone_ = how == "delete";
    if (how == "replace by rename") {
      must(errno_of(write_file(source, "/d/new", new_content_)));
      must(errno_of(rename(source, "/d/new", kPath)));
      return;
    }
    if (gone_ || how == "delete, new file") must(errno_of(remove(source, kPath)));
    if (!gone_) must(errno_of(write_file(source, kPath, new_content_)));
  }

  Shown seen_by(std::string_view view) {
    if (view == "old handle") return shown(read_text(*old_handle_, 0, 4), 4);
    if (view == "old handle's end") return shown(read_text(*old_handle_, 0, 100), 100);
    if (view == "new handle") {
      const auto content = read_file(*cache_, kPath);
      if (!content) return missing(errno_of(content));
      return shown(*content, 100);
    }
    if (view == "stat by path") {
      const auto attributes = stat(*cache_, kPath);
      return attributes ? shown(*attributes) : missing(errno_of(attributes));
    }
    const auto attributes = old_handle_->attributes();
    return attributes ? shown(*attributes) : Shown::error;
  }

  /// Somebody else uses the file: each thing that can ask does.
  void ask() {
    ignore(stat(*cache_, kPath), "it may be gone");
    ignore(read_file(*cache_, kPath), "it may be gone");
  }
  void pass(std::chrono::nanoseconds time) { clock_.advance(time); }
  void pass_time_of_mode() {
    ASSERT_NE(coherence_.metadata_ttl(), Coherence::kForever);
    pass(coherence_.metadata_ttl());
  }
  void check() const { cache_->check_invariants(); }

 private:
  MemFsOptions with_clock(MemFsOptions options) {
    options.clock = &clock_;
    return options;
  }
  static void must(int error) { ASSERT_EQ(error, 0); }
  [[nodiscard]] Shown missing(int error) const {
    return gone_ && error == ENOENT ? Shown::new_state : Shown::error;
  }
  [[nodiscard]] Shown shown(std::string_view content, size_t wanted) const {
    if (content == kOld.substr(0, wanted)) return Shown::old_state;
    if (content.starts_with("error")) return Shown::error;
    const bool is_new = !gone_ && content == std::string_view(new_content_).substr(0, wanted);
    return is_new ? Shown::new_state : Shown::neither;
  }
  /// Every change gives another time.
  [[nodiscard]] Shown shown(const Attributes& attributes) const {
    if (attributes.size == kOld.size() && attributes.mtime == old_attributes_.mtime) return Shown::old_state;
    return !gone_ && attributes.size == new_content_.size() ? Shown::new_state : Shown::neither;
  }

  const Coherence coherence_;
  ManualClock clock_;
  const std::unique_ptr<FileSystem> memory_;
  test::PathOnlyFs path_only_;
  const std::unique_ptr<CacheFs> cache_;
  std::unique_ptr<File> old_handle_;
  Attributes old_attributes_;
  std::string new_content_;
  bool gone_ = false;
};

class ChangedFile : public ::testing::TestWithParam<ChangedFileCell> {};

void expect_cell(const ChangedFileCell& cell, OpenedFileWorld& world) {
  world.change(cell.change);
  if (cell.shows == "at once") {
    EXPECT_EQ(world.seen_by(cell.view), Shown::new_state);
    return;
  }
  if (cell.shows == "error") {
    world.pass_time_of_mode();
    EXPECT_EQ(world.seen_by(cell.view), Shown::error);
    return;
  }
  EXPECT_EQ(world.seen_by(cell.view), Shown::old_state) << "nobody has asked";
  if (cell.shows == "in time") {
    world.pass_time_of_mode();
    EXPECT_EQ(world.seen_by(cell.view), Shown::new_state) << "after the mode's time";
    return;
  }
  world.pass(hours(100'000));
  EXPECT_EQ(world.seen_by(cell.view), Shown::old_state) << "still, nobody has asked";
  world.ask();
  if (cell.shows == "once found") {
    EXPECT_EQ(world.seen_by(cell.view), Shown::new_state) << "somebody else has asked";
  } else {
    EXPECT_EQ(cell.shows, "kept") << "no word of the tables";
    EXPECT_EQ(world.seen_by(cell.view), Shown::old_state) << "for good";
  }
}

TEST_P(ChangedFile, ShowsAsTheTableSays) {
  const std::string name = GetParam().name();
  for (const SourceKind& kind : source_kinds()) {
    SCOPED_TRACE(kind.name);
    const auto cells = test::read_changed_file_cells(kind.identity);
    const auto cell = std::ranges::find(cells, name, &ChangedFileCell::name);
    ASSERT_NE(cell, cells.end());
    OpenedFileWorld world(cell->mode, kind);
    expect_cell(*cell, world);
    world.check();
  }
}

/// The kernel's pages are a matter of mounts (tests/mount/coherence_test.cc).
std::vector<ChangedFileCell> cells_without_kernel() {
  std::vector<ChangedFileCell> cells = test::read_changed_file_cells(test::Identity::file);
  std::erase_if(cells, [](const ChangedFileCell& cell) { return cell.view == kViews.back(); });
  return cells;
}

INSTANTIATE_TEST_SUITE_P(Cell, ChangedFile, ::testing::ValuesIn(cells_without_kernel()),
                         [](const auto& test) { return test.param.name(); });

TEST(ChangedFileTables, HaveEachCellOnce) {
  std::multiset<std::string> expected;
  for (const std::string_view mode : kModes) {
    for (const std::string_view change : kChanges) {
      for (const std::string_view view : kViews)
        expected.insert(
            ChangedFileCell{std::string(mode), std::string(change), std::string(view), ""}.name());
    }
  }
  std::multiset<std::string> found;
  for (const ChangedFileCell& cell : test::read_changed_file_cells(test::Identity::file))
    found.insert(cell.name());
  EXPECT_EQ(found, expected);
}

}  // namespace
}  // namespace cachefs
