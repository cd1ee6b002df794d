// What the cache knows of one file.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/budget.h"
#include "base/mutex.h"
#include "cache/block.h"
#include "cachefs/file_system.h"
#include "core/change_queue.h"
#include "core/path_ttls.h"
#include "core/settling.h"

namespace cachefs {

class NodeTable;

/// What leads to a file on the source: its identity, or, where that is not stable, directory and name.
struct NodeKey {
  FileIdentity identity;
  FileId directory = kNoFile;
  std::string name;

  friend bool operator==(const NodeKey&, const NodeKey&) = default;
};

struct NodeKeyHash {
  size_t operator()(const NodeKey& key) const noexcept {
    return combine_hashes(std::hash<FileIdentity>()(key.identity),
                          combine_hashes(static_cast<uint64_t>(key.directory), hash_bytes(key.name)));
  }
};

/// Extended attributes that are asked for again and again, of files that mostly do not have them: by the
/// kernel at each look at a file (access control lists) and before each write (capabilities), by `ls -l` of
/// each file (labels).
inline constexpr std::array<std::string_view, 4> kRememberedXattrs{
    "system.posix_acl_access", "system.posix_acl_default", "security.capability", "security.selinux"};

/// The source said in that generation that the file does not have it.
struct AbsentXattr {
  uint64_t generation = 0;
  MonotonicTime asked_at;
};

/// A file's state, under its node's lock. "Content" is data of a file, the listing of a directory, the target
/// of a symlink.
struct NodeState {
  NodeRef source;

  bool known = false;  ///< attributes were seen at all
  Attributes attributes;
  MonotonicTime checked_at =
      MonotonicTime::min();                      ///< when the source was last asked; min: must be asked again
  MonotonicTime seen_at = MonotonicTime::min();  ///< when `attributes` were asked for; min: they may not even
                                                 ///< be served while the source cannot be reached
  MonotonicTime version_seen_at;                 ///< when attributes.version was first seen
  MonotonicTime failed_at = MonotonicTime::min();  ///< a check has failed then,
  MonotonicTime retry_at = MonotonicTime::min();   ///< and is not tried again before that
  uint64_t last_observation = 0;                   ///< ticket of the newest answer, older ones are worthless
  uint64_t last_change = 0;                        ///< answers to requests older than that are void
  uint32_t changes_in_progress = 0;                ///< our own

  /// The generation that the source confirmed before the changes of ours that are under way; 0: none.
  uint64_t confirmed_in = 0;

  uint64_t generation = 1;  ///< of the content; bumped when it may be another, never reused (see CacheNode)
  /// Something is cached in this generation. (The table of nodes takes it for a hint, without the lock.)
  std::atomic<bool> has_content{false};
  bool unsettled = false;     ///< and some of it was read too soon after the version arose
  uint64_t too_large_in = 0;  ///< of a directory: the generation whose listing was found too large to cache
  std::array<AbsentXattr, kRememberedXattrs.size()> absent_xattrs{};

  uint32_t open_handles = 0;
  uint32_t handles_without_file = 0;  ///< of these: they were opened without asking the source to
  std::shared_ptr<File> reader;       ///< serves the handles that were opened without asking the source to
  uint64_t reader_generation = 0;     ///< of which it is sure to be: invariant P2 (cache_file.h)
  /// Where the path is the identity: those of the handles that have one of their own.
  std::vector<std::weak_ptr<File>> own_files;
  uint32_t lockouts = 0;  ///< changes of ours under way after which the source may not open it (Lockout)
  /// Where the path is the identity: another file was found in its place. Its handles alone lead to it.
  bool replaced = false;

