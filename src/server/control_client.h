// The asking end of the control socket.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "cachefs/error.h"
#include "server/unique_fd.h"

namespace cachefs::server {

struct ControlAddress {
  sockaddr_un address{};
  [[nodiscard]] const sockaddr* pointer() const { return reinterpret_cast<const sockaddr*>(&address); }
};

/// Errors: enametoolong.
Result<ControlAddress> control_address(const std::string& path);

/// Errors: enoent (no socket), econnrefused (its daemon is dead), etimedout (it lives but does not accept),
/// eacces. What is read or written on the connection waits for `timeout` at most.
Result<UniqueFd> connect_control(const std::string& path, std::chrono::milliseconds timeout);

/// Who listens at `path`, as the kernel knows it, whether or not it answers; 0 if it is in another pid
/// namespace. It must belong to `owner` or root. Errors: those of connect_control, eperm.
Result<pid_t> listener_at(const std::string& path, uid_t owner, std::chrono::milliseconds timeout);

struct ControlReply {
  nlohmann::json result;
  pid_t pid = 0;  ///< of the daemon, as the kernel knows it
};

/// Sends one command and waits for the answer. The daemon must belong to `owner` or root.
/// Errors: those of connect_control, eperm (somebody else's daemon), eproto.
Result<ControlReply> ask(const std::string& path, uid_t owner, std::string_view command,
                         std::chrono::milliseconds timeout);

}  // namespace cachefs::server
