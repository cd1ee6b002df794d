#include "cachefs/cache_fs.h"

#include <fmt/format.h>

#include <bit>

#include "base/check.h"
#include "core/cache_file.h"
#include "core/cache_locks.h"
#include "core/cache_xattrs.h"

namespace cachefs {
namespace {

constexpr uint64_t kMetadataShare = 4;  ///< names, attributes and listings may take a quarter
constexpr uint64_t kSpareShare = 64;    ///< empty slabs kept for reuse

Result<void> check_options(const CacheOptions& options) {
  if (options.max_bytes == 0)
    return fail(std::errc::invalid_argument, "max_bytes is 0; the cache needs at least some room");
  if (options.max_entries == 0)
    return fail(std::errc::invalid_argument, "max_entries is 0; allow at least one entry");
  if (!std::has_single_bit(options.block_size) || options.block_size < 16 * kKiB ||
      options.block_size > 4 * kMiB) {
    return fail(std::errc::invalid_argument,
                fmt::format("block_size is {}; use a power of two from 16 KiB to 4 MiB", options.block_size));
  }
  if (!std::has_single_bit(options.shard_count) || options.shard_count > 1024) {
    return fail(std::errc::invalid_argument,
                fmt::format("shard_count is {}; use a power of two from 1 to 1024", options.shard_count));
  }
  if (options.coherence.ttl.count() < 0 || options.coherence.attribute_ttl.count() < 0)
    return fail(std::errc::invalid_argument, "coherence has a negative time; 0 asks every time");
  if (options.ttl.count() <= 0)
    return fail(std::errc::invalid_argument, "ttl must be above 0; leave it out to keep data for ever");
  if (options.clock == nullptr)
    return fail(std::errc::invalid_argument, "clock is null; use Clock::system()");
  return {};
}

}  // namespace

CacheFs::Impl::Impl(FileSystem& slow, const CacheOptions& wanted, const EvictionPolicyInfo& policy)
    : options(wanted),
      source_requests(slow.reachability()),
      source(make_hooked_fs(slow, source_requests)),
      settling(slow.capabilities()),
      stable_identity(slow.capabilities().stable_identity),
      own_capabilities(slow.capabilities()),
      budget(wanted.max_bytes),
      metadata_budget(wanted.max_bytes / kMetadataShare, &budget),
      pool(budget, wanted.max_bytes / kSpareShare),
      blocks(budget, pool,
             {.block_size = wanted.block_size,
              .shard_count = wanted.shard_count,
              .max_entries = wanted.max_entries,
              .policy = &policy,
              .time = {.clock = wanted.clock, .ttl_start = wanted.ttl_start}},
             [this] { return evict_metadata(); }),
      names(
          metadata_budget, wanted.metadata_max_entries,
          [this](uint64_t bytes) { return make_metadata_room(bytes); },
          [this](FileId file) { nodes.note_lost_name(file); }),
      contents(metadata_budget, wanted.metadata_max_entries,
               [this](uint64_t bytes) { return make_metadata_room(bytes); }),
      verdicts(metadata_budget),
      nodes(
          metadata_budget, wanted.metadata_max_entries,
          [this](uint64_t bytes) { return make_metadata_room(bytes); },
          [this](FileId file) {
            blocks.drop(file, UINT64_MAX);
            contents.erase(file, UINT64_MAX);
            names.erase_all(file);
          }) {
  const NodeRef source_root = source->root();
  NodeKey key;
  key.identity = {
      .device = 0, .inode = 0, .generation = UINT64_MAX};  // replaced below, where the source says more
  if (stable_identity) {
    if (const auto attributes = slow.attributes(*source_root, Caller::self()))
      key.identity = attributes->identity;
  }
  root = nodes.make_root(key, source_root);
  if (source->xattrs() != nullptr) xattr_store = make_cache_xattrs(*this);
  if (source->locks() != nullptr) lock_store = make_cache_locks(*this);
}

CacheFs::Impl::~Impl() { root = {}; }

/// Frees metadata if its own share is what lacks, else blocks.
bool CacheFs::Impl::make_metadata_room(uint64_t bytes) {
  const bool share_is_full = metadata_budget.limit() - metadata_budget.used() < bytes;
  if (!share_is_full && blocks.evict_one()) return true;
  return evict_metadata();
}

bool CacheFs::Impl::evict_metadata() {
  static thread_local unsigned next = 0;
  constexpr unsigned kKinds = 3;
  for (unsigned i = 0; i < kKinds; ++i) {
    const unsigned kind = next++ % kKinds;
    const bool evicted = kind == 0 ? names.evict_one() : kind == 1 ? nodes.evict_one() : contents.evict_one();
    if (evicted) return true;
  }
  return false;
}

Result<std::unique_ptr<CacheFs>> CacheFs::create(FileSystem& source, const CacheOptions& options) {
  const Result<void> checked = check_options(options);
  if (!checked) return std::unexpected(checked.error());
  const auto policy = find_eviction_policy(options.policy);
  if (!policy) return std::unexpected(policy.error());
  return std::unique_ptr<CacheFs>(new CacheFs(std::make_unique<Impl>(source, options, **policy)));
}

CacheFs::CacheFs(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CacheFs::~CacheFs() = default;

const Capabilities& CacheFs::capabilities() const { return impl_->own_capabilities; }
NodeRef CacheFs::root() { return impl_->root; }
XattrStore* CacheFs::xattrs() { return impl_->xattr_store.get(); }
LockStore* CacheFs::locks() { return impl_->lock_store.get(); }

Result<Entry> CacheFs::lookup(Node& directory, std::string_view name, const Caller& caller) {
  return impl_->lookup(Impl::node_of(directory), name, caller);
}

Result<Attributes> CacheFs::attributes(Node& node, const Caller& caller) {
  CacheNode& cached = Impl::node_of(node);
  std::shared_ptr<File> reader;  // an unlinked file is reached through whoever has it open
  {
    MutexLock lock(cached.mutex);
    reader = cached.state.reader;
  }
  return impl_->checked_attributes(cached, reader.get(), caller, false);
}

Result<Attributes> CacheFs::set_attributes(Node& node, const AttributeChange& change, const Caller& caller) {
  if (const auto out = impl_->outage()) return std::unexpected(*out);
  return impl_->set_attributes(Impl::node_of(node), nullptr, change, caller);
}

Result<OpenedFile> CacheFs::open(Node& node, const OpenFlags& flags, const Caller& caller) {
  return impl_->open(Impl::node_of(node), flags, caller);
}

Result<std::string> CacheFs::read_link(Node& node, const Caller& caller) {
  return impl_->read_link(Impl::node_of(node), caller);
}

Result<std::unique_ptr<DirectoryStream>> CacheFs::open_directory(Node& node, const Caller& caller) {
  return impl_->open_directory(Impl::node_of(node), caller);
}

Result<void> CacheFs::sync_directory(Node& node) {
  return impl_->source->sync_directory(*Impl::node_of(node).source());
}

Result<FileSystemStatistics> CacheFs::statistics(Node& node) {
  return impl_->statistics(Impl::node_of(node));
}

std::optional<Result<Entry>> CacheFs::try_lookup(Node& directory, std::string_view name) {
  if (impl_->source_decides()) return std::nullopt;
  auto answer = impl_->cached_lookup(Impl::node_of(directory), name);
  if (answer) impl_->counters.add(Counter::metadata_hits);
  return answer;
}

std::optional<Attributes> CacheFs::try_attributes(Node& node) {
  auto attributes = impl_->fresh_attributes(Impl::node_of(node));
  if (attributes) impl_->counters.add(Counter::metadata_hits);
  return attributes;
}

std::optional<std::string> CacheFs::try_read_link(Node& node) {
  const ContentRef known = impl_->fresh_content(Impl::node_of(node));
  if (known == nullptr) return std::nullopt;
  impl_->counters.add(Counter::metadata_hits);
  return known->target;
}

bool CacheFs::lacks_xattr(Node& node, std::string_view name) {
  return impl_->lacks_xattr(Impl::node_of(node), name);
}

std::optional<OpenedFile> CacheFs::try_open(Node& node, const OpenFlags& flags, const Caller& caller) {
  // The groups of a caller are not known here, and a server may care for them.
  if (impl_->source_decides() && caller.uid != 0) return std::nullopt;
  return impl_->open_from_cache(Impl::node_of(node), flags, caller);
}

std::optional<std::unique_ptr<DirectoryStream>> CacheFs::try_open_directory(Node& node) {
  return impl_->try_open_directory(Impl::node_of(node));
}

std::optional<size_t> CacheFs::try_read_at(File& file, uint64_t offset, std::span<std::byte> out) {
  return impl_->try_read(static_cast<CacheFile&>(file), offset, out);
}

Validity CacheFs::validity(Node& node) const {
  CacheNode& cached = Impl::node_of(node);
  MutexLock lock(cached.mutex);
  NodeState& state = cached.state;
  Validity validity;
  if (state.known)
    validity.attributes = impl_->remaining(state.checked_at, impl_->options.coherence.metadata_ttl());
  validity.data_generation = state.generation;
  validity.listing_generation = state.generation;
  return validity;
}

std::optional<uint64_t> CacheFs::generation_of(const DirectoryStream& stream) const {
  return Impl::generation_of(stream);
}

std::chrono::nanoseconds CacheFs::name_validity(Node& directory, std::string_view name,
                                                const Node* file) const {
  // A name that the kernel keeps leads everybody who passes its check of mode bits.
  if (impl_->source_decides()) return std::chrono::nanoseconds(0);
  const FileId id = file != nullptr ? static_cast<const CacheNode*>(file)->id : kNoFile;
  const auto known = impl_->names.find(Impl::node_of(directory).id, name);
  if (!known || known->file != id) return std::chrono::nanoseconds(0);
  return impl_->remaining(known->asked_at, impl_->name_ttl());
}

void CacheFs::set_listener(CacheListener* listener) {
  const std::unique_lock lock(impl_->listener_mutex_);
  impl_->listener_ = listener;
}

CacheStats CacheFs::stats() const {
  const OperationCounter& source = impl_->source_requests.sent();
  const auto& counters = impl_->counters;
  return {.hits = counters.sum(Counter::hits),
          .misses = counters.sum(Counter::misses),
          .metadata_hits = counters.sum(Counter::metadata_hits),
          .metadata_misses = counters.sum(Counter::metadata_misses),
          .evictions = impl_->blocks.evictions() - impl_->evictions_at_reset.load(std::memory_order_relaxed),
          .expirations =
              impl_->blocks.expirations() - impl_->expirations_at_reset.load(std::memory_order_relaxed),
          .bypasses = counters.sum(Counter::bypasses),
          .invalidations = counters.sum(Counter::invalidations),
          .stale_answers = counters.sum(Counter::stale_answers),
          .source_reads = source.reads(),
          .source_read_bytes = source.read_bytes(),
          .source_writes = source.writes(),
          .source_write_bytes = source.write_bytes(),
          .source_metadata_ops = source.metadata(),
          .source_refused = impl_->source_requests.refused(),
          .bytes_used = impl_->budget.used(),
          .bytes_limit = impl_->budget.limit(),
          .entries = impl_->blocks.entries(),
          .nodes = impl_->nodes.size(),
          .names = impl_->names.entries()};
}

void CacheFs::reset_stats() {
  impl_->counters.reset();
  impl_->source_requests.reset();
  impl_->evictions_at_reset = impl_->blocks.evictions();
  impl_->expirations_at_reset = impl_->blocks.expirations();
}

void CacheFs::check_invariants() const {
  impl_->pool.check_invariants();
  impl_->blocks.check_invariants();
  impl_->names.check_invariants();
  impl_->contents.check_invariants();
  impl_->nodes.check_invariants();
  CACHEFS_CHECK(impl_->block_flights.idle() && impl_->name_flights.idle() &&
                    impl_->attribute_flights.idle() && impl_->content_flights.idle(),
                "C1: at rest nothing is under way");
}

}  // namespace cachefs
