// What a file system tells of a file: identity, version, attributes.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>

namespace cachefs {

/// A point in time as file systems keep it: nanoseconds since the epoch, by the clock of the source.
using Timestamp = std::chrono::sys_time<std::chrono::nanoseconds>;

enum class FileKind : uint8_t { regular, directory, symlink, fifo, socket, char_device, block_device };

/// Names one file for as long as it exists, whatever its names are: two look-ups that lead to the same file
/// give equal identities, two files that exist at different times differ in `generation` (birth time or
/// handle generation). Meaningful only where Capabilities::stable_identity holds.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t generation = 0;

  friend auto operator<=>(const FileIdentity&, const FileIdentity&) = default;
};

/// An opaque stamp of a file's content and attributes: equal stamps mean "nothing changed, as far as the
/// source lets it be seen" (Capabilities::timestamp_granule says how far). Compared for equality, never
/// ordered.
struct Version {
  uint64_t high = 0;
  uint64_t low = 0;

  friend bool operator==(const Version&, const Version&) = default;
};

struct Attributes {
  FileIdentity identity;
  Version version;
  uint64_t size = 0;    ///< bytes
  uint64_t blocks = 0;  ///< units of 512 bytes that the file takes
  uint64_t rdev = 0;    ///< device number of a device file, as dev_t
  Timestamp atime, mtime, ctime, btime;
  uint32_t mode = 0;  ///< permission bits, 07777 at most; the kind is apart
  uint32_t nlink = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t block_size = 4096;  ///< preferred I/O size, bytes
  FileKind kind = FileKind::regular;

  friend bool operator==(const Attributes&, const Attributes&) = default;
};

/// A time to set: an exact one, or the source's own "now".
struct TimeChange {
  bool now = false;
  Timestamp time;
};

/// What `set_attributes` is to change; what is absent stays as it is. Applied all or, after an error, perhaps
/// in part (as several system calls would).
struct AttributeChange {
  std::optional<uint32_t> mode{};
  std::optional<uint32_t> uid{};
  std::optional<uint32_t> gid{};
  std::optional<uint64_t> size{};
  std::optional<TimeChange> atime{};
  std::optional<TimeChange> mtime{};

  [[nodiscard]] bool empty() const { return !mode && !uid && !gid && !size && !atime && !mtime; }
};

struct FileSystemStatistics {
  uint64_t block_size = 4096;  ///< bytes; the counts below are in these
  uint64_t blocks = 0;
  uint64_t blocks_free = 0;
  uint64_t blocks_available = 0;  ///< free to an ordinary user
  uint64_t files = 0;
  uint64_t files_free = 0;
  uint32_t name_max = 255;
};

}  // namespace cachefs

template <>
struct std::hash<cachefs::FileIdentity> {
  size_t operator()(const cachefs::FileIdentity& id) const noexcept {
    uint64_t mixed = id.inode * 0x9E3779B97F4A7C15ULL ^ (id.device + 0x7F4A7C15ULL) * 0xC2B2AE3D27D4EB4FULL;
    mixed ^= id.generation * 0x165667B19E3779F9ULL;
    return static_cast<size_t>(mixed ^ (mixed >> 29));
  }
};
