#include "server/control_protocol.h"

#include <fmt/format.h>

namespace cachefs::server {
namespace {

using nlohmann::json;

constexpr size_t kEchoMax = 40;  // of a stranger's text, in an error

std::string names_of(const std::vector<ControlCommand>& commands) {
  std::string names;
  for (const ControlCommand& command : commands) names += (names.empty() ? "" : ", ") + command.name;
  return names;
}

/// The command that a request names, or what is wrong with the request.
std::expected<std::string, std::string> requested_command(std::string_view line) {
  const json request = json::parse(line, nullptr, false);
  if (!request.is_object()) return std::unexpected("a request is one JSON object on one line");
  const auto version = request.find("version");
  if (version == request.end() || *version != kControlVersion) {
    return std::unexpected(fmt::format("this server speaks version {} of the protocol", kControlVersion));
  }
  const auto command = request.find("command");
  if (command == request.end() || !command->is_string()) {
    return std::unexpected("a request has a \"command\", which is a string");
  }
  return command->get<std::string>();
}

}  // namespace

std::string to_line(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

std::string encode_request(std::string_view command) {
  return to_line({{"version", kControlVersion}, {"command", command}});
}

std::string encode_error(std::string_view message) {
  return to_line({{"version", kControlVersion}, {"error", message}});
}

std::string answer(std::string_view line, const std::vector<ControlCommand>& commands) {
  const auto name = requested_command(line);
  if (!name) return encode_error(name.error());
  for (const ControlCommand& command : commands) {
    if (command.name == *name) return to_line({{"version", kControlVersion}, {"result", command.run()}});
  }
  return encode_error(
      fmt::format("'{}' is not a command; known: {}", name->substr(0, kEchoMax), names_of(commands)));
}

Result<json> decode_answer(std::string_view line) {
  json reply = json::parse(line, nullptr, false);
  if (!reply.is_object()) return fail(std::errc::protocol_error, "the daemon's answer is not a JSON object");
  if (const auto error = reply.find("error"); error != reply.end() && error->is_string()) {
    return fail(std::errc::protocol_error, "the daemon says: " + error->get<std::string>());
  }
  const auto result = reply.find("result");
  if (result == reply.end() || !result->is_object()) {
    return fail(std::errc::protocol_error, "the daemon's answer has no result");
  }
  return std::move(*result);
}

}  // namespace cachefs::server
