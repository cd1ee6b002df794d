// The interface that every file system here implements and that CacheFs wraps: at-style operations on
// node handles. Whole-path conveniences are free functions in path_operations.h.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cachefs/attributes.h"
#include "cachefs/error.h"
#include "cachefs/reachability.h"

namespace cachefs {

class LockStore;

/// On whose behalf an operation runs. A file system that enforces permissions uses all of it.
struct Caller {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;  ///< supplementary groups
  uint32_t umask = 022;          ///< bits that create, mkdir and mknod clear

  /// The calling process itself.
  static Caller self();

  friend bool operator==(const Caller&, const Caller&) = default;
};

/// A file of any kind, as an O_PATH descriptor is: it stays the same file through renames, and leads to it as
/// long as it exists. Opaque; made and understood by one FileSystem alone. Counted by reference.
class Node {
 public:
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  virtual ~Node() = default;

 protected:
  Node() = default;

  /// Drops what may be the last reference. The default deletes the node when it was; a file system that keeps
  /// a table of its nodes overrides it to decide under its table's lock, so that a look-up cannot revive a
  /// node that is being deleted.
  virtual void release_last() {
    if (drop_reference()) delete this;
  }
  /// True if no reference is left.
  bool drop_reference() { return references_.fetch_sub(1, std::memory_order_acq_rel) == 1; }
  [[nodiscard]] uint32_t reference_count() const { return references_.load(std::memory_order_acquire); }

