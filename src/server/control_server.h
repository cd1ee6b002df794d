// Serves the control socket of one mount from a thread of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cachefs/error.h"
#include "server/control_connection.h"
#include "server/control_listener.h"
#include "server/control_protocol.h"
#include "server/unique_fd.h"

namespace cachefs::server {

/// Answers its owner and root, up to kConnectionsMax at once; one more takes the place of the one that was
/// silent for longest, so that nobody can shut others out. Whatever a client sends gets an answer or an end.
class ControlServer {
 public:
  static constexpr size_t kConnectionsMax = 64;

  /// Serves from now on. `commands` are run in the server's thread until the destructor has returned.
  /// `listener` must live longer: who connects after the server has gone is left without an answer until the
  /// listener goes too.
  static Result<std::unique_ptr<ControlServer>> start(const ControlListener& listener,
                                                      std::vector<ControlCommand> commands);
  /// Ends the thread and closes all connections.
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

 private:
  ControlServer(const ControlListener& listener, std::vector<ControlCommand> commands, UniqueFd wake_up);
  void run();
  /// One wait and what it brought. False: to end.
  bool serve_once();
  void accept_client();
  void drop_most_silent();

  const ControlListener& listener_;
  const std::vector<ControlCommand> commands_;
  UniqueFd wake_up_;                            // an eventfd; readable: to end
  std::vector<ControlConnection> connections_;  // of the thread alone
  uint64_t round_ = 0;
  bool out_of_descriptors_ = false;
  std::thread thread_;
};

}  // namespace cachefs::server
