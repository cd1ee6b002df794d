// What a running slowfs can be told to do, and what it tells.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "cachefs/decorators.h"

namespace cachefs::slowfs {

/// The value of "EIO" and the like. Errors: einval, naming the word.
Result<int> parse_errno_name(std::string_view name);

/// The hooks of a running slowfs, driven by commands. Thread-safe.
class Faults {
 public:
  Faults(OperationCounter& counter, FaultHook& hook) : counter_(counter), hook_(hook) {}

  /// Carries out one command: {"command": "stats" | "reset" | "fail" | "hang" | "slow" | "recover", "error":
  /// "EIO", "delay": "200ms", "operations": ["read", "metadata", ...]}; no operations stand for all but flush
  /// and close. Returns what to show: the counts.
  Result<nlohmann::json> run(const nlohmann::json& request);

 private:
  Result<void> fail(const nlohmann::json& request);
  Result<void> hang(const nlohmann::json& request);
  Result<void> slow(const nlohmann::json& request);
  [[nodiscard]] nlohmann::json stats() const;

  OperationCounter& counter_;
  FaultHook& hook_;
};

}  // namespace cachefs::slowfs
