// Contents of directories and symlinks: cached whole as of one version, or as the source gives them.
#include <utility>

#include "core/cache_impl.h"

namespace cachefs {
namespace {

constexpr size_t kBatch = 512;

/// A stream that knows from when its entries are; nullopt: from several moments.
class CacheStream : public DirectoryStream {
 public:
  explicit CacheStream(std::optional<uint64_t> generation) : generation_(generation) {}
  [[nodiscard]] std::optional<uint64_t> generation() const { return generation_; }

 private:
  const std::optional<uint64_t> generation_;
};

/// Streams a cached listing; it stays the one that it was when the directory was opened.
class ListingStream final : public CacheStream {
 public:
  explicit ListingStream(ContentRef listing)
      : CacheStream(listing->generation), listing_(std::move(listing)) {}

  Result<std::vector<DirectoryEntry>> next_batch() override {
    const std::vector<DirectoryEntry>& entries = listing_->entries;
    const size_t end = std::min(entries.size(), next_ + kBatch);
    std::vector<DirectoryEntry> batch(entries.begin() + static_cast<ptrdiff_t>(next_),
                                      entries.begin() + static_cast<ptrdiff_t>(end));
    next_ = end;
    return batch;
  }

 private:
  const ContentRef listing_;
  size_t next_ = 0;
};

/// Gives what was read before there was no room for more, then the rest as it comes: what is removed while it
/// is read is missing from the rest.
class ContinuedStream final : public CacheStream {
 public:
  ContinuedStream(std::vector<DirectoryEntry> first, std::unique_ptr<DirectoryStream> rest)
      : CacheStream(std::nullopt), first_(std::move(first)), rest_(std::move(rest)) {}

  Result<std::vector<DirectoryEntry>> next_batch() override {
    if (!first_.empty()) return std::exchange(first_, {});
    return rest_->next_batch();
  }

