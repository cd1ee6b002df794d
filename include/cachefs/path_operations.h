// Whole-path conveniences over a FileSystem, in the shape of the POSIX calls.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cachefs/file_system.h"

namespace cachefs {

/// Where paths begin, and on whose behalf they are followed. "/" is the root of the file system: no "..",
/// symlink or absolute target leads above it. ".." goes back to the directory through which the path came.
/// Safe to share while nobody calls change_directory. `fs` must outlive it.
class PathContext {
 public:
  /// Implicit, so that read_file(fs, "/a") can be written.
  PathContext(FileSystem& fs, Caller caller = {});  // NOLINT(google-explicit-constructor)

  [[nodiscard]] FileSystem& fs() const { return *fs_; }
  [[nodiscard]] const Caller& caller() const { return caller_; }
  /// The directories from the root to the working directory, both included.
  [[nodiscard]] const std::vector<NodeRef>& working_directory() const { return working_directory_; }

  /// Errors: enotdir and those of resolve; eacces where the caller may not search the directory.
  Result<void> change_directory(std::string_view path);

 private:
  FileSystem* fs_;
  Caller caller_;
  std::vector<NodeRef> working_directory_;
};

enum class FollowLast : bool { no, yes };

inline constexpr uint32_t kSymlinksMax = 40;  ///< in one path; more is ELOOP

/// What a path leads to. Symlinks on the way are followed, one at its end if `follow` (or if a '/' comes
/// after it). Errors: enoent (also for ""), enotdir, eloop, eacces.
Result<Entry> resolve(const PathContext& context, std::string_view path, FollowLast follow = FollowLast::yes);

/// As O_RDONLY and its like, one member each.
struct OpenOptions {
  bool read = true;
  bool write = false;
  bool create = false;
  bool exclusive = false;  ///< with create: EEXIST if the name is there, a dangling symlink included
  bool truncate = false;
  bool append = false;
  bool no_follow = false;  ///< ELOOP if the last component is a symlink
  uint32_t mode = 0666;    ///< of a file that is created, before Caller::umask
};

Result<std::unique_ptr<File>> open(const PathContext& context, std::string_view path,
                                   const OpenOptions& options = {});
/// As creat(2): for reading and writing, emptied if it was there.
Result<std::unique_ptr<File>> create(const PathContext& context, std::string_view path, uint32_t mode = 0666);

Result<Attributes> stat(const PathContext& context, std::string_view path);
Result<Attributes> lstat(const PathContext& context, std::string_view path);
Result<FileSystemStatistics> statvfs(const PathContext& context, std::string_view path);

Result<void> mkdir(const PathContext& context, std::string_view path, uint32_t mode = 0777);
/// Makes what is missing of `path`; fine if all of it is there. Errors: enotdir if a file is in the way.
Result<void> mkdir_all(const PathContext& context, std::string_view path, uint32_t mode = 0777);
/// A file, symlink or empty directory.
Result<void> remove(const PathContext& context, std::string_view path);
/// `path` and everything below it; symlinks are removed, not followed. Fine if nothing is there. Stops at the
/// first error.
Result<void> remove_all(const PathContext& context, std::string_view path);
Result<void> rename(const PathContext& context, std::string_view from, std::string_view to,
                    RenameMode mode = RenameMode::replace);
/// A symlink at `existing` is not followed: the link leads to the symlink.
Result<void> link(const PathContext& context, std::string_view existing, std::string_view path);
Result<void> symlink(const PathContext& context, std::string_view target, std::string_view path);
Result<std::string> read_link(const PathContext& context, std::string_view path);

Result<void> chmod(const PathContext& context, std::string_view path, uint32_t mode);
/// What is absent stays as it is.
struct Ownership {
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
};
Result<void> chown(const PathContext& context, std::string_view path, const Ownership& owner);
Result<void> lchown(const PathContext& context, std::string_view path, const Ownership& owner);
struct Times {
  std::optional<TimeChange> atime;
  std::optional<TimeChange> mtime;
};
Result<void> utimens(const PathContext& context, std::string_view path, const Times& times,
                     FollowLast follow = FollowLast::yes);
Result<void> truncate(const PathContext& context, std::string_view path, uint64_t size);

Result<std::string> get_xattr(const PathContext& context, std::string_view path, std::string_view name);
Result<void> set_xattr(const PathContext& context, std::string_view path, std::string_view name,
                       std::string_view value, XattrMode mode = XattrMode::create_or_replace);

/// All entries, by name. For directories too large for memory: FileSystem::open_directory.
Result<std::vector<DirectoryEntry>> read_directory(const PathContext& context, std::string_view path);
/// The whole content, as it is when each part is read.
Result<std::string> read_file(const PathContext& context, std::string_view path);
/// Creates or replaces the content; not atomic.
Result<void> write_file(const PathContext& context, std::string_view path, std::string_view content,
                        uint32_t mode = 0666);

/// Whether one name fits one component of a pattern: '*' any bytes, '?' one, "[a-z]" one of a set, "[!a-z]"
/// one outside it, '\' takes the next byte as it is. Names that begin with a dot are names like any other. An
/// unclosed '[' stands for itself. Linear in the name's length for each '*'.
bool matches_component(std::string_view pattern, std::string_view name);
/// Paths that exist and fit `pattern`, sorted, in the pattern's own form (absolute or relative). "**" as a
/// component stands for any number of directories, none included, and follows no symlinks. None is not an
/// error; directories that cannot be read are passed over, as a shell does.
Result<std::vector<std::string>> glob(const PathContext& context, std::string_view pattern);

enum class WalkAction : uint8_t { go_on, skip_directory, stop };
/// Called with the path (below the one that was asked for, joined to it) and what is there.
using WalkVisitor = std::function<WalkAction(const std::string& path, const Entry& entry)>;
/// Visits `path` and everything below it, each directory before what it holds; follows no symlinks but at
/// `path` itself. Streaming: holds one batch of entries for each level. What vanishes meanwhile is passed
/// over; any other error ends it.
Result<void> walk(const PathContext& context, std::string_view path, const WalkVisitor& visitor);

enum class SeekFrom : uint8_t { start, current, end };

/// A file with a position, as a POSIX descriptor has one. Not thread-safe.
class FileCursor {
 public:
  explicit FileCursor(std::unique_ptr<File> file, bool append = false)
      : file_(std::move(file)), append_(append) {}

  /// One request: may be short; 0 at the end of the file.
  Result<size_t> read(std::span<std::byte> out);
  /// At the position, or at the end of the file if opened for appending; the position is then behind the
  /// bytes.
  Result<size_t> write(std::span<const std::byte> data);
  /// Returns the new position. Errors: einval (before the start), eoverflow.
  Result<uint64_t> seek(int64_t offset, SeekFrom from);
  [[nodiscard]] uint64_t position() const { return position_; }
  [[nodiscard]] File& file() { return *file_; }
  Result<void> close() { return file_->close(); }

 private:
  std::unique_ptr<File> file_;
  uint64_t position_ = 0;
  bool append_ = false;
};

/// A file system whose root is the directory at `path` of another. It shares everything with that one, a
/// cache and its coherence included. `context.fs()` must outlive it. Errors: enotdir and those of resolve.
Result<std::unique_ptr<FileSystem>> sub(const PathContext& context, std::string_view path);

}  // namespace cachefs
