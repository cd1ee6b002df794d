// A hook that makes requests slow.
#include <algorithm>

#include "base/mutex.h"
#include "cachefs/decorators.h"

namespace cachefs {
namespace {

using Moment = std::chrono::steady_clock::time_point;

class DelayHook final : public OperationHook {
 public:
  explicit DelayHook(const DelayOptions& options) : options_(options) {}

  Result<void> before(Operation operation, uint64_t bytes) override {
    if (is_part_of_closing(operation)) return {};
    const bool data = moves_data(operation);
    const auto delay = data ? options_.per_data_request : options_.per_metadata_operation;
    Moment done = std::chrono::steady_clock::now() + delay;
    if (data && operation != Operation::read) done = std::max(done, reserve(bytes));
    wait_until(done);
    return {};
  }

  /// What a read delivers is known only now.
  void after(Operation operation, uint64_t bytes, bool /*ok*/) override {
    if (operation == Operation::read) wait_until(reserve(bytes));
  }

 private:
  /// A place in the schedule of the shared link, as if the requests were served one after the other: each
  /// starts where the one before it ends. Returns when the last of `bytes` has passed.
  Moment reserve(uint64_t bytes) EXCLUDES(mutex_) {
    const Moment now = std::chrono::steady_clock::now();
    if (options_.bytes_per_second == 0 || bytes == 0) return now;
    const std::chrono::duration<double> takes(static_cast<double>(bytes) /
                                              static_cast<double>(options_.bytes_per_second));
    MutexLock lock(mutex_);
    link_free_at_ = std::max(link_free_at_, now) + std::chrono::duration_cast<Moment::duration>(takes);
    return link_free_at_;
  }

  void wait_until(Moment done) EXCLUDES(mutex_) {
    if (std::chrono::steady_clock::now() >= done) return;
    MutexLock lock(mutex_);
    while (std::chrono::steady_clock::now() < done) passed_.wait_until(mutex_, done);
  }

  const DelayOptions options_;
  Mutex mutex_;
  ConditionVariable passed_;  ///< never notified: time alone ends a wait
  Moment link_free_at_ GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<OperationHook> make_delay_hook(const DelayOptions& options) {
  return std::make_unique<DelayHook>(options);
}

}  // namespace cachefs