 private:
  std::vector<DirectoryEntry> first_;
  const std::unique_ptr<DirectoryStream> rest_;
};

}  // namespace

std::unique_ptr<DirectoryStream> CacheFs::Impl::stream_of(ContentRef listing) {
  return std::make_unique<ListingStream>(std::move(listing));
}

std::optional<uint64_t> CacheFs::Impl::generation_of(const DirectoryStream& stream) {
  return static_cast<const CacheStream&>(stream).generation();
}

/// What is cached of a directory or symlink, if it needs no check.
ContentRef CacheFs::Impl::fresh_content(CacheNode& node) {
  uint64_t generation = 0;
  {
    MutexLock lock(node.mutex);
    if (!fresh(node.state)) return nullptr;
    generation = node.state.generation;
  }
  return contents.find(node.id, generation);
}

std::optional<std::unique_ptr<DirectoryStream>> CacheFs::Impl::try_open_directory(CacheNode& directory) {
  if (options.coherence.checks_at_open()) return std::nullopt;
  ContentRef listing = fresh_content(directory);
  if (listing == nullptr) return std::nullopt;
  counters.add(Counter::metadata_hits);
  return stream_of(std::move(listing));
}

Result<std::unique_ptr<DirectoryStream>> CacheFs::Impl::open_directory(CacheNode& directory,
                                                                       const Caller& caller) {
  if (directory.kind != FileKind::directory) return fail(std::errc::not_a_directory);
  const bool always = options.coherence.checks_at_open();
  std::optional<Attributes> attributes = always ? std::nullopt : fresh_attributes(directory);
  if (!attributes) {
    // The check of this open; it also is the version that the listing must still have after it was read.
    const Result<Attributes> checked = checked_attributes(directory, nullptr, caller, always);
    if (!checked) return std::unexpected(checked.error());
    attributes = *checked;
  }
  const ContentBegin begin = begin_content(directory);
  // Others' listings only for who may surely read the directory; else the source decides.
  if (!surely_allowed(*attributes, caller, 4)) {
    counters.add(Counter::metadata_misses);
    return std::move(read_listing(directory, begin, caller).stream);
  }
  if (ContentRef listing = contents.find(directory.id, begin.generation)) {
    counters.add(Counter::metadata_hits);
    return stream_of(std::move(listing));
  }
  counters.add(Counter::metadata_misses);
  const ContentFlightKey key{directory.id, begin.generation, begin.last_change};
  const auto place = content_flights.join(key);
  if (!place.leads) {
    if (auto shared = place.flight->wait()) return stream_of(std::move(*shared));
    return std::move(read_listing(directory, begin, caller).stream);
  }
  ListingRead read = read_listing(directory, begin, caller);
  content_flights.end(key, read.verified ? std::optional(std::move(read.verified)) : std::nullopt);
  return std::move(read.stream);
}

ContentBegin CacheFs::Impl::begin_content(CacheNode& node) {
  MutexLock lock(node.mutex);
  NodeState& state = node.state;
  return {.source = state.source,
          .generation = state.generation,
          .last_change = state.last_change,
          .changed = state.attributes.ctime,
          .version_seen_at = state.version_seen_at};
}

CacheFs::Impl::ListingRead CacheFs::Impl::read_listing(CacheNode& directory, const ContentBegin& begin,
                                                       const Caller& caller) {
  const Ticket ticket = begin_request();
  Result<std::unique_ptr<DirectoryStream>> stream = source->open_directory(*begin.source, caller);
  if (!stream) return {.stream = std::move(stream), .verified = nullptr};
  auto listing = std::make_shared<Content>();
  listing->generation = begin.generation;
  uint64_t cost = 0;
  for (;;) {
    Result<std::vector<DirectoryEntry>> batch = (*stream)->next_batch();
    if (!batch) return {.stream = std::unexpected(batch.error()), .verified = nullptr};
    if (batch->empty()) break;
    for (DirectoryEntry& entry : *batch) {
      cost += ContentCache::cost(entry);
      listing->entries.push_back(std::move(entry));
    }
    if (cost > metadata_budget.limit() / 2) {
      return {.stream = std::make_unique<ContinuedStream>(std::move(listing->entries), std::move(*stream)),
              .verified = nullptr};
    }
  }
  listing->entries.shrink_to_fit();
  const Ticket after_ticket = begin_request();
  const Result<Attributes> after = source->attributes(*begin.source, caller);
  if (after) observe(directory, *after, after_ticket, Purpose::verify);
  const bool verified = after && keep_content(directory, listing, begin, ticket);
  return {.stream = stream_of(listing), .verified = verified ? listing : nullptr};
}

/// False if a change came in between: then the content is nothing that others could rely upon.
bool CacheFs::Impl::keep_content(CacheNode& node, const std::shared_ptr<Content>& content,
                                 const ContentBegin& begin, const Ticket& ticket) {
  const auto still_so = [&]() REQUIRES(node.mutex) {
    return node.state.generation == begin.generation && node.state.changes_in_progress == 0 &&
           node.state.last_change == begin.last_change;
  };
  {
    MutexLock lock(node.mutex);
    if (!still_so()) return false;
    node.state.has_content = true;
    if (!settling.settled_fetch(begin.changed, begin.version_seen_at, ticket)) node.state.unsettled = true;
  }
  contents.put(node.id, content);
  // The generation may have ended before it was put there: then it is not found, but should not stay either.
  uint64_t generation = 0;
  {
    MutexLock lock(node.mutex);
    generation = node.state.generation;
  }
  contents.erase(node.id, generation);
  return true;
}

Result<std::string> CacheFs::Impl::read_link(CacheNode& node, const Caller& caller) {
  if (const ContentRef known = fresh_content(node)) {
    counters.add(Counter::metadata_hits);
    return known->target;
  }
  counters.add(Counter::metadata_misses);
  const ContentBegin begin = begin_content(node);
  // A symlink's target never changes while it exists: no version needs to be compared. Where its identity is
  // not stable, it is asked for each time, unless nothing on the source changes.
  const bool may_be_another = !stable_identity && options.coherence.mode != CoherenceMode::immutable;
  if (may_be_another) return source->read_link(*begin.source, caller);
  const ContentFlightKey key{node.id, begin.generation, begin.last_change};
  const auto place = content_flights.join(key);
  if (!place.leads) {
    if (const auto shared = place.flight->wait()) return (*shared)->target;
    return source->read_link(*begin.source, caller);
  }
  const Ticket ticket = begin_request();
  Result<std::string> target = source->read_link(*begin.source, caller);
  std::shared_ptr<Content> content;
  if (target) {
    content = std::make_shared<Content>();
    content->generation = begin.generation;
    content->target = *target;
    if (!keep_content(node, content, begin, ticket)) content = nullptr;
  }
  content_flights.end(key, content ? std::optional<ContentRef>(std::move(content)) : std::nullopt);
  return target;
}

}  // namespace cachefs
