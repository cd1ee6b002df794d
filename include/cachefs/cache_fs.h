// The cache: wraps any FileSystem and is one itself.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "cachefs/clock.h"
#include "cachefs/coherence.h"
#include "cachefs/file_system.h"
#include "cachefs/units.h"

namespace cachefs {

/// Who decides whether a caller may have what is cached.
enum class AccessCheck : uint8_t {
  /// Mode bits, where they leave no doubt; else the source.
  mode_bits,
  /// The source: what it lets a caller do (read a file, list or search a directory), it is taken to let him
  /// do
  /// for as long as attributes are relied upon, and until the file's change time is another. For sources with
  /// rules of their own, as a server with root_squash or access control lists that mode bits do not show.
  source,
};

struct CacheOptions {
  uint64_t max_bytes = 100 * kMiB;  ///< never exceeded: buffers, entries, tables, names and attributes count
  uint64_t max_entries = UINT64_MAX;  ///< cached blocks
  uint64_t metadata_max_entries =
      100'000;                       ///< of each kind: files' attributes, names, listings, symlink targets
  uint32_t block_size = 128 * kKiB;  ///< a power of two, 16 KiB to 4 MiB
  uint32_t shard_count = 32;   ///< a power of two, 1 to 1024; fewer if a shard had no room for 64 blocks
  std::string policy = "lru";  ///< a name of eviction_policies()
  Coherence coherence{};
  /// After that, data is dropped, whatever the source says of its version. (Coherence::ttl is the time until
  /// the source is asked: what did not change lives on.) It is counted for each block.
  std::chrono::nanoseconds ttl = Coherence::kForever;
  TtlStart ttl_start = TtlStart::insert;
  AccessCheck access_check = AccessCheck::mode_bits;
  /// While the source cannot be reached (is_unreachable), what needs a check but was last checked at most
  /// this much longer ago than `coherence` allows is served unchecked: names, attributes, listings, targets,
  /// data. Never a "no such name". Not in mode strict.
  std::chrono::nanoseconds stale_if_error{0};
  Clock* clock = &Clock::system();
};

/// Counters since the start (or reset_stats) and gauges of now.
struct CacheStats {
  uint64_t hits = 0;           ///< block requests answered from the cache
  uint64_t misses = 0;         ///< block requests that asked the source
  uint64_t metadata_hits = 0;  ///< look-ups, attributes, listings, targets, opens answered from the cache
  uint64_t metadata_misses = 0;
  uint64_t evictions = 0;
  uint64_t expirations = 0;  ///< blocks dropped since their time to live was over
  uint64_t bypasses =
      0;  ///< blocks that passed by uncached, since there was no room or the file kept changing
  uint64_t invalidations =
      0;  ///< files whose data was dropped, a change on the source having been seen or on request
  uint64_t stale_answers = 0;  ///< served unchecked, since the source could not be reached
  uint64_t source_reads = 0;   ///< data requests
  uint64_t source_read_bytes = 0;
  uint64_t source_writes = 0;
  uint64_t source_write_bytes = 0;
  uint64_t source_metadata_ops = 0;  ///< every other request but flush and close
  uint64_t source_refused = 0;       ///< requests that it would have got, had it been reachable

  uint64_t bytes_used = 0;   ///< gauge
  uint64_t bytes_limit = 0;  ///< gauge
  uint64_t entries = 0;      ///< gauge: blocks
  uint64_t nodes = 0;        ///< gauge: files known
  uint64_t names = 0;        ///< gauge: names known, negative ones too

  [[nodiscard]] double hit_ratio() const {
    return hits + misses == 0 ? 0.0 : static_cast<double>(hits) / static_cast<double>(hits + misses);
  }
};

/// Told when something that a layer above may have kept is no longer true. Called from any thread, perhaps
/// while a change of that file is under way; must not call back into the cache, nor wait.
class CacheListener {
 public:
  virtual ~CacheListener() = default;
  virtual void on_data_changed(
      const NodeRef& node) = 0;  ///< data, perhaps attributes too, of a file or directory
  virtual void on_attributes_changed(const NodeRef& node) = 0;
  virtual void on_name_changed(const NodeRef& directory, std::string_view name) = 0;
  virtual void on_everything_changed() = 0;  ///< nothing that was kept may be relied upon
};

/// What a layer above may keep, and for how long.
struct Validity {
  std::chrono::nanoseconds attributes{0};  ///< from now on
  uint64_t data_generation = 0;            ///< what was kept of a file's data is good while this is the same
  uint64_t listing_generation = 0;         ///< likewise of a directory's listing
};

/// Answers that need nobody to wait: what can be said from the cache at once. nullopt: ask through
/// FileSystem, which may ask the source. Thread-safe.
class CacheView {
 public:
  virtual ~CacheView() = default;
  /// nullopt also where the caller would have to be known (AccessCheck::source); so does try_open_directory.
  virtual std::optional<Result<Entry>> try_lookup(Node& directory, std::string_view name) = 0;
  virtual std::optional<Attributes> try_attributes(Node& node) = 0;
  virtual std::optional<std::string> try_read_link(Node& node) = 0;
  /// True: the file does not have that extended attribute. False: ask.
  virtual bool lacks_xattr(Node& node, std::string_view name) = 0;
  virtual std::optional<OpenedFile> try_open(Node& node, const OpenFlags& flags, const Caller& caller) = 0;
  virtual std::optional<std::unique_ptr<DirectoryStream>> try_open_directory(Node& node) = 0;
  /// All of the range (to the end of file at most) or nothing.
  virtual std::optional<size_t> try_read_at(File& file, uint64_t offset, std::span<std::byte> out) = 0;

