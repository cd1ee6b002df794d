// One client of the control socket, as a state machine that never blocks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/control_protocol.h"
#include "server/unique_fd.h"

namespace cachefs::server {

/// Holds at most one unfinished line and one unsent answer: nothing is read while an answer waits to be
/// taken, so a client that does not read costs itself alone. Not thread-safe.
class ControlConnection {
 public:
  ControlConnection(UniqueFd socket, const std::vector<ControlCommand>& commands)
      : socket_(std::move(socket)), commands_(&commands) {}

  [[nodiscard]] int fd() const { return socket_.get(); }
  /// The events that poll is to wait for.
  [[nodiscard]] short wanted() const;
  /// Moves on as far as it can without blocking. False: the connection is over.
  bool advance(short events);

  uint64_t last_active = 0;  ///< a count of the server's rounds

 private:
  bool receive();
  bool send_pending();
  void answer_next_line();

  UniqueFd socket_;
  const std::vector<ControlCommand>* commands_;
  std::string received_;
  std::string pending_;
  bool input_ended_ = false;
};

}  // namespace cachefs::server
