// An open file of CacheFs.
#pragma once

#include <memory>
#include <utility>

#include "core/cache_impl.h"

namespace cachefs {

class CacheFile final : public File {
 public:
  /// The source's file that a handle was opened with. Null: the node's shared reader is opened when something
  /// must be read from the source.
  struct Own {
    std::shared_ptr<File> file;
    uint64_t generation = 0;  ///< of which it is sure to be
  };
  /// To be counted in the node's open_handles before.
  CacheFile(CacheFs::Impl& cache, CacheNode& file_node, const OpenFlags& open_flags, Caller opener, Own own);
  ~CacheFile() override;

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

  [[nodiscard]] CacheNode& node() const { return CacheFs::Impl::node_of(*node_); }
  [[nodiscard]] const OpenFlags& flags() const { return flags_; }
  [[nodiscard]] const Caller& opener() const { return opener_; }

  /// The source's file for reading; opened now if need be.
  Result<std::shared_ptr<File>> source_file();
  /// The same, to fetch content of that generation for all.
  ///
  /// Invariant P2: where the path is the identity, what is fetched for the cache, or written into it, went
  /// through a file that was opened since the generation began. An older one may be the file that had the
  /// path before; some sources (sshfs) tell of it what the path shows now, so that nobody sees the
  /// difference.
  Result<std::shared_ptr<File>> file_to_fetch(uint64_t generation);
  /// Whether a write by this handle is one of that generation's content (P2).
  [[nodiscard]] bool writes_to(uint64_t generation) const {
    return cache_.stable_identity || own_generation_ == generation;
  }
  /// The same, for this reader alone, past the cache: an older one too.
  Result<std::shared_ptr<File>> file_to_pass_by();
  /// The source's file if it is open already, else null.
  std::shared_ptr<File> source_file_if_open();

 private:
  Result<size_t> read_scattered(uint64_t offset, std::span<const std::span<std::byte>> buffers);
  void forget_own_file();
  static void end_change_of_content(FileTurn& turn, CacheFile& changed, const ChangeStart& start);
  /// An error of the source after writes that it had accepted: what is cached of them may never have arrived.
  Result<void> trusted(Result<void> stored);

  CacheFs::Impl& cache_;
  const NodeRef node_;
  const OpenFlags flags_;
  const Caller opener_;
  const std::shared_ptr<File> own_file_;
  const uint64_t own_generation_;
};

}  // namespace cachefs