 private:
  friend class NodeRef;
  std::atomic<uint32_t> references_{0};
};

/// A counted reference to a Node; copying and dropping it is thread-safe, as with shared_ptr.
class NodeRef {
 public:
  NodeRef() = default;
  explicit NodeRef(Node* node) : node_(node) { retain(); }
  NodeRef(const NodeRef& other) : node_(other.node_) { retain(); }
  NodeRef(NodeRef&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  NodeRef& operator=(NodeRef other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  ~NodeRef() {
    if (node_ != nullptr) release(*node_);
  }

  [[nodiscard]] Node* get() const { return node_; }
  Node& operator*() const { return *node_; }
  Node* operator->() const { return node_; }
  explicit operator bool() const { return node_ != nullptr; }
  friend bool operator==(const NodeRef& a, const NodeRef& b) { return a.node_ == b.node_; }

 private:
  void retain() {
    if (node_ != nullptr) node_->references_.fetch_add(1, std::memory_order_relaxed);
  }
  /// Counts down without the owner's help while others remain; the last one goes through release_last().
  static void release(Node& node) {
    uint32_t count = node.references_.load(std::memory_order_relaxed);
    while (count > 1) {
      if (node.references_.compare_exchange_weak(count, count - 1, std::memory_order_acq_rel)) return;
    }
    node.release_last();
  }
  Node* node_ = nullptr;
};

/// What a look-up or a creation gives.
struct Entry {
  NodeRef node;
  Attributes attributes;
};

/// Whom the locks of a file system (LockStore) keep out.
enum class LockReach : uint8_t {
  none,        ///< there are none
  machine,     ///< those who use it on this machine, and perhaps no others, wherever the files may be shared
  everywhere,  ///< all who use it
};

/// What a file system can do, and what its identities and versions are worth. Data, so that no operation
/// exists only to fail; an operation whose capability is false answers ENOTSUP.
struct Capabilities {
  std::string type = "unknown";  ///< "memory", "ext4", "nfs", "fuse.sshfs", ...

  bool stable_identity = true;  ///< Attributes::identity names a file for its life; else only its path does
  bool shows_changes = true;    ///< a change shows in Version after timestamp_granule; else only in size
  /// Two changes closer together than this may leave equal versions. Zero: every change shows.
  std::chrono::nanoseconds timestamp_granule{0};
  /// A change's stamp may be there before its bytes are, by this much (a kernel stamps a write first, then
  /// copies).
  std::chrono::nanoseconds write_duration{0};
  bool local_clock = true;  ///< timestamps come from this machine's clock

  bool case_sensitive = true;
  bool hard_links = true;
  bool symlinks = true;
  bool special_files = true;  ///< mknod: fifos, sockets, devices
  bool xattrs = true;
  LockReach locks = LockReach::none;
  bool acls = false;            ///< access control lists may say otherwise than the mode bits
  bool allocate = true;         ///< fallocate and punch hole
  bool seek_data = true;        ///< SEEK_DATA and SEEK_HOLE tell holes
  bool rename_exchange = true;  ///< RENAME_EXCHANGE; RENAME_NOREPLACE is always there
  /// What changes content (writes, truncation, allocation, copies, by open file or by name) drops set-id
  /// bits, whoever asks for it: root too. Else it depends on the caller.
  bool drops_set_id = false;
  bool read_only = false;
  uint32_t name_max = 255;
};

struct OpenFlags {
  bool read = true;
  bool write = false;
  bool truncate = false;  ///< as O_TRUNC; needs write
  bool append = false;    ///< advisory: writers use File::append
  bool direct = false;    ///< as O_DIRECT: the opener wants no caching below
  bool no_atime = false;
  /// For reading by the kernel, which runs the file: needs the right to execute it, not the right to read it.
  bool execute = false;
};

struct CreateOptions {
  OpenFlags open{.read = true, .write = true};
  uint32_t mode = 0666;    ///< before Caller::umask
  bool exclusive = false;  ///< as O_EXCL: EEXIST if the name exists, decided by the source itself
};

/// What `make` is to create: anything but a regular file with an open handle.
struct NewNode {
  FileKind kind = FileKind::directory;
  uint32_t mode = 0777;       ///< before Caller::umask; unused for symlinks
  uint64_t rdev = 0;          ///< for devices
  std::string_view target{};  ///< for symlinks
};

enum class RemoveKind : uint8_t { file, directory };  ///< unlink or rmdir
enum class RenameMode : uint8_t { replace, no_replace, exchange };
enum class SyncKind : uint8_t { data, all };  ///< fdatasync or fsync
enum class SeekKind : uint8_t { data, hole };
enum class AllocateMode : uint8_t { extend, keep_size, punch_hole, zero_range, zero_range_keep_size };

/// Where a name is or shall be.
struct Place {
  Node& directory;
  std::string_view name;
};

struct AppendResult {
  uint64_t offset = 0;  ///< where the bytes went
  size_t size = 0;      ///< how many
};

/// An open regular file. Thread-safe: all operations may run concurrently. Destroying it releases the
/// resources; `close` first, to learn of errors that a source tells only then.
class File {
 public:
  File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  virtual ~File() = default;

  /// Reads from `offset` (bytes from the start) into `buffers` in order; returns the bytes read. One request
  /// to whatever is below, so it may be short, but 0 only at end of file. (CacheFs is short at end of file
  /// alone.) Errors: ebadf (not open for reading), eio, estale, etimedout.
  virtual Result<size_t> read_at(uint64_t offset, std::span<const std::span<std::byte>> buffers) = 0;

  /// Writes all of `data` at `offset`, beyond the end too (a hole reads as zeros). Returns the bytes written:
  /// all, unless an error came after some. Errors: ebadf, enospc, edquot, efbig, eio.
  virtual Result<size_t> write_at(uint64_t offset, std::span<const std::byte> data) = 0;

  /// Writes at the end of the file as it is at that instant, atomically against other appenders where the
  /// source can.
  virtual Result<AppendResult> append(std::span<const std::byte> data) = 0;

  virtual Result<Attributes> attributes() = 0;

  /// As FileSystem::set_attributes, through the handle: works on files without a name, and a size change
  /// needs only that the handle is open for writing. Returns the attributes after the change.
  virtual Result<Attributes> set_attributes(const AttributeChange& change, const Caller& caller) = 0;

  /// Returns once all that was written is on stable storage of the source.
  virtual Result<void> sync(SyncKind kind) = 0;

  /// As close(2) of one of several descriptors: tells the errors that the source keeps until then (network
  /// file systems do) of what was written so far. May be called any number of times; the handle stays as it
  /// is. Of a handle that is not open for writing it tells nothing. Makes nothing durable: sync() does.
  virtual Result<void> flush() = 0;

  virtual Result<void> allocate(AllocateMode mode, uint64_t offset, uint64_t length) = 0;

  /// The next data or hole at or after `offset`; ENXIO beyond the end. A file system that cannot tell holes
  /// sees data everywhere and one hole at the end.
  virtual Result<uint64_t> seek(SeekKind kind, uint64_t offset) = 0;

  /// Copies up to `length` bytes to `target` (of the same FileSystem), within the source where it can.
  virtual Result<uint64_t> copy_range(uint64_t offset, File& target, uint64_t target_offset,
                                      uint64_t length) = 0;

  /// Tells the errors of closing, those of flush() among them. To be called once at most; nothing else may be
  /// called after it.
  virtual Result<void> close() = 0;

  Result<size_t> read_at(uint64_t offset, std::span<std::byte> out) {
    return read_at(offset, std::span<const std::span<std::byte>>(&out, 1));
  }
};

struct OpenedFile {
  std::unique_ptr<File> file;
  Attributes attributes;  ///< as of the open, after a truncation
};

struct CreatedFile {
  Entry entry;
  std::unique_ptr<File> file;
  bool created = true;  ///< false: the file was there, and was opened
};

struct DirectoryEntry {
  std::string name;
  uint64_t inode = 0;
  uint64_t cookie = 0;  ///< where reading goes on after this entry; never 0, which is the start
  FileKind kind = FileKind::regular;
};

/// Reads a directory from its start, or from any entry on. Not thread-safe.
class DirectoryStream {
 public:
  DirectoryStream() = default;
  DirectoryStream(const DirectoryStream&) = delete;
  DirectoryStream& operator=(const DirectoryStream&) = delete;
  virtual ~DirectoryStream() = default;

  /// The next entries, without "." and ".."; empty at the end. An entry that is there throughout comes
  /// exactly once.
  virtual Result<std::vector<DirectoryEntry>> next_batch() = 0;

  /// Goes on after the entry that came with `cookie`, whether it is still there or not; 0: at the start.
  /// What is there throughout and came after that entry comes exactly once again. A cookie is good for the
  /// stream that gave it, and for others of the same directory as far as the source's own cookies are.
  virtual Result<void> seek(uint64_t cookie) = 0;
};

enum class XattrMode : uint8_t { create_or_replace, create, replace };

/// Extended attributes, where Capabilities::xattrs. Thread-safe. Errors: enodata, enotsup, erange, e2big.
class XattrStore {
 public:
  virtual ~XattrStore() = default;
  virtual Result<std::string> get(Node& node, std::string_view name, const Caller& caller) = 0;
  virtual Result<std::vector<std::string>> list(Node& node, const Caller& caller) = 0;
  virtual Result<void> set(Node& node, std::string_view name, std::string_view value, XattrMode mode,
                           const Caller& caller) = 0;
  virtual Result<void> remove(Node& node, std::string_view name, const Caller& caller) = 0;
};

/// A file system. Thread-safe throughout. Names are single components: any bytes but '/' and NUL, never
/// empty, "." or ".." (EINVAL); longer than Capabilities::name_max is ENAMETOOLONG. Nodes are of this
/// FileSystem and outlived by it. Errors are those of the POSIX calls of the same name.
class FileSystem {
 public:
  FileSystem() = default;
  FileSystem(const FileSystem&) = delete;
  FileSystem& operator=(const FileSystem&) = delete;
  virtual ~FileSystem() = default;

  [[nodiscard]] virtual const Capabilities& capabilities() const = 0;
  virtual NodeRef root() = 0;

  /// While a node is referenced, every operation that leads to the same file gives the same Node (where
  /// identity is not stable: that leads to the same directory and name).
  virtual Result<Entry> lookup(Node& directory, std::string_view name, const Caller& caller) = 0;
  virtual Result<Attributes> attributes(Node& node, const Caller& caller) = 0;
  /// Returns the attributes after the change.
  virtual Result<Attributes> set_attributes(Node& node, const AttributeChange& change,
                                            const Caller& caller) = 0;
  virtual Result<OpenedFile> open(Node& node, const OpenFlags& flags, const Caller& caller) = 0;
  virtual Result<CreatedFile> create(Place place, const CreateOptions& options, const Caller& caller) = 0;
  virtual Result<Entry> make(Place place, const NewNode& spec, const Caller& caller) = 0;
  virtual Result<Entry> link(Node& node, Place place, const Caller& caller) = 0;
  virtual Result<void> remove(Place place, RemoveKind kind, const Caller& caller) = 0;
  virtual Result<void> rename(Place from, Place to, RenameMode mode, const Caller& caller) = 0;
  virtual Result<std::string> read_link(Node& node, const Caller& caller) = 0;
  virtual Result<std::unique_ptr<DirectoryStream>> open_directory(Node& node, const Caller& caller) = 0;
  /// As fsync of a directory: names made or removed in it are on stable storage.
  virtual Result<void> sync_directory(Node& node) = 0;
  virtual Result<FileSystemStatistics> statistics(Node& node) = 0;

  /// Null where Capabilities::xattrs is false.
  virtual XattrStore* xattrs() { return nullptr; }
  /// Null where Capabilities::locks is none.
  virtual LockStore* locks() { return nullptr; }
  /// Null: whether the source can be reached shows by the root's attributes alone.
  virtual Reachability* reachability() { return nullptr; }
};

}  // namespace cachefs
