#include "cli/end_requests.h"

#include <csignal>

namespace cachefs::cli {

EndRequest EndRequests::take(int signal) {
  const MonotonicTime now = clock_.now();
  if (!first_) {
    first_ = now;
    return EndRequest::orderly;
  }
  return signal == SIGHUP || now - *first_ < kPatience ? EndRequest::known : EndRequest::at_once;
}

}  // namespace cachefs::cli
