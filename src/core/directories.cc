// Listings: cached whole as of one version of the directory, or streamed from the source.
#include <utility>

#include "core/cache_impl.h"

namespace cachefs {
namespace {

constexpr size_t kBatch = 512;

/// Streams a cached listing; it stays the one that it was when the directory was opened.
class ListingStream final : public DirectoryStream {
 public:
  explicit ListingStream(std::shared_ptr<const Listing> listing) : listing_(std::move(listing)) {}

  Result<std::vector<DirectoryEntry>> next_batch() override {
    const std::vector<DirectoryEntry>& entries = listing_->entries;
    const size_t end = std::min(entries.size(), next_ + kBatch);
    std::vector<DirectoryEntry> batch(entries.begin() + static_cast<ptrdiff_t>(next_),
                                      entries.begin() + static_cast<ptrdiff_t>(end));
    next_ = end;
    return batch;
  }

 private:
  const std::shared_ptr<const Listing> listing_;
  size_t next_ = 0;
};

/// Gives what was read before there was no room for more, then the rest as it comes.
class ContinuedStream final : public DirectoryStream {
 public:
  ContinuedStream(std::vector<DirectoryEntry> first, std::unique_ptr<DirectoryStream> rest)
      : first_(std::move(first)), rest_(std::move(rest)) {}

  Result<std::vector<DirectoryEntry>> next_batch() override {
    if (!first_.empty()) return std::exchange(first_, {});
    return rest_->next_batch();
  }

 private:
  std::vector<DirectoryEntry> first_;
  const std::unique_ptr<DirectoryStream> rest_;
};

/// Upper bound of what the entries take: themselves with the vector's spare room, and long names by
/// themselves.
uint64_t listing_cost(const std::vector<DirectoryEntry>& entries) {
  constexpr uint64_t kAllocator = 16;
  constexpr size_t kInlineName = 15;
  uint64_t cost = sizeof(Listing) + 4 * kAllocator;
  for (const DirectoryEntry& entry : entries) {
    cost += sizeof(DirectoryEntry);
    if (entry.name.size() > kInlineName) cost += entry.name.size() + 1 + kAllocator;
  }
  return cost;
}

}  // namespace

std::unique_ptr<DirectoryStream> CacheFs::Impl::stream_of(std::shared_ptr<const Listing> listing) {
  return std::make_unique<ListingStream>(std::move(listing));
}

/// The cached listing, if it needs no check.
std::shared_ptr<const Listing> CacheFs::Impl::fresh_listing(CacheNode& directory) {
  if (options.coherence.checks_at_open()) return nullptr;
  MutexLock lock(directory.mutex);
  return fresh(directory.state) ? directory.state.listing : nullptr;
}

Result<std::unique_ptr<DirectoryStream>> CacheFs::Impl::open_directory(CacheNode& directory,
                                                                       const Caller& caller) {
  if (directory.kind != FileKind::directory) return fail(std::errc::not_a_directory);
  std::shared_ptr<const Listing> listing = fresh_listing(directory);
  if (listing == nullptr) {
    // The check of this open; it also is the version that the listing must still have after it was read.
    const Result<Attributes> attributes =
        checked_attributes(directory, nullptr, caller, options.coherence.checks_at_open());
    if (!attributes) return std::unexpected(attributes.error());
  }
  ContentBegin begin;
  {
    MutexLock lock(directory.mutex);
    listing = directory.state.listing;
    begin.source = directory.state.source;
    begin.generation = directory.state.generation;
    begin.version = directory.state.attributes.version;
    begin.changed = directory.state.attributes.ctime;
    begin.version_seen_at = directory.state.version_seen_at;
    if (!surely_allowed(directory.state.attributes, caller, 4)) listing = nullptr;
  }
  if (listing != nullptr) {
    counters.add(Counter::metadata_hits);
    return stream_of(std::move(listing));
  }
  counters.add(Counter::metadata_misses);
  return read_listing(directory, begin, caller);
}

Result<std::unique_ptr<DirectoryStream>> CacheFs::Impl::read_listing(CacheNode& directory,
                                                                     const ContentBegin& begin,
                                                                     const Caller& caller) {
  const Ticket ticket = begin_request();
  Result<std::unique_ptr<DirectoryStream>> stream = source->open_directory(*begin.source, caller);
  if (!stream) return stream;
  auto listing = std::make_shared<Listing>();
  for (;;) {
    Result<std::vector<DirectoryEntry>> batch = (*stream)->next_batch();
    if (!batch) return std::unexpected(batch.error());
    if (batch->empty()) break;
    std::move(batch->begin(), batch->end(), std::back_inserter(listing->entries));
    if (listing_cost(listing->entries) > metadata_budget.limit() / 2) {
      return std::make_unique<ContinuedStream>(std::move(listing->entries), std::move(*stream));
    }
  }
  const Ticket after_ticket = begin_request();
  const Result<Attributes> after = source->attributes(*begin.source, caller);
  if (after) {
    observe(directory, *after, after_ticket, Purpose::verify);
    if (after->version == begin.version) keep_listing(directory, listing, begin, ticket);
  }
  return stream_of(std::move(listing));
}

void CacheFs::Impl::keep_listing(CacheNode& directory, const std::shared_ptr<Listing>& listing,
                                 const ContentBegin& begin, const Ticket& ticket) {
  listing->entries.shrink_to_fit();
  listing->memory = reserve_metadata(listing_cost(listing->entries));
  if (!listing->memory) return;
  MutexLock lock(directory.mutex);
  NodeState& state = directory.state;
  if (state.generation != begin.generation || state.changes_in_progress != 0 ||
      state.last_change >= ticket.sequence)
    return;
  state.listing = listing;
  state.has_content = true;
  if (!settling.settled_fetch(begin.changed, begin.version_seen_at, ticket)) state.unsettled = true;
}

}  // namespace cachefs
