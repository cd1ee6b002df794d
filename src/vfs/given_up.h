// Requests that were given up and have not returned: how many, of what, and what they hold.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>

#include "base/mutex.h"
#include "cachefs/file_system.h"

namespace cachefs {

/// What a request is about: a file, or a name in a directory. Refers to what its caller has.
struct RequestSubject {
  Node* node = nullptr;     ///< null: of the source as a whole
  std::string_view name{};  ///< in `node`
  uint64_t bytes = 0;       ///< that it owns
};

/// One file that hangs, and is asked for again and again, must not use up all threads: of one file, or of one
/// name, no more than kOfOneMax are given up and left to themselves; of one directory with all its names no
/// more than kBelowOneMax. Who asks for more is refused until one has returned.
///
/// Thread-safe.
class GivenUp {
  struct Request {
    NodeRef node;
    std::string name;
    uint64_t bytes;
  };

 public:
  static constexpr uint32_t kOfOneMax = 8;
  static constexpr uint32_t kBelowOneMax = 64;

  using Ticket = std::list<Request>::const_iterator;

  [[nodiscard]] Ticket add(const RequestSubject& subject) EXCLUDES(mutex_);
  void remove(Ticket ticket) EXCLUDES(mutex_);
  /// Whether a further request of that kind would have to be left to itself beside too many.
  [[nodiscard]] bool has_too_many(const RequestSubject& subject) const EXCLUDES(mutex_);

  [[nodiscard]] uint64_t count() const { return count_.load(std::memory_order_acquire); }
  /// What they own together.
  [[nodiscard]] uint64_t bytes() const { return bytes_.load(std::memory_order_acquire); }

 private:
  mutable Mutex mutex_;
  std::list<Request> requests_ GUARDED_BY(mutex_);
  std::atomic<uint64_t> count_{0};
  std::atomic<uint64_t> bytes_{0};
};

}  // namespace cachefs
