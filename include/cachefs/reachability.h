// Whether a source can be reached at all, for file systems that know better than their root's attributes
// tell.
#pragma once

#include <cstdint>
#include <optional>

#include "cachefs/error.h"
#include "cachefs/time_limits.h"

namespace cachefs {

class Node;

/// Of one FileSystem. Thread-safe.
class Reachability {
 public:
  Reachability() = default;
  Reachability(const Reachability&) = delete;
  Reachability& operator=(const Reachability&) = delete;
  virtual ~Reachability() = default;

  /// Whether the source answers, and is the one that it was. One that was lost is taken up again here, if it
  /// has come back. May take as long as any request. Errors: eio and the like; never that a file does not
  /// exist.
  virtual Result<void> check() = 0;
  /// Another number once the source was lost and taken up again. Never asks.
  [[nodiscard]] virtual uint64_t epoch() const = 0;
  /// Another number once what was taken up is surely another instance of the file system, which no request
  /// that is under way on the old one can reach. Never asks.
  [[nodiscard]] virtual uint64_t instance() const { return epoch(); }
  /// Whether a change of the file that was given up may still happen: what the source says of it now may be
  /// of before. Never asks.
  [[nodiscard]] virtual bool may_change_late(const Node& /*node*/) const { return false; }
  /// Set while it is known that the source cannot be reached: what changes it need not be tried. Never asks.
  [[nodiscard]] virtual std::optional<Error> outage() const { return std::nullopt; }
  /// How long a request may take until it fails: who waits for others' requests waits no longer. Never asks.
  [[nodiscard]] virtual TimeLimits time_limits() const { return TimeLimits::none(); }
  /// The error that each request is answered with now, without anybody being asked. Set in an outage that
  /// lasts. Never asks.
  [[nodiscard]] virtual std::optional<Error> refusal() const { return std::nullopt; }
  /// A descriptor on which poll(2) tells an exceptional condition (POLLPRI) when check() should be asked
  /// again though nothing failed; -1 if there is none.
  [[nodiscard]] virtual int event() const { return -1; }
};

}  // namespace cachefs
