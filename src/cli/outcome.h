// What a command ends with.
#pragma once

#include <expected>
#include <string>

namespace cachefs::cli {

// The exit codes of the program; `cachefs --help` tells them.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

/// Why a command cannot do what it was asked: one sentence for people, with the way out.
struct Failure {
  std::string sentence;
  int exit_code = kExitFailed;
};

template <typename T>
using Outcome = std::expected<T, Failure>;

inline std::unexpected<Failure> refuse(std::string sentence) {
  return std::unexpected(Failure{std::move(sentence)});
}
inline std::unexpected<Failure> refuse_usage(std::string sentence) {
  return std::unexpected(Failure{std::move(sentence), kExitUsage});
}

}  // namespace cachefs::cli
