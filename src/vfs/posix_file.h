// An open regular file of a PosixFs.
#pragma once

#include <atomic>

#include "base/mutex.h"
#include "vfs/posix_source.h"

namespace cachefs::posix {

class PosixFile final : public File {
 public:
  /// `fd` is never O_APPEND, for a pwrite to such a descriptor goes to the end. Writes run as `opener`,
  /// for whom limits and quotas are.
  PosixFile(PosixSource& source, NodeRef node, UniqueFd fd, const OpenFlags& flags, Caller opener);
  ~PosixFile() override;
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  using File::read_at;
  Result<size_t> read_at(uint64_t offset, std::span<const std::span<std::byte>> buffers) override;
  Result<size_t> write_at(uint64_t offset, std::span<const std::byte> data) override;
  Result<AppendResult> append(std::span<const std::byte> data) override;
  Result<Attributes> attributes() override;
  Result<Attributes> set_attributes(const AttributeChange& change, const Caller& caller) override;
  Result<void> sync(SyncKind kind) override;
  Result<void> flush() override;
  Result<void> allocate(AllocateMode mode, uint64_t offset, uint64_t length) override;
  Result<uint64_t> seek(SeekKind kind, uint64_t offset) override;
  Result<uint64_t> copy_range(uint64_t offset, File& target, uint64_t target_offset,
                              uint64_t length) override;
  Result<void> close() override;

  /// Held over what uses the descriptor's position; a test holds it in place of a system call that hangs.
  TimedMutex& position_mutex() { return position_mutex_; }

 private:
  /// What `run` brings while it alone uses the position. Errors: etimedout (another one has used it until the
  /// RequestDeadline: nothing was begun).
  template <typename Run>
  auto with_position(Run run) -> decltype(run());
  Result<size_t> read_once(uint64_t offset, std::span<const std::span<std::byte>> buffers);
  Result<AppendResult> append_at_end(std::span<const std::byte> data) REQUIRES(position_mutex_);
  Result<AppendResult> append_flagged(std::span<const std::byte> data) REQUIRES(position_mutex_);
  Result<AppendResult> append_by_descriptor(std::span<const std::byte> data) REQUIRES(position_mutex_);
  Result<uint64_t> copy_in_kernel(uint64_t offset, PosixFile& target, uint64_t target_offset,
                                  uint64_t length);
  Result<uint64_t> copy_by_buffer(uint64_t offset, PosixFile& target, uint64_t target_offset,
                                  uint64_t length);

  PosixSource& source_;
  const NodeRef node_;
  UniqueFd fd_;
  const OpenFlags flags_;
  const Caller opener_;
  /// The position of a descriptor is where an append tells its offset, and what a seek for holes moves; the
  /// kernel has it once, so these two are one at a time. The only lock of PosixFs held over a system call
  /// besides names_mutex.
  TimedMutex position_mutex_;
  /// After the source was lost and taken up again, a file that is only read is opened anew in place of the
  /// dead one. (What was written through a dead one may be lost: its writer must be told.) False: not so.
  bool open_anew(uint32_t failed_in, const Error& why);

  /// Whether the source is the one that this was opened on. A file that is written to is bound to it.
  [[nodiscard]] Result<void> check_bond() const;

  const uint32_t opened_in_;                        ///< the source's epoch
  std::atomic<uint32_t> epoch_;                     ///< of what fd_ is now; changes under position_mutex_
  UniqueFd append_fd_ GUARDED_BY(position_mutex_);  ///< O_APPEND; only where RWF_APPEND is not known
};

/// The O_ flags of an open of a file's content. O_DIRECT is not among them: buffers here have no alignment.
int open_flags(const OpenFlags& flags);

}  // namespace cachefs::posix
