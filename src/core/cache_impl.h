// CacheFs inside: the parts and how the pipelines use them. One .cc for each pipeline.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>

#include "base/budget.h"
#include "base/slab_pool.h"
#include "base/striped_counter.h"
#include "cache/block_cache.h"
#include "cache/block_flights.h"
#include "cache/content_cache.h"
#include "cache/name_cache.h"
#include "cache/single_flight.h"
#include "cachefs/cache_fs.h"
#include "cachefs/decorators.h"
#include "cachefs/lock_store.h"
#include "core/access_verdicts.h"
#include "core/node.h"
#include "core/node_table.h"
#include "core/settling.h"
#include "core/source_requests.h"

namespace cachefs {

enum class Counter : uint8_t {
  hits,
  misses,
  metadata_hits,
  metadata_misses,
  bypasses,
  invalidations,
  stale_answers,
};
inline constexpr uint32_t kCounterCount = 7;

/// What a change of ours to a file found when it began.
struct ChangeStart {
  MonotonicTime begun{};
  uint64_t generation = 0;
  uint64_t size = 0;
  bool size_known = false;  ///< the source confirmed what is cached, just before the change
  bool in_group = false;    ///< a write of bytes within `size`, perhaps beside others
};

/// What a change of ours to a file led to.
struct ChangeEnd {
  Ticket asked{};                     ///< when `after` was asked for
  std::optional<Attributes> after{};  ///< nullopt: not known
  bool kept = false;  ///< what is cached of the content is right, once `write` and `new_size` went into it
  std::optional<OwnWrite> write{};
  std::optional<uint64_t> new_size{};  ///< set by us

  /// Whether somebody else changed the size between the two questions.
  [[nodiscard]] bool size_explained(const ChangeStart& start) const {
    if (!after) return true;
    if (start.in_group) return after->size == start.size;
    if (!start.size_known) return true;
    if (write) return after->size == std::max(start.size, write->offset + write->data.size());
    return after->size == new_size.value_or(start.size);
  }
};

/// A read's view of a file: all bytes it returns are of this version.
struct ContentView {
  uint64_t generation = 0;
  uint64_t last_change = 0;
  uint64_t edits = 0;
  uint64_t size = 0;
  Timestamp changed;
  MonotonicTime version_seen_at;
  MonotonicTime checked_at;
  bool has_content = false;
};

/// What the reading of a listing or a target was begun with.
struct ContentBegin {
  NodeRef source;
  uint64_t generation = 0;
  uint64_t last_change = 0;
  Timestamp changed;
  MonotonicTime version_seen_at;
  bool too_large = false;
};

class CacheFile;
class FileTurn;

class CacheFs::Impl {
 public:
  Impl(FileSystem& slow, const CacheOptions& wanted, const EvictionPolicyInfo& policy);
  ~Impl();

  static CacheNode& node_of(Node& node) { return static_cast<CacheNode&>(node); }

  // --- Time and trust (coherence.cc)
  Ticket begin_request();
  /// For what ends the validity of answers that are under way.
  uint64_t next_sequence() { return sequence.fetch_add(1, std::memory_order_acq_rel) + 1; }
  [[nodiscard]] std::chrono::nanoseconds remaining(MonotonicTime asked_at,
                                                   std::chrono::nanoseconds ttl) const;
  /// Where names differ by case alone, one name says nothing of another: none is relied upon.
  [[nodiscard]] std::chrono::nanoseconds name_ttl() const {
    return own_capabilities.case_sensitive ? options.coherence.metadata_ttl() : std::chrono::nanoseconds(0);
  }
  [[nodiscard]] bool fresh(const NodeState& state) const;
  [[nodiscard]] bool fresh(const CachedName& name) const;
  /// Takes an answer over; drops blocks and tells the listener if the content is another.
  Observed observe(CacheNode& node, const Attributes& attributes, const Ticket& ticket, Purpose purpose);
  /// Attributes that may be relied upon now: cached, or asked for. `always`: ask in any case. `file` may be
  /// null.
  Result<Attributes> checked_attributes(CacheNode& node, File* file, const Caller& caller, bool always);
  Result<Attributes> ask_and_check(CacheNode& node, File* file, const Caller& caller, bool always);
  std::optional<Attributes> fresh_attributes(CacheNode& node) const;
  /// What the source says of the node's file now: through `file` if it is not null. Errors: estale (it was
  /// replaced).
  Result<Attributes> ask_attributes(CacheNode& node, File* file, const Caller& caller);
  /// What the node's requests to the source are made with. Errors: estale (it was replaced).
  Result<NodeRef> on_source(CacheNode& node);
  /// Whether `seen`, an answer to a question by path, is of another file than that which is open. If so, the
  /// node stays with its handles alone.
  bool found_replaced(CacheNode& node, Attributes seen, const Caller& caller);
  /// Whether the answer was taken over, as that of a check must be. Else a change of ours overlapped it, or
  /// one was faster that was asked later, and was perhaps no check.
  static bool is_check(Observed observed) {
    return observed == Observed::same || observed == Observed::changed;
  }
  /// After a check that was none: asks again while no change of ours is under way. `opened`: the file that an
  /// open has brought, or null. Errors: estale (where the path is the identity, it leads to another file
  /// now).
  Result<Attributes> check_again(CacheNode& node, File* opened, const Caller& caller);
  /// Why content is forgotten.
  enum class Cause : uint8_t {
    own,      ///< a change of ours that could not be carried over, or a file of ours that went
    foreign,  ///< a change on the source was seen, or somebody asked for it
  };
  void forget_content(CacheNode& node, Cause cause);
  /// The source says that this node leads nowhere any more.
  /// What is cached of the file may not be so, or the file may be gone: all is asked anew.
  void distrust(CacheNode& node);
  /// Whether there is no doubt that the caller may do that ('r' = 4, 'w' = 2, 'x' = 1): by the mode bits or
  /// by what the source has said, as options.access_check is.
  [[nodiscard]] bool surely_allowed(FileId file, const Attributes& attributes, const Caller& caller,
                                    uint32_t wanted) const;
  /// What the source let the caller do is remembered, if that counts.
  void note_allowed(FileId file, Timestamp changed, const Caller& caller, uint32_t wanted,
                    const Ticket& ticket);
  [[nodiscard]] bool source_decides() const { return options.access_check == AccessCheck::source; }

