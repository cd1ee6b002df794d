// MemFs: what concerns one file or the whole: attributes, identity, version, statistics.
#include "cachefs/mem_fs.h"

#include <sys/stat.h>

#include <algorithm>

#include "vfs/mem_fs_access.h"
#include "vfs/mem_fs_core.h"

namespace cachefs {

std::unique_ptr<FileSystem> make_mem_fs(const MemFsOptions& options) {
  return std::make_unique<mem::MemFs>(options);
}

namespace mem {
namespace {

constexpr uint64_t kDeviceNumber = 0x6d656d;
constexpr uint64_t kCountedFilesMax = uint64_t{1} << 32;

/// The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
uint64_t mix(uint64_t value) {
  value += 0x9E3779B97F4A7C15ULL;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ULL;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBULL;
  return value ^ (value >> 31);
}

uint64_t ticks(Timestamp time) { return static_cast<uint64_t>(time.time_since_epoch().count()); }

bool has_stable_numbers(const MemFsOptions& options) {
  return options.inode_numbers == InodeNumbers::unique || options.inode_numbers == InodeNumbers::reused;
}

Capabilities capabilities_for(const MemFsOptions& options) {
  Capabilities can{.type = "memory"};
  can.stable_identity = has_stable_numbers(options);
  can.shows_changes = options.version_source != VersionSource::size_only;
  if (options.version_source == VersionSource::timestamps) can.timestamp_granule = options.timestamp_granule;
  can.local_clock = options.local_clock;
  can.case_sensitive = options.case_sensitive;
  can.locks = LockReach::everywhere;
  can.drops_set_id = true;
  return can;
}

}  // namespace

MemFs::MemFs(const MemFsOptions& options)
    : options_(options),
      capabilities_(capabilities_for(options)),
      owner_{.space = Space(options.capacity_bytes / kPageSize),
             .numbers = NumberPool(options.inode_numbers == InodeNumbers::reused)},
      xattrs_(*this),
      locks_(*this) {
  MutexLock lock(mutex_);
  root_ = NodeRef(new Inode(owner_, FileKind::directory, next_generation_++, options_.case_sensitive));
  Inode& root = inode_of(root_);
  root.mode = 0755;
  root.nlink = 2;
  touch_content(root);
  root.atime = root.btime = root.mtime;
}

/// Takes the tree apart from the top, so that its depth costs no stack.
MemFs::~MemFs() {
  std::vector<NodeRef> pending{std::move(root_)};
  while (!pending.empty()) {
    const NodeRef node = std::move(pending.back());
    pending.pop_back();
    inode_of(node).entries.drain(pending);
  }
}

Timestamp MemFs::kept(Timestamp time) const {
  if (options_.version_source == VersionSource::size_only) return Timestamp{};
  if (options_.timestamp_granule.count() <= 0) return time;
  const auto since_epoch = time.time_since_epoch();
  auto rest = since_epoch % options_.timestamp_granule;
  if (rest.count() < 0) rest += options_.timestamp_granule;
  return Timestamp(since_epoch - rest);
}

/// With a granule of zero every change shows: two stamps are then never equal, however slow the clock.
Timestamp MemFs::now() {
  Timestamp time = kept(options_.clock->wall_time());
  if (options_.version_source == VersionSource::timestamps && options_.timestamp_granule.count() == 0) {
    time = std::max(time, last_stamp_ + std::chrono::nanoseconds(1));
    last_stamp_ = time;
  }
  return time;
}

void MemFs::touch_attributes(Inode& inode) {
  inode.ctime = now();
  inode.change = ++changes_;
}

void MemFs::touch_content(Inode& inode) {
  touch_attributes(inode);
  inode.mtime = inode.ctime;
}

Version MemFs::version_of(const Inode& inode) const {
  switch (options_.version_source) {
    case VersionSource::counter:
      return {.high = inode.generation, .low = inode.change};
    case VersionSource::size_only:
      return {.high = 0, .low = inode.size};
    case VersionSource::timestamps:
      break;
  }
  const uint64_t number = has_stable_numbers(options_) ? inode.number : 0;
  return {.high = mix(mix(number) ^ ticks(inode.btime)) ^ inode.size,
          .low = mix(mix(ticks(inode.mtime)) ^ ticks(inode.ctime))};
}

uint64_t MemFs::shown_number(const Inode& inode) {
  switch (options_.inode_numbers) {
    case InodeNumbers::random:
      return mix(++answers_) | 1;
    case InodeNumbers::none:
      return 0;
    case InodeNumbers::unique:
    case InodeNumbers::reused:
      break;
  }
  return inode.number;
}

Attributes MemFs::attributes_of(const Inode& inode) {
  const uint64_t generation = has_stable_numbers(options_) ? inode.generation : 0;
  return {.identity = {.device = kDeviceNumber, .inode = shown_number(inode), .generation = generation},
          .version = version_of(inode),
          .size = inode.size,
          .blocks = inode.data.page_count() * (kPageSize / 512),
          .rdev = inode.rdev,
          .atime = inode.atime,
          .mtime = inode.mtime,
          .ctime = inode.ctime,
          .btime = inode.btime,
          .mode = inode.mode,
          .nlink = inode.nlink,
          .uid = inode.uid,
          .gid = inode.gid,
          .block_size = kPageSize,
          .kind = inode.kind};
}

Entry MemFs::entry_of(const NodeRef& node) {
  return {.node = node, .attributes = attributes_of(inode_of(node))};
}

Result<void> MemFs::check_access(const Inode& inode, uint32_t wanted, const Caller& caller) const {
  if (!options_.enforce_permissions || may_access(inode, wanted, caller)) return {};
  return fail(std::errc::permission_denied);
}

Result<Attributes> MemFs::attributes(Node& node, const Caller& /*caller*/) {
  MutexLock lock(mutex_);
  return attributes_of(inode_of(node));
}

Result<Attributes> MemFs::set_attributes(Node& node, const AttributeChange& wanted, const Caller& caller) {
  Pages dropped;  // freed after the lock is released
  MutexLock lock(mutex_);
  return change(inode_of(node), wanted, caller, /*by_handle=*/false, dropped);
}

namespace {

Result<void> check_possible(const Inode& inode, const AttributeChange& wanted) {
  if (wanted.mode && inode.kind == FileKind::symlink) return fail(std::errc::operation_not_supported);
  if (!wanted.size) return {};
  if (inode.is_directory()) return fail(std::errc::is_a_directory);
  if (inode.kind != FileKind::regular) return fail(std::errc::invalid_argument);
  if (*wanted.size > kFileSizeMax) return fail(std::errc::file_too_large);
  return {};
}

}  // namespace

Result<Attributes> MemFs::change(Inode& inode, const AttributeChange& wanted, const Caller& caller,
                                 bool by_handle, Pages& dropped) {
  if (auto possible = check_possible(inode, wanted); !possible) return std::unexpected(possible.error());
  if (options_.enforce_permissions) {
    if (auto allowed = may_change(inode, wanted, caller, by_handle); !allowed) {
      return std::unexpected(allowed.error());
    }
  }
  if (wanted.empty()) return attributes_of(inode);
  touch_attributes(inode);
  if (wanted.size) {
    set_size(inode, *wanted.size, dropped);
    inode.mode = without_set_id(inode.mode);
  }
  if (wanted.uid) inode.uid = *wanted.uid;
  if (wanted.gid) inode.gid = *wanted.gid;
  if ((wanted.uid || wanted.gid) && !inode.is_directory()) inode.mode = without_set_id(inode.mode);
  if (wanted.mode) {
    inode.mode = *wanted.mode & 07777;
    const bool foreign_group = caller.uid != 0 && !is_member(inode.gid, caller);
    if (options_.enforce_permissions && foreign_group) inode.mode &= ~static_cast<uint32_t>(S_ISGID);
  }
  if (wanted.atime) inode.atime = wanted.atime->now ? inode.ctime : kept(wanted.atime->time);
  if (wanted.mtime) inode.mtime = wanted.mtime->now ? inode.ctime : kept(wanted.mtime->time);
  return attributes_of(inode);
}

void MemFs::set_size(Inode& inode, uint64_t size, Pages& dropped) {
  if (size <= inode.size)
    dropped.merge(inode.data.discard(size, UINT64_MAX));  // what was reserved beyond, too
  inode.size = size;
  touch_content(inode);
}

Result<std::string> MemFs::read_link(Node& node, const Caller& /*caller*/) {
  MutexLock lock(mutex_);
  const Inode& inode = inode_of(node);
  if (inode.kind != FileKind::symlink) return fail(std::errc::invalid_argument);
  return inode.target;
}

Result<void> MemFs::sync_directory(Node& node) {
  if (!inode_of(node).is_directory()) return fail(std::errc::not_a_directory);
  return {};
}

Result<FileSystemStatistics> MemFs::statistics(Node& /*node*/) {
  FileSystemStatistics result{.block_size = kPageSize, .blocks = owner_.space.capacity()};
  result.blocks_free = result.blocks - owner_.space.used();
  result.blocks_available = result.blocks_free;
  result.files_free = kCountedFilesMax;
  result.files = owner_.inode_count.load(std::memory_order_relaxed) + result.files_free;
  result.name_max = capabilities_.name_max;
  return result;
}

}  // namespace mem
}  // namespace cachefs
