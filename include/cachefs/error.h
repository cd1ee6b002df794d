// Error values: what went wrong, while doing what, to which path.
#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace cachefs {

/// Why an operation failed: an errno value, and optionally what was being done. Cheap when it
/// carries no text (a failed look-up is an everyday answer). Value type; safe to copy and move.
class [[nodiscard]] Error {
 public:
  Error(std::errc code) : errno_(static_cast<int>(code)) {}  // NOLINT(google-explicit-constructor)
  Error(std::errc code, std::string doing) : errno_(static_cast<int>(code)), doing_(std::move(doing)) {}

  /// From an errno value; 0 and negative values become EIO, so that an error is never "success".
  static Error from_errno(int value, std::string doing = {}) {
    Error error(std::errc::io_error, std::move(doing));
    if (value > 0) error.errno_ = value;
    return error;
  }

  /// The errno value, always positive. Total: every Error maps to one.
  [[nodiscard]] int to_errno() const { return errno_; }
  [[nodiscard]] std::error_code code() const { return {errno_, std::generic_category()}; }
  [[nodiscard]] bool is(std::errc code) const { return errno_ == static_cast<int>(code); }
  [[nodiscard]] const std::string& doing() const { return doing_; }

  /// The same error with `doing` put before what it already tells.
  [[nodiscard]] Error during(std::string_view doing) const;

  /// One line for people: "open 'a/b': No such file or directory".
  [[nodiscard]] std::string message() const;

 private:
  int errno_;
  std::string doing_;
};

template <typename T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(std::errc code, std::string doing = {}) {
  return std::unexpected(Error(code, std::move(doing)));
}
inline std::unexpected<Error> fail_errno(int value, std::string doing = {}) {
  return std::unexpected(Error::from_errno(value, std::move(doing)));
}

/// Drops a result on purpose; `why` says why nothing is lost.
template <typename T>
void ignore(const Result<T>& /*result*/, std::string_view /*why*/) {}

}  // namespace cachefs
