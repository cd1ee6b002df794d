// A file system in front of one that may hang, fail or go away: every request ends in time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "cachefs/file_system.h"
#include "cachefs/time_limits.h"

namespace cachefs {

/// How the source does. A snapshot.
struct SourceHealth {
  bool reachable = true;
  std::string trouble;         ///< what the last try met, if not reachable
  uint64_t timeouts = 0;       ///< requests given up since the start
  uint64_t hanging = 0;        ///< of those, not yet returned
  uint64_t hanging_bytes = 0;  ///< of memory that those which are writes own
  uint64_t refused =
      0;  ///< requests answered at once, since the source was not reachable or what hangs was too much
};

struct GuardOptions {
  TimeLimits limits{};
  uint32_t working = 64;   ///< requests to the source at once that do not hang
  uint32_t hanging = 512;  ///< requests beside them that do, those given up included
  /// While the source does not answer, it is tried this often.
  std::chrono::nanoseconds probe_interval = std::chrono::seconds(1);
  /// Told when the source can no longer be reached, and when it can again. From any thread, without a lock.
  std::function<void(const SourceHealth&)> on_change{};
};

/// Passes requests on to `base`, each on a thread of its own choice, and waits no longer than its class's
/// limit: then it fails with ETIMEDOUT, and the request is given up. What it still brings is dropped.
///
/// A change that was given up may still happen. Until it has returned, no other change of the same bytes, of
/// the same attributes or names begins: it waits, and fails with ETIMEDOUT after its limit. So changes never
/// overtake each other. Once a given-up change has returned, on_late_change is called.
///
/// Only when nothing at all has succeeded for a whole limit is the source taken to be unreachable: then
/// requests fail at once (ETIMEDOUT, EIO), the source is tried again and again (Reachability::check),
/// and the first success ends it. What a source says when it is gone (ENOTCONN, EHOSTDOWN, ...) is EIO here.
///
/// Thread-safe. Requests that never return keep `base` alive; the destructor does not wait for them.
class GuardedFs : public FileSystem {
 public:
  static std::unique_ptr<GuardedFs> create(std::shared_ptr<FileSystem> base, const GuardOptions& options);

  [[nodiscard]] virtual SourceHealth health() const = 0;

  /// Called from any thread, holding no lock but one that set_on_late_change() waits for: the source may be
  /// another than was last seen, since a change that was given up has happened after all, or the source has
  /// come back. Empty ends it; returns when no call is under way.
  virtual void set_on_late_change(std::function<void()> callback) = 0;
};

}  // namespace cachefs
