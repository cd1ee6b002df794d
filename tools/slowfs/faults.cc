#include "faults.h"

#include <fmt/format.h>

#include <algorithm>
#include <bitset>
#include <cctype>
#include <cerrno>
#include <cstring>

#include "cachefs/units.h"

namespace cachefs::slowfs {
namespace {

using Operations = std::bitset<kOperationCount>;
constexpr int kErrnoMax = 133;

/// Adds the operations that `word` names: one, or "data", "metadata".
bool add_operations(std::string_view word, Operations& chosen) {
  bool known = false;
  for (size_t i = 0; i < kOperationCount; ++i) {
    const auto operation = static_cast<Operation>(i);
    const bool in_group =
        !is_part_of_closing(operation) && word == (moves_data(operation) ? "data" : "metadata");
    if (!in_group && word != operation_name(operation)) continue;
    chosen.set(i);
    known = true;
  }
  return known;
}

std::string known_operations() {
  std::string names = "data, metadata";
  for (size_t i = 0; i < kOperationCount; ++i) {
    names.append(", ").append(operation_name(static_cast<Operation>(i)));
  }
  return names;
}

Result<Operations> operations_of(const nlohmann::json& request) {
  Operations chosen;
  const auto words = request.value("operations", std::vector<std::string>());
  for (const std::string& word : words) {
    if (add_operations(word, chosen)) continue;
    return cachefs::fail(std::errc::invalid_argument,
                         fmt::format("'{}' is not an operation; known are: {}", word, known_operations()));
  }
  if (!words.empty()) return chosen;
  chosen.set();
  for (const Operation closing : {Operation::flush, Operation::close})
    chosen.reset(static_cast<size_t>(closing));
  return chosen;
}

std::function<bool(Operation)> is_one_of(const Operations& chosen) {
  return [chosen](Operation operation) { return chosen.test(static_cast<size_t>(operation)); };
}

}  // namespace

Result<int> parse_errno_name(std::string_view name) {
  if (name.empty()) {
    return cachefs::fail(
        std::errc::invalid_argument,
        "'fail' needs the name of an error: fail ERRNO_NAME [OPERATION...], like fail EIO read");
  }
  const auto equal = [](char a, char b) { return std::toupper(static_cast<unsigned char>(a)) == b; };
  for (int value = 1; value <= kErrnoMax; ++value) {
    const char* known = strerrorname_np(value);
    if (known != nullptr && std::ranges::equal(name, std::string_view(known), equal)) return value;
  }
  return cachefs::fail(std::errc::invalid_argument,
                       fmt::format("'{}' is not the name of an error; EIO and ENOSPC are some", name));
}

Result<nlohmann::json> Faults::run(const nlohmann::json& request) {
  const auto command = request.value("command", std::string());
  Result<void> done;
  if (command == "fail") {
    done = fail(request);
  } else if (command == "hang") {
    done = hang(request);
  } else if (command == "slow") {
    done = slow(request);
  } else if (command == "recover") {
    hook_.recover();
  } else if (command == "reset") {
    counter_.reset();
  } else if (command != "stats") {
    done = cachefs::fail(
        std::errc::invalid_argument,
        fmt::format("'{}' is not a command; known are: stats, reset, fail, hang, slow, recover", command));
  }
  if (!done) return std::unexpected(done.error());
  return stats();
}

Result<void> Faults::fail(const nlohmann::json& request) {
  const Result<int> error = parse_errno_name(request.value("error", std::string()));
  if (!error) return std::unexpected(error.error());
  const Result<Operations> chosen = operations_of(request);
  if (!chosen) return std::unexpected(chosen.error());
  hook_.fail_if(is_one_of(*chosen), Error::from_errno(*error));
  return {};
}

Result<void> Faults::hang(const nlohmann::json& request) {
  const Result<Operations> chosen = operations_of(request);
  if (!chosen) return std::unexpected(chosen.error());
  hook_.hang_if(is_one_of(*chosen));
  return {};
}

Result<void> Faults::slow(const nlohmann::json& request) {
  const Result<std::chrono::nanoseconds> delay = parse_duration(request.value("delay", std::string()));
  if (!delay) return std::unexpected(delay.error());
  const Result<Operations> chosen = operations_of(request);
  if (!chosen) return std::unexpected(chosen.error());
  hook_.delay_if(is_one_of(*chosen), *delay);
  return {};
}

nlohmann::json Faults::stats() const {
  nlohmann::json result{{"reads", counter_.reads()},
                        {"read_bytes", counter_.read_bytes()},
                        {"writes", counter_.writes()},
                        {"metadata", counter_.metadata()},
                        {"total", counter_.total()},
                        {"hanging", hook_.hanging()},
                        {"operations", nlohmann::json::object()}};
  for (size_t i = 0; i < kOperationCount; ++i) {
    const auto operation = static_cast<Operation>(i);
    result["operations"][std::string(operation_name(operation))] = counter_.count(operation);
  }
  return result;
}

}  // namespace cachefs::slowfs
