// What all parts of a PosixFs share: the root, the nodes, their descriptors, and who acts.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/stat_fields.h"
#include "cachefs/posix_fs.h"
#include "vfs/posix_attributes.h"
#include "vfs/posix_credentials.h"
#include "vfs/posix_descriptor_cache.h"
#include "vfs/posix_node_table.h"
#include "vfs/posix_open_files.h"
#include "vfs/posix_root.h"

namespace cachefs::posix {

/// A descriptor whose file was looked at.
struct Seen {
  struct statx status;
  uint64_t generation = 0;

  [[nodiscard]] FileIdentity identity() const { return identity_of(status, generation); }
  [[nodiscard]] FileKind kind() const { return kind_of(status.stx_mode); }
  [[nodiscard]] Attributes attributes() const { return attributes_of(status, generation); }
};

struct SourceSetup {
  Capabilities capabilities;
  GenerationSources generation;
  size_t max_cached_descriptors = 16;
  bool switch_caller = true;
  std::function<bool(uint64_t device)> is_own_mount{};
  std::string path{};  ///< absolute: where the root is looked for when it was lost
};

/// Thread-safe.
class PosixSource final : public Reachability {
 public:
  /// `root`: an O_PATH descriptor of a directory.
  static Result<std::unique_ptr<PosixSource>> create(UniqueFd root, SourceSetup setup);

  [[nodiscard]] const Capabilities& capabilities() const { return setup_.capabilities; }
  [[nodiscard]] const Credentials& credentials() const { return credentials_; }
  NodeTable& table() { return table_; }
  DescriptorCache& cache() { return cache_; }
  OpenFiles& open_files() { return open_files_; }
  [[nodiscard]] const NodeRef& root() const { return root_; }
  /// To be held around what changes the content of a file.
  [[nodiscard]] ContentRights content_rights() const { return ContentRights(capabilities().drops_set_id); }
  /// Whether the source answers and is still there; what was lost is taken up again. See PosixRoot::check.
  Result<void> check() override;
  [[nodiscard]] int event() const override { return root_directory_.event(); }
  /// Another one after the source was lost and taken up again: what was opened before is dead.
  [[nodiscard]] uint64_t epoch() const override { return root_directory_.epoch(); }
  [[nodiscard]] uint64_t instance() const override { return root_directory_.instance(); }
  [[nodiscard]] bool is_there() const { return root_directory_.fd() != nullptr; }

  // What is opened by way of a descriptor is of the same epoch().

  /// An O_PATH descriptor of `node`: a kept one, else opened anew by the names that led to it, as this
  /// process, and as `caller` where this process may not (a server may give root less than the caller). To be
  /// called before ActAs. Errors: estale (no name leads to it any more).
  Result<SharedFd> descriptor(PosixNode& node, const Caller& caller);

  /// descriptor(), or one by way of an open file where no name leads to `node` any more but identities are
  /// stable, so that it is that file.
  Result<SharedFd> descriptor_of_open(PosixNode& node, const Caller& caller);

  /// descriptor() for a thread that acts as its caller already.
  Result<SharedFd> kept_or_reopened(PosixNode& node);

  /// An O_PATH descriptor of what `content` is open on; invalid if there is none to be had.
  UniqueFd path_of(const UniqueFd& content);

  /// Opens the regular file or directory behind an O_PATH descriptor of `node` with `flags`.
  Result<UniqueFd> open_content(PosixNode& node, const UniqueFd& path, int flags);

  /// open_beneath(), and again with half of the kept descriptors closed while there is none to be had. ELOOP
  /// instead of a mount of this source itself.
  UniqueFd open_name(const UniqueFd& directory, const std::string& name, int flags, mode_t mode = 0);

  [[nodiscard]] const InodeNumbers& inode_numbers() const { return inode_numbers_; }

  [[nodiscard]] Result<Seen> look(const UniqueFd& fd) const;

  /// Looks `name` up in `directory` and gives its node.
  Result<Entry> enter(PosixNode& directory, const UniqueFd& directory_fd, std::string_view name);
  /// The same under a NameChange of that name.
  Result<Entry> enter_within_change(PosixNode& directory, const UniqueFd& directory_fd,
                                    std::string_view name);

  /// The attributes of `node`, read through any descriptor of it.
  Result<Attributes> attributes(const PosixNode& node, const UniqueFd& fd) const;

 private:
  PosixSource(UniqueFd root, uint64_t root_device, RootSignature signature, SourceSetup setup);

  /// With the inode number that is shown.
  [[nodiscard]] Result<struct statx> status_of(const UniqueFd& fd) const;

  /// Null node: look again.
  Result<Entry> try_enter(PosixNode& directory, const UniqueFd& directory_fd, std::string_view name,
                          std::optional<uint64_t> unchanged_since);
  SharedFd kept_descriptor(PosixNode& node);
  Result<SharedFd> reopen(PosixNode& node);
  Result<SharedFd> reopen_directory(PosixNode& directory);
  Result<SharedFd> reopen_by(const UniqueFd& parent, const std::string& name, PosixNode& node);
  Result<UniqueFd> open_content_by_name(PosixNode& node, int flags);
  [[nodiscard]] bool leads_to(const Seen& seen, const PosixNode& node) const;
  [[nodiscard]] bool is_own_mount(const UniqueFd& fd) const;
  template <typename Open>
  UniqueFd open_with_room(const UniqueFd& from, Open open);

  const SourceSetup setup_;
  const InodeNumbers inode_numbers_;
  const Credentials credentials_;
  const bool has_proc_;
  PosixRoot root_directory_;
  DescriptorCache cache_;
  OpenFiles open_files_;
  NodeTable table_;
  NodeRef root_;
};

}  // namespace cachefs::posix
