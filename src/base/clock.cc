#include "cachefs/clock.h"

#include <ctime>

namespace cachefs {
namespace {

std::chrono::nanoseconds read_clock(clockid_t id) {
  timespec time{};
  clock_gettime(id, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

class SystemClock final : public Clock {
 public:
  [[nodiscard]] MonotonicTime now() const override { return MonotonicTime(read_clock(CLOCK_BOOTTIME)); }
  [[nodiscard]] Timestamp wall_time() const override { return Timestamp(read_clock(CLOCK_REALTIME)); }
};

}  // namespace

Clock& Clock::system() {
  static SystemClock clock;
  return clock;
}

}  // namespace cachefs