  // --- The source cannot be reached (stale.cc)
  /// Set while that is known: what changes the source need not be tried. Never asks.
  [[nodiscard]] std::optional<Error> outage() const;
  [[nodiscard]] bool serves_stale() const {
    return options.stale_if_error.count() > 0 && options.coherence.mode != CoherenceMode::strict;
  }
  /// Whether an answer of then may be served though its time is over.
  [[nodiscard]] bool presentable(MonotonicTime asked_at, std::chrono::nanoseconds ttl) const;
  /// What is known of the file and may be served unchecked, `why` being why it could not be checked.
  std::optional<Attributes> stale_attributes(CacheNode& node, const Error& why);
  /// The same, since a check failed so shortly ago that it is not tried again.
  std::optional<Attributes> attributes_of_outage(CacheNode& node);
  std::optional<Entry> stale_lookup(CacheNode& directory, std::string_view name, const Caller& caller,
                                    const Error& why);
  std::optional<Entry> lookup_of_outage(CacheNode& directory, std::string_view name, const Caller& caller);
  ContentRef stale_content(CacheNode& node, const Error& why);
  /// A check that began then has failed: the next is not made before the same time has passed once more, so
  /// that nobody waits for more than half of the time.
  void put_off_checks(CacheNode& node, MonotonicTime begun) const;
  [[nodiscard]] bool puts_off_checks(const NodeState& state) const;

  // --- Changes of our own (changes.cc)
  ChangeStart begin_change(FileTurn& turn, File* file, const Caller& caller);
  /// A write whose bytes are kept leaves its turn.
  void end_change(FileTurn& turn, const ChangeStart& start, const ChangeEnd& end);
  uint64_t begin_directory_change(CacheNode& directory);
  /// The number of its end, or 0 if another change overlapped, so that what it says about names is not the
  /// last word.
  uint64_t end_directory_change(CacheNode& directory, uint64_t begun);
  Result<Attributes> set_attributes(CacheNode& node, File* file, const AttributeChange& change,
                                    const Caller& caller);

  // --- Names (names.cc)
  Result<Entry> lookup(CacheNode& directory, std::string_view name, const Caller& caller);
  Result<Entry> look_up_anew(CacheNode& directory, std::string_view name, const Caller& caller);
  std::optional<Result<Entry>> cached_lookup(CacheNode& directory, std::string_view name);
  /// The file was found by that name: which times to live apply to it.
  void note_path(CacheNode& directory, std::string_view name, CacheNode& found) const;
  Entry adopt(CacheNode& directory, std::string_view name, Entry entry, const Ticket& ticket) {
    return take_over(directory, name, std::move(entry), ticket, Origin::found).entry;
  }
  enum class Origin : uint8_t {
    found,
    made,  ///< by us, just now: it is not the file whose name we are removing
  };
  struct Adopted {
    Entry entry;
    Observed observed;
    uint64_t generation;  ///< that of the answer's version; 0: it was not taken over
  };
  Adopted take_over(CacheNode& directory, std::string_view name, Entry entry, const Ticket& ticket,
                    Origin origin);
  Result<NodeRef> identify(CacheNode& directory, std::string_view name, const Caller& caller);
  uint64_t certain_generation_at(CacheNode& directory, std::string_view name);
  void begin_lockout(Node* file);  // see Lockout
  void end_lockout(Node* file);
  void after_unlink(Node* victim);
  void expire_attributes(Node* of);
  Result<void> rename_file(Node* moved, Place from, Place to, RenameMode mode, const Caller& caller);
  void move_keys(Node* moved, Place from, Place to, RenameMode mode);