  [[nodiscard]] virtual Validity validity(Node& node) const = 0;
  /// The listing_generation that the entries of a stream of this file system are of. nullopt: that is not
  /// certain, or they are not all of one moment, and nobody may keep them.
  [[nodiscard]] virtual std::optional<uint64_t> generation_of(const DirectoryStream& stream) const = 0;
  /// How long a look-up's answer may be relied upon from now on: that the name leads to `file`, or to nothing
  /// (null). 0 where another answer has taken its place.
  [[nodiscard]] virtual std::chrono::nanoseconds name_validity(Node& directory, std::string_view name,
                                                               const Node* file) const = 0;
  /// Null ends it; returns only when no call is under way.
  virtual void set_listener(CacheListener* listener) = 0;
};

/// A cache in front of `source`. Thread-safe. What it promises: docs/SEMANTICS.md.
class CacheFs final : public FileSystem, public CacheView {
 public:
  /// `source` must outlive the cache. Errors: einval, naming the option and what is right.
  static Result<std::unique_ptr<CacheFs>> create(FileSystem& source, const CacheOptions& options = {});
  ~CacheFs() override;

  [[nodiscard]] const Capabilities& capabilities() const override;
  NodeRef root() override;
  Result<Entry> lookup(Node& directory, std::string_view name, const Caller& caller) override;
  Result<Attributes> attributes(Node& node, const Caller& caller) override;
  Result<Attributes> set_attributes(Node& node, const AttributeChange& change, const Caller& caller) override;
  Result<OpenedFile> open(Node& node, const OpenFlags& flags, const Caller& caller) override;
  Result<CreatedFile> create(Place place, const CreateOptions& create_options, const Caller& caller) override;
  Result<Entry> make(Place place, const NewNode& spec, const Caller& caller) override;
  Result<Entry> link(Node& linked, Place place, const Caller& caller) override;
  Result<void> remove(Place place, RemoveKind kind, const Caller& caller) override;
  Result<void> rename(Place from, Place to, RenameMode mode, const Caller& caller) override;
  Result<std::string> read_link(Node& node, const Caller& caller) override;
  Result<std::unique_ptr<DirectoryStream>> open_directory(Node& node, const Caller& caller) override;
  Result<void> sync_directory(Node& node) override;
  Result<FileSystemStatistics> statistics(Node& node) override;
  XattrStore* xattrs() override;
  LockStore* locks() override;

  std::optional<Result<Entry>> try_lookup(Node& directory, std::string_view name) override;
  std::optional<Attributes> try_attributes(Node& node) override;
  std::optional<std::string> try_read_link(Node& node) override;
  bool lacks_xattr(Node& node, std::string_view name) override;
  std::optional<OpenedFile> try_open(Node& node, const OpenFlags& flags, const Caller& caller) override;
  std::optional<std::unique_ptr<DirectoryStream>> try_open_directory(Node& node) override;
  std::optional<size_t> try_read_at(File& file, uint64_t offset, std::span<std::byte> out) override;
  [[nodiscard]] Validity validity(Node& node) const override;
  [[nodiscard]] std::optional<uint64_t> generation_of(const DirectoryStream& stream) const override;
  [[nodiscard]] std::chrono::nanoseconds name_validity(Node& directory, std::string_view name,
                                                       const Node* file) const override;
  void set_listener(CacheListener* listener) override;

  /// Forgets what is cached of the file or directory at `path` (absolute, or relative to the root): name,
  /// attributes, listing, data. Asks the source nothing. Returns how many files were known: 0 or 1.
  size_t invalidate(std::string_view path);
  /// The same for `path` and everything below it; "/a" never touches "/ab".
  size_t invalidate_prefix(std::string_view path);
  /// Data of files whose path matches is kept for `ttl` at most, as by CacheOptions::ttl: what is cached from
  /// now on of files that are looked up from now on. Of several that match, by any name by which the file was
  /// found, the shortest counts. A pattern is from the root of the source: "/static/*", with "*", "?" and
  /// "[...]" within a name, and "**" for any number of directories. Errors: einval, naming what is wrong.
  Result<void> set_path_ttl(std::string_view pattern, std::chrono::nanoseconds ttl);
  /// Drops all data whose time to live is over. It is served in no case, and leaves by and by as other data
  /// comes; this gives its memory back at once. Returns the number of blocks.
  size_t clean_expired();
  /// Forgets everything; bytes_used is 0 after it, but for what readers hold at that instant.
  void clear();
  /// Everything is asked for once more before it is relied upon; what turns out unchanged stays. For when the
  /// source may have changed in a way that cannot be seen from here.
  void revalidate();

  [[nodiscard]] CacheStats stats() const;
  void reset_stats();

  /// Aborts, naming the invariant, if one does not hold. For tests, at rest.
  void check_invariants() const;

  class Impl;

 private:
  explicit CacheFs(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cachefs
