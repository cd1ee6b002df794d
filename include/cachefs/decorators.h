// File systems that wrap another and change one thing: count, delay, fail or hang, shorten reads. For tests,
// tools and measurements. Nodes pass through unchanged; open files are wrapped.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "cachefs/file_system.h"

namespace cachefs {

/// Each request that a FileSystem, a File, a DirectoryStream, an XattrStore or a LockStore can be sent.
enum class Operation : uint8_t {
  lookup,
  attributes,
  set_attributes,
  open,
  create,
  make,
  link,
  remove,
  rename,
  read_link,
  open_directory,
  read_directory,
  sync_directory,
  statistics,
  get_xattr,
  list_xattrs,
  set_xattr,
  remove_xattr,
  set_lock,
  test_lock,
  release_lock,
  read,
  write,
  append,
  sync,
  allocate,
  seek,
  copy_range,
  flush,
  close,
};
inline constexpr size_t kOperationCount = static_cast<size_t>(Operation::close) + 1;
std::string_view operation_name(Operation operation);
/// Read, write, append and copy_range move data; all others are metadata.
bool moves_data(Operation operation);
/// Flush and close: what a close(2) makes of itself, which nobody counts as a request.
bool is_part_of_closing(Operation operation);

/// What is asked before and told after each request. Thread-safe. `before` may block (delay, hang) or refuse.
class OperationHook {
 public:
  virtual ~OperationHook() = default;
  /// `bytes`: what a read or write asks for, else 0. An error is returned in place of running the request.
  virtual Result<void> before(Operation operation, uint64_t bytes) = 0;
  /// `bytes`: what was moved. Only after requests that ran. May block too: the answer then comes later.
  virtual void after(Operation /*operation*/, uint64_t /*bytes*/, bool /*ok*/) {}
  /// How many of `bytes` a read may deliver: a source that reads short at other places than the end.
  virtual uint64_t shorten_read(uint64_t bytes) { return bytes; }
};

/// Passes every request through `hook`. Neither is owned.
std::unique_ptr<FileSystem> make_hooked_fs(FileSystem& base, OperationHook& hook);

/// Counts what passes. Thread-safe.
class OperationCounter final : public OperationHook {
 public:
  Result<void> before(Operation operation, uint64_t bytes) override;
  void after(Operation operation, uint64_t bytes, bool ok) override;

  [[nodiscard]] uint64_t count(Operation operation) const;
  [[nodiscard]] uint64_t reads() const { return count(Operation::read); }
  [[nodiscard]] uint64_t read_bytes() const { return read_bytes_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t writes() const;  ///< write, append and copy_range
  [[nodiscard]] uint64_t write_bytes() const { return write_bytes_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t metadata() const;  ///< everything else but flush and close
  [[nodiscard]] uint64_t total() const { return reads() + writes() + metadata(); }
  void reset();

 private:
  std::array<std::atomic<uint64_t>, kOperationCount> counts_{};
  std::atomic<uint64_t> read_bytes_{0};
  std::atomic<uint64_t> write_bytes_{0};
};

struct DelayOptions {
  std::chrono::nanoseconds per_metadata_operation{0};
  std::chrono::nanoseconds per_data_request{0};
  uint64_t bytes_per_second = 0;  ///< shared by all requests; 0: unlimited
};

/// Delays requests: concurrent ones overlap in their delay and share the bandwidth. Thread-safe.
std::unique_ptr<OperationHook> make_delay_hook(const DelayOptions& options);

/// Fails, hangs or delays chosen requests. Thread-safe.
class FaultHook final : public OperationHook {
 public:
  FaultHook();
  ~FaultHook() override;
  /// Fails the n-th request from now (1 is the next), and all after it if `forever`.
  void fail_nth(uint64_t n, Error error, bool forever = false);
  /// Fails each request for which `which` is true; an empty function ends it.
  void fail_if(std::function<bool(Operation)> which, Error error);
  /// Requests for which `which` is true wait until recover().
  void hang_if(std::function<bool(Operation)> which);
  /// Requests for which `which` is true take `by` longer, or until recover(); what fails or hangs does not.
  void delay_if(std::function<bool(Operation)> which, std::chrono::nanoseconds by);
  /// Reads deliver at most `bytes` at once; 0: as asked.
  void limit_reads(uint64_t bytes);
  /// No more faults; what hangs goes on.
  void recover();
  [[nodiscard]] uint64_t requests() const;  ///< seen since the start
  [[nodiscard]] uint64_t hanging() const;   ///< waiting now
  /// Waits until `count` requests hang. True if they do before `deadline`.
  bool wait_for_hanging(uint64_t count, std::chrono::steady_clock::time_point deadline) const;

  Result<void> before(Operation operation, uint64_t bytes) override;
  uint64_t shorten_read(uint64_t bytes) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cachefs
