// Contents of directories and symlinks: cached whole as of one version, or as the source gives them.
#include <algorithm>
#include <functional>
#include <utility>

#include "core/cache_impl.h"

namespace cachefs {
namespace {

constexpr size_t kBatch = 512;
/// What an open directory may hold of a listing that no limit counts.
constexpr uint64_t kUncountedMax = 1024 * 1024;

/// A stream that knows of which generation its entries are; nullopt: that is not sure.
class CacheStream : public DirectoryStream {
 public:
  explicit CacheStream(std::optional<uint64_t> generation) : generation_(generation) {}
  [[nodiscard]] std::optional<uint64_t> generation() const { return generation_; }

 private:
  const std::optional<uint64_t> generation_;
};

/// Streams a listing; it stays the one that it was when the directory was opened, whether it is still cached
/// or not. Cookies are the source's.
class ListingStream final : public CacheStream {
 public:
  /// `open_source`: opens the directory on the source.
  using OpenSource = std::function<Result<std::unique_ptr<DirectoryStream>>()>;

  ListingStream(ContentRef listing, std::optional<uint64_t> generation, OpenSource open_source)
      : CacheStream(generation), listing_(std::move(listing)), open_source_(std::move(open_source)) {}

  Result<std::vector<DirectoryEntry>> next_batch() override {
    if (elsewhere_ != nullptr) return elsewhere_->next_batch();
    const std::vector<DirectoryEntry>& entries = listing_->entries;
    const size_t end = std::min(entries.size(), next_ + kBatch);
    std::vector<DirectoryEntry> batch(entries.begin() + static_cast<ptrdiff_t>(next_),
                                      entries.begin() + static_cast<ptrdiff_t>(end));
    next_ = end;
    return batch;
  }

  /// A cookie that the listing does not have is of another one, or of a name that is gone: only the source
  /// knows where that was.
  Result<void> seek(uint64_t cookie) override {
    const auto& entries = listing_->entries;
    const auto found = std::ranges::find(entries, cookie, &DirectoryEntry::cookie);
    if (cookie == 0 || found != entries.end()) {
      elsewhere_ = nullptr;
      next_ = cookie == 0 ? 0 : static_cast<size_t>(found - entries.begin()) + 1;
      return {};
    }
    Result<std::unique_ptr<DirectoryStream>> opened = open_source_();
    if (!opened) return std::unexpected(std::move(opened.error()));
    elsewhere_ = std::move(*opened);
    return elsewhere_->seek(cookie);
  }

 private:
  const ContentRef listing_;
  const OpenSource open_source_;
  std::unique_ptr<DirectoryStream> elsewhere_;
  size_t next_ = 0;
};

/// What is not held here, as the source gives it.
class UncachedStream final : public CacheStream {
 public:
  explicit UncachedStream(std::unique_ptr<DirectoryStream> source)
      : CacheStream(std::nullopt), source_(std::move(source)) {}

  Result<std::vector<DirectoryEntry>> next_batch() override { return source_->next_batch(); }
  Result<void> seek(uint64_t cookie) override { return source_->seek(cookie); }

 private:
  const std::unique_ptr<DirectoryStream> source_;
};

Result<std::unique_ptr<DirectoryStream>> from_the_start(std::unique_ptr<DirectoryStream> source) {
  if (const Result<void> sought = source->seek(0); !sought) return std::unexpected(sought.error());
  return std::make_unique<UncachedStream>(std::move(source));
}

}  // namespace

std::unique_ptr<DirectoryStream> CacheFs::Impl::stream_of(CacheNode& directory, ContentRef listing,
                                                          const Caller& caller, ListingState state) {
  const auto generation = state == ListingState::verified ? std::optional(listing->generation) : std::nullopt;
  return std::make_unique<ListingStream>(std::move(listing), generation,
                                         [this, node = NodeRef(&directory), caller] {
                                           return source->open_directory(*node_of(*node).source(), caller);
                                         });
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
  if (options.coherence.checks_at_open() || source_decides()) return std::nullopt;
  ContentRef listing = fresh_content(directory);
  if (listing == nullptr) return std::nullopt;
  counters.add(Counter::metadata_hits);
  return stream_of(directory, std::move(listing), Caller::self());
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
  if (!surely_allowed(directory.id, *attributes, caller, 4)) {
    counters.add(Counter::metadata_misses);
    const Ticket ticket = begin_request();
    ListingRead read = read_listing(directory, begin, caller);
    if (read.stream) note_allowed(directory.id, attributes->ctime, caller, 4, ticket);
    return std::move(read.stream);
  }
  if (ContentRef listing = contents.find(directory.id, begin.generation)) {
    counters.add(Counter::metadata_hits);
    return stream_of(directory, std::move(listing), caller);
  }
  counters.add(Counter::metadata_misses);
  if (begin.too_large) return open_uncached(begin, caller);
  const ContentFlightKey key{directory.id, begin.generation, begin.last_change};
  const auto place = content_flights.join(key);
  if (!place.leads) {
    if (auto shared = place.flight->wait()) return stream_of(directory, std::move(*shared), caller);
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
          .version_seen_at = state.version_seen_at,
          .too_large = state.too_large_in == state.generation};
}

/// Of a directory that is known to be too large to be held here.
Result<std::unique_ptr<DirectoryStream>> CacheFs::Impl::open_uncached(const ContentBegin& begin,
                                                                      const Caller& caller) const {
  Result<std::unique_ptr<DirectoryStream>> stream = source->open_directory(*begin.source, caller);
  if (!stream) return stream;
  return std::make_unique<UncachedStream>(std::move(*stream));
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
      // Read twice up to here, rather than held by each handle: those are many, and no limit counts them.
      listing = nullptr;
      note_too_large(directory, begin.generation);
      return {.stream = from_the_start(std::move(*stream)), .verified = nullptr};
    }
  }
  listing->entries.shrink_to_fit();
  const Ticket after_ticket = begin_request();
  const Result<Attributes> after = source->attributes(*begin.source, caller);
  if (after) observe(directory, *after, after_ticket, Purpose::verify);
  const bool verified = after && keep_content(directory, listing, begin, ticket);
  const bool counted = static_cast<bool>(listing->memory);
  if (!counted && cost > kUncountedMax)
    return {.stream = from_the_start(std::move(*stream)), .verified = nullptr};
  // What is not noted as content here, a change of ours may carry over to a version that it is not of.
  if (!verified)
    return {.stream = stream_of(directory, listing, caller, ListingState::unverified), .verified = nullptr};
  return {.stream = stream_of(directory, listing, caller), .verified = listing};
}

void CacheFs::Impl::note_too_large(CacheNode& directory, uint64_t generation) {
  MutexLock lock(directory.mutex);
  directory.state.too_large_in = generation;
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
  Result<std::string> target = read_link_anew(node, caller);
  if (target) return target;
  const ContentRef stale = stale_content(node, target.error());
  return stale ? Result<std::string>(stale->target) : target;
}

Result<std::string> CacheFs::Impl::read_link_anew(CacheNode& node, const Caller& caller) {
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