  // --- Listings and targets (directories.cc)
  Result<std::unique_ptr<DirectoryStream>> open_directory(CacheNode& directory, const Caller& caller);
  std::optional<std::unique_ptr<DirectoryStream>> try_open_directory(CacheNode& directory);
  ContentRef fresh_content(CacheNode& node);
  static ContentBegin begin_content(CacheNode& node);
  static std::optional<uint64_t> generation_of(const DirectoryStream& stream);
  enum class ListingState : uint8_t {
    verified,    ///< it is content of its generation
    unverified,  ///< a change overlapped: of none for sure
  };
  std::unique_ptr<DirectoryStream> stream_of(CacheNode& directory, ContentRef listing, const Caller& caller,
                                             ListingState state = ListingState::verified);
  Result<std::unique_ptr<DirectoryStream>> open_uncached(const ContentBegin& begin,
                                                         const Caller& caller) const;
  static void note_too_large(CacheNode& directory, uint64_t generation);
  struct ListingRead {
    Result<std::unique_ptr<DirectoryStream>> stream;
    ContentRef verified;  ///< what the stream gives, if it is sure to be of one version
  };
  ListingRead read_listing(CacheNode& directory, const ContentBegin& begin, const Caller& caller);
  bool keep_content(CacheNode& node, const std::shared_ptr<Content>& content, const ContentBegin& begin,
                    const Ticket& ticket);
  Result<std::string> read_link(CacheNode& node, const Caller& caller);
  Result<std::string> read_link_anew(CacheNode& node, const Caller& caller);

  // --- Extended attributes (cache_xattrs.cc)
  /// Whether it is known that the file does not have it: of some (kRememberedXattrs) that is remembered.
  bool lacks_xattr(CacheNode& node, std::string_view name);
  /// The same, for when the source cannot be reached.
  bool lacked_xattr(CacheNode& node, std::string_view name);

  // --- Locks (cache_locks.cc)
  /// The caller has got a lock of the file at the source: from now on he sees what was written until then.
  void check_after_lock(CacheNode& node, const Caller& caller);

  // --- Data (read_path.cc, write_path.cc)
  static ContentView view_of(CacheNode& node);
  /// For how long data of the file is kept.
  [[nodiscard]] Lifetime lifetime_of(const CacheNode& node) const {
    const uint8_t pattern = node.ttl_pattern.load(std::memory_order_relaxed);
    if (pattern == 0) return {.queue = 0, .ttl = options.ttl};
    return {.queue = pattern, .ttl = std::min(path_ttls.ttl(pattern), options.ttl)};
  }
  [[nodiscard]] bool must_check(const ContentView& view, uint64_t read_end) const;
  [[nodiscard]] static bool still_as_viewed(const CacheNode& node, const ContentView& view);
  Result<size_t> read(CacheFile& file, uint64_t offset, std::span<std::byte> out);
  enum class ReadRound : uint8_t {
    first,        ///< one try, which counts as hits and misses
    undisturbed,  ///< some more, while no change of ours can begin
  };
  std::optional<Result<size_t>> read_cached(CacheFile& file, uint64_t offset, std::span<std::byte> out,
                                            ReadRound round);
  std::optional<size_t> read_between_edits(CacheFile& file, uint64_t offset, std::span<std::byte> out);
  std::optional<size_t> try_read(CacheFile& file, uint64_t offset, std::span<std::byte> out);
  Result<size_t> write(CacheFile& file, uint64_t offset, std::span<const std::byte> data);
  Result<AppendResult> append(CacheFile& file, std::span<const std::byte> data);
  void end_write(FileTurn& turn, const ChangeStart& start, File& file, uint64_t offset,
                 std::span<const std::byte> written);

