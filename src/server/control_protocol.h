// What is said on the control socket: one JSON object per line in, one per line out.
//
//   > {"version": 1, "command": "status"}
//   < {"version": 1, "result": {"pid": 4711, ...}}
//   < {"version": 1, "error": "'frobnicate' is not a command; known: status, stats"}
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cachefs/error.h"

namespace cachefs::server {

inline constexpr int kControlVersion = 1;
inline constexpr size_t kControlLineMax = 64 * 1024;  ///< bytes, the newline not counted; both ways

/// One command that a server answers. `run` is called from the server's thread: quick, no I/O.
struct ControlCommand {
  std::string name;
  std::function<nlohmann::json()> run;
};

/// Any JSON as one line, without its newline. Bytes that are no UTF-8 (a path may have them) become U+FFFD.
std::string to_line(const nlohmann::json& value);

/// The request for `command`, without newline.
std::string encode_request(std::string_view command);
/// The answer that tells of an error, without newline.
std::string encode_error(std::string_view message);

/// Answers one request line, whatever it holds; an error object if it is not a request.
std::string answer(std::string_view line, const std::vector<ControlCommand>& commands);

/// The result in an answer. Errors: eproto, with what the server said or what is wrong with it.
Result<nlohmann::json> decode_answer(std::string_view line);

}  // namespace cachefs::server