  /// Content of the old generation is no longer found; who bumps also drops it (forget_content), outside the
  /// lock.
  void bump_generation() {
    ++generation;
    has_content = false;
    unsettled = false;
  }
  /// Some file of the source that is this one, if any is open.
  [[nodiscard]] std::shared_ptr<File> any_file() const {
    if (reader) return reader;
    for (const auto& file : own_files) {
      if (auto open = file.lock()) return open;
    }
    return nullptr;
  }
  /// The generation that what is opened from now on is sure to be of, if it still is the generation then; 0:
  /// none.
  [[nodiscard]] uint64_t certain_generation() const { return known ? generation : 0; }
  /// The attributes were seen, but not to check the content: what is unsettled must not thereby live longer.
  void renew_without_check(MonotonicTime asked_at) {
    if (!unsettled || checked_at == MonotonicTime::min()) checked_at = asked_at;
  }
  /// Must be asked again. Answers to requests of before `sequence` (a new one) are void.
  void expire(uint64_t sequence) {
    checked_at = MonotonicTime::min();
    last_observation = sequence;
    last_change = sequence;
  }
  /// The same, and what was known is worth nothing.
  void forget(uint64_t sequence) {
    expire(sequence);
    seen_at = MonotonicTime::min();
  }
};

enum class Purpose : uint8_t {
  check,   ///< at an open, or since attributes are too old: also the moment to fetch unsettled content anew
  verify,  ///< after a fetch
};
enum class Observed : uint8_t {
  ignored,     ///< older than what is known
  overlapped,  ///< a change of our own is under way: whose change it shows cannot be told
  same,
  changed,  ///< a new generation began
};

class CacheNode final : public Node {
 public:
  CacheNode(NodeTable& table, FileId file, FileKind file_kind, NodeKey node_key, NodeRef source)
      : id(file), kind(file_kind), table_(table), key_(std::move(node_key)) {
    state.source = std::move(source);
    // A layer above may remember a generation for longer than the node lives: another one of the same file
    // must not come to it again.
    state.generation += static_cast<uint64_t>(file) << kGenerationBits;
  }

  const FileId id;
  const FileKind kind;
  /// Its last name is gone: once nobody references it, it does not stay, for it would keep the file alive on
  /// the source.
  std::atomic<bool> nameless{false};
  /// Names of it were known that are no longer: what is to be forgotten by a path may be this file too.
  std::atomic<bool> name_lost{false};

  /// Of a directory: the match of the path by which it was last found (PathTtls).
  std::atomic<PathMatch> path_match{};
  /// Of a file: whose time to live is the shortest among the patterns that match a name by which it was
  /// found.
  std::atomic<uint8_t> ttl_pattern{0};

  /// Held while a change of ours goes into the blocks and the state; no I/O meanwhile. Before `mutex`.
  Mutex edit_mutex;
  /// How often that began or ended: odd while it is under way.
  std::atomic<uint64_t> edits{0};
  Mutex mutex;
  NodeState state GUARDED_BY(mutex);
  /// Who changes the file, and who waits for that (FileTurn).
  ChangeQueue turns GUARDED_BY(mutex);

  /// Takes over what the source said in answer to the request of `ticket`, received by `received`.
  Observed observe(const Attributes& attributes, const Ticket& ticket, MonotonicTime received,
                   Purpose purpose, const Settling& settling) EXCLUDES(mutex);

  /// Its path, where that is the identity, does not lead to it any more, and is not to be used: what is open
  /// of it is all that there is.
  [[nodiscard]] bool has_no_path() const REQUIRES(mutex) { return nameless || state.replaced; }

  NodeRef source() EXCLUDES(mutex) {
    MutexLock lock(mutex);
    return state.source;
  }

 private:
  friend class NodeTable;
  void release_last() override;

  NodeTable& table_;
  NodeKey key_;         // of the table's lock
  NodeRef parent_;      // likewise; where the key names the directory, that must keep its id
  Reservation memory_;  // likewise; empty: kept only while referenced
  static constexpr unsigned kGenerationBits = 24;
  CacheNode* newer_ = nullptr;  // in the order of use, while unreferenced
  CacheNode* older_ = nullptr;
  bool idle_ = false;      // in that order
  bool has_data_ = false;  // then: in the order of those that something is cached of
};

/// A change of ours goes into the blocks and the state of a file: readers who overlap it read once more.
class SCOPED_CAPABILITY ContentEdit {
 public:
  explicit ContentEdit(CacheNode& node) ACQUIRE(node.edit_mutex) : node_(node) {
    node_.edit_mutex.lock();
    node_.edits.fetch_add(1, std::memory_order_acq_rel);
  }
  ~ContentEdit() RELEASE() {
    node_.edits.fetch_add(1, std::memory_order_acq_rel);
    node_.edit_mutex.unlock();
  }
  ContentEdit(const ContentEdit&) = delete;
  ContentEdit& operator=(const ContentEdit&) = delete;

 private:
  CacheNode& node_;
};

}  // namespace cachefs
