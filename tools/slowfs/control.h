// How a running slowfs is told what to do: one JSON object in, one out, over a Unix socket that only its
// owner can reach.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "cachefs/error.h"
#include "server/control_listener.h"
#include "server/unique_fd.h"

namespace cachefs::slowfs {

/// `path` made absolute and free of symlinks but for its last component, which is not looked at: a mount that
/// hangs must not make this hang. Errors: those of realpath(3).
Result<std::string> resolve_mountpoint(const std::string& path);

/// Answers commands from a thread of its own, one connection after the other.
class ControlService {
 public:
  using Handler = std::function<Result<nlohmann::json>(const nlohmann::json&)>;

  /// Errors: eaddrinuse (another slowfs serves this mount point), and those of bind.
  static Result<std::unique_ptr<ControlService>> start(const std::string& mountpoint, Handler handler);
  ~ControlService();
  ControlService(const ControlService&) = delete;
  ControlService& operator=(const ControlService&) = delete;

 private:
  ControlService(std::unique_ptr<server::ControlListener> listener, server::UniqueFd end, Handler handler);
  void serve();
  void answer(const server::UniqueFd& connection) const;

  std::unique_ptr<server::ControlListener> listener_;
  server::UniqueFd end_;  ///< an eventfd; readable: to end
  const Handler handler_;
  std::thread thread_;
};

/// Sends `request` to the slowfs at `mountpoint` (resolved) and returns its answer.
/// Errors: enoent (no slowfs there), and what the slowfs said.
Result<nlohmann::json> send_command(const std::string& mountpoint, const nlohmann::json& request);

}  // namespace cachefs::slowfs
