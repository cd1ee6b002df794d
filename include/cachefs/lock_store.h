// Advisory locks of files: those of fcntl(2) and those of flock(2).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>

#include "cachefs/error.h"
#include "cachefs/file_system.h"

namespace cachefs {

enum class LockMode : uint8_t { none, shared, exclusive };

/// Locks of the two families do not know of each other, but where a source makes one of the other (NFS).
enum class LockFamily : uint8_t {
  record,  ///< of ranges, as by fcntl(2): an owner's own locks never conflict, but are split and merged
  whole,   ///< of whole files, as by flock(2)
};

/// Who holds a lock. The number is the caller's choice.
struct LockOwner {
  LockFamily family = LockFamily::record;
  uint64_t number = 0;

  friend bool operator==(const LockOwner&, const LockOwner&) = default;
};

/// Bytes of a file, half-open. Of a lock of the family `whole`: all.
struct LockRange {
  static constexpr uint64_t kEnd = UINT64_MAX;  ///< the end of the file, wherever that is

  uint64_t begin = 0;
  uint64_t end = kEnd;

  [[nodiscard]] bool empty() const { return begin >= end; }
  [[nodiscard]] bool overlaps(const LockRange& other) const { return begin < other.end && other.begin < end; }
  friend bool operator==(const LockRange&, const LockRange&) = default;
};

/// How the file is open by which the lock is asked for. A source may want a file that is open for writing for
/// an exclusive lock.
struct LockAccess {
  bool read = true;
  bool write = true;
};

struct LockRequest {
  LockOwner owner{};
  LockMode mode = LockMode::exclusive;  ///< none: unlock
  LockRange range{};
  LockAccess access{};
  pid_t process = 0;       ///< to be named to others as the holder; 0: nobody
  bool downgrade = false;  ///< shared, of what the owner has exclusively: as good as given back
};

/// A lock that is held.
struct HeldLock {
  LockOwner owner{};  ///< of no meaning if it is held by somebody elsewhere
  LockMode mode = LockMode::exclusive;
  LockRange range{};
  pid_t process = 0;  ///< 0: not known here

  friend bool operator==(const HeldLock&, const HeldLock&) = default;
};

/// Locks of regular files, where Capabilities::locks. None of these waits for a lock: who wants to, asks
/// again. So nobody is told of a deadlock (EDEADLK). Thread-safe; of one owner and file, requests are to be
/// made one after another. Who has locked, or tried to, calls release() when the owner has done with the
/// file.
class LockStore {
 public:
  virtual ~LockStore() = default;

  /// Locks or unlocks. After an error of a source that is not reached an owner may hold the range or not. A
  /// whole-file lock that cannot be changed from one mode to the other may be lost, as by flock(2). Errors:
  /// eagain (somebody else holds a lock that conflicts), enolck, ebadf (a source that wants the file open for
  /// writing).
  virtual Result<void> set(Node& node, const LockRequest& request, const Caller& caller) = 0;

  /// Some lock that keeps set() from succeeding now; nullopt if there is none.
  virtual Result<std::optional<HeldLock>> test(Node& node, const LockRequest& request,
                                               const Caller& caller) = 0;

  /// Unlocks all that the owner holds of the file. It is let go of also where this fails: later then.
  virtual Result<void> release(Node& node, const LockOwner& owner) = 0;
};

}  // namespace cachefs

template <>
struct std::hash<cachefs::LockOwner> {
  size_t operator()(const cachefs::LockOwner& owner) const noexcept {
    return std::hash<uint64_t>()(owner.number) * 2 + static_cast<size_t>(owner.family);
  }
};