  // --- Opening (open.cc)
  Result<OpenedFile> open(CacheNode& node, const OpenFlags& flags, const Caller& caller);
  std::optional<OpenedFile> open_from_cache(CacheNode& node, const OpenFlags& flags, const Caller& caller);
  /// `generation`: of which the file is sure to be; 0: of none.
  std::unique_ptr<File> make_handle(CacheNode& node, const OpenFlags& flags, const Caller& caller,
                                    std::unique_ptr<File> source_file, uint64_t generation);
  /// A handle that asks the source for a file when it needs one; null if that may be too late.
  std::unique_ptr<File> make_handle_without_file(CacheNode& node, const OpenFlags& flags,
                                                 const Caller& caller);
  /// The source's file that serves handles opened from the cache; opened at the first need, and where the
  /// path is the identity once more in each generation (P2).
  /// Opened on behalf of `caller`, whose handle has `flags`.
  Result<std::shared_ptr<File>> shared_reader(CacheNode& node, const Caller& caller, const OpenFlags& flags);
  Result<OpenedFile> open_reader(Node& on_source, const Caller& caller, const OpenFlags& flags) const;
  std::shared_ptr<File> usable_reader(CacheNode& node) const REQUIRES(node.mutex);

  // --- Invalidation (invalidate.cc)
  /// Null if the path is not known here.
  struct KnownPath {
    NodeRef directory;  ///< null for the root itself
    std::string name;
    NodeRef node;
  };
  std::optional<KnownPath> resolve_known(std::string_view path);
  size_t invalidate_node(const KnownPath& at, bool below);
  void forget_node(CacheNode& node);
  void forget_files_of_unknown_names();
  void distrust_everything();
  void expire_everything_before_now(std::atomic<MonotonicTime>& bound);

  // --- Room
  bool make_metadata_room(uint64_t bytes);
  /// Drops a name, a file's attributes or a content, by turns; false if there is nothing to drop.
  bool evict_metadata();

  // --- The file system as a whole (statistics.cc)
  Result<FileSystemStatistics> statistics(CacheNode& node);
  /// After a change of ours: what is free is another.
  void expire_statistics();

  template <typename Tell>
  void tell_listener(Tell tell) {
    const std::shared_lock lock(listener_mutex_);
    if (listener_ != nullptr) tell(*listener_);
  }

  StripedCounters<Counter, kCounterCount> counters;
  const CacheOptions options;
  SourceRequests source_requests;
  std::unique_ptr<FileSystem> source;  ///< counts; all requests go through it
  Settling settling;
  const bool stable_identity;
  Capabilities own_capabilities;

  Budget budget;
  Budget metadata_budget;  ///< a quarter of the whole at most, so that names cannot push out all data
  SlabPool pool;
  std::atomic<uint64_t> evictions_at_reset{0};
  std::atomic<uint64_t> expirations_at_reset{0};
  BlockCache blocks;
  NameCache names;
  ContentCache contents;
  AccessVerdicts verdicts;
  PathTtls path_ttls;
  NodeTable nodes;
  NodeRef root;
  std::unique_ptr<XattrStore> xattr_store;
  std::unique_ptr<LockStore> lock_store;

  std::atomic<uint64_t> sequence{1};
  /// Answers asked for before the first are not relied upon, and must be checked if before the second.
  std::atomic<MonotonicTime> trusted_since{MonotonicTime::min()};
  std::atomic<MonotonicTime> checked_since{MonotonicTime::min()};

  struct NameFlightKey {
    FileId directory{};
    uint64_t last_change = 0;
    std::string name;
    friend bool operator==(const NameFlightKey&, const NameFlightKey&) = default;
  };
  struct NameFlightHash {
    size_t operator()(const NameFlightKey& key) const noexcept {
      return combine_hashes(combine_hashes(static_cast<uint64_t>(key.directory), key.last_change),
                            hash_bytes(key.name));
    }
  };
  BlockFlights block_flights;
  SingleFlight<NameFlightKey, Result<Entry>, NameFlightHash> name_flights;
  SingleFlight<NameFlightKey, Result<Attributes>, NameFlightHash> attribute_flights;
  struct ContentFlightKey {
    FileId file{};
    uint64_t generation = 0;
    uint64_t last_change = 0;
    friend bool operator==(const ContentFlightKey&, const ContentFlightKey&) = default;
  };
  struct ContentFlightHash {
    size_t operator()(const ContentFlightKey& key) const noexcept {
      return combine_hashes(combine_hashes(hash_of(key.file), key.generation), key.last_change);
    }
  };
  SingleFlight<ContentFlightKey, ContentRef, ContentFlightHash> content_flights;

 private:
  friend class CacheFs;
  Mutex statistics_mutex_;
  std::optional<FileSystemStatistics> statistics_ GUARDED_BY(statistics_mutex_);
  Ticket statistics_asked_ GUARDED_BY(statistics_mutex_);
  uint64_t statistics_changed_ GUARDED_BY(statistics_mutex_) = 0;
  std::shared_mutex listener_mutex_;
  CacheListener* listener_ = nullptr;
};

}  // namespace cachefs
