// The life of a read: blocks from the cache, what is missing from the source, all of one version.
#include <array>
#include <cstring>
#include <vector>

#include "core/cache_file.h"

namespace cachefs {
namespace {

constexpr uint64_t kLargestRequest = kMiB;
/// A file that changes under each fetch is read past the cache after this many tries.
constexpr int kTries = 3;

enum class Progress : uint8_t { done, again, bypass };

/// One attempt at one read: everything that it needs to know, so that its steps stay short.
class ReadAttempt {
 public:
  ReadAttempt(CacheFs::Impl& cache, CacheFile& file, const ContentView& view, uint64_t offset,
              std::span<std::byte> out)
      : cache_(cache), file_(file), node_(file.node()), view_(view), offset_(offset), out_(out) {}

  /// Copies every block that is there; the others are left in missing_.
  void copy_cached();
  [[nodiscard]] bool complete() const { return missing_.empty(); }
  /// Fetches what is missing, or waits for those who do.
  Result<Progress> fetch_missing();
  [[nodiscard]] size_t block_count() const { return static_cast<size_t>(last_block() - first_block() + 1); }
  [[nodiscard]] size_t missing_count() const { return missing_.size(); }

 private:
  /// A block being filled by this attempt.
  struct Filling {
    uint64_t index;
    BlockFill fill;
  };
  /// Adjacent bytes that one request fetches.
  struct Run {
    uint64_t offset = 0;
    uint64_t size = 0;
    std::vector<std::span<std::byte>> buffers;
  };

  [[nodiscard]] uint64_t block_size() const { return cache_.blocks.block_size(); }
  [[nodiscard]] uint64_t first_block() const { return offset_ / block_size(); }
  [[nodiscard]] uint64_t last_block() const { return (offset_ + out_.size() - 1) / block_size(); }
  [[nodiscard]] BlockKey key(uint64_t index) const { return {node_.id, view_.generation, index}; }
  /// What the read wants of that block.
  [[nodiscard]] ByteRange wanted(uint64_t index) const;
  /// How much of that block lies before the end of the file.
  [[nodiscard]] uint32_t content_end(uint64_t index) const;
  [[nodiscard]] std::span<std::byte> out_for(uint64_t index) const;
  void copy_from(const BlockPin& pin, uint64_t index) const;

  Result<Progress> fill_blocks(std::vector<Filling>& fillings);
  std::vector<Run> plan(std::vector<Filling>& fillings) const;
  static void add_to_plan(std::vector<Run>& runs, uint64_t offset, std::span<std::byte> buffer);
  static Result<bool> read_run(File& source, const Run& run);
  /// Makes the filled blocks valid if nothing came in between.
  bool publish(std::vector<Filling>& fillings, const Ticket& ticket);

  CacheFs::Impl& cache_;
  CacheFile& file_;
  CacheNode& node_;
  const ContentView& view_;
  const uint64_t offset_;
  const std::span<std::byte> out_;
  std::vector<uint64_t> missing_;
};

ByteRange ReadAttempt::wanted(uint64_t index) const {
  const uint64_t begin = index * block_size();
  return {static_cast<uint32_t>(std::max(offset_, begin) - begin),
          static_cast<uint32_t>(std::min(offset_ + out_.size(), begin + block_size()) - begin)};
}

uint32_t ReadAttempt::content_end(uint64_t index) const {
  return static_cast<uint32_t>(std::min(view_.size - index * block_size(), block_size()));
}

std::span<std::byte> ReadAttempt::out_for(uint64_t index) const {
  const ByteRange range = wanted(index);
  return out_.subspan(index * block_size() + range.begin - offset_, range.size());
}

void ReadAttempt::copy_from(const BlockPin& pin, uint64_t index) const {
  const std::span<std::byte> to = out_for(index);
  std::memcpy(to.data(), pin.data().data() + wanted(index).begin, to.size());
}

void ReadAttempt::copy_cached() {
  missing_.clear();
  for (uint64_t index = first_block(); index <= last_block(); ++index) {
    if (const BlockPin pin = cache_.blocks.find(key(index), wanted(index))) {
      copy_from(pin, index);
    } else {
      missing_.push_back(index);
    }
  }
}

Result<Progress> ReadAttempt::fetch_missing() {
  using Flights = decltype(cache_.block_flights);
  std::vector<Filling> led;
  std::vector<Flights::Place> others;
  const auto flight_key = [&](uint64_t index) {
    return CacheFs::Impl::BlockFlightKey{node_.id, view_.generation, view_.last_change, index};
  };
  // Lead what nobody fetches yet, and only then wait for the others: nobody waits while somebody waits for
  // him.
  for (const uint64_t index : missing_) {
    auto place = cache_.block_flights.join(flight_key(index));
    if (place.leads) {
      led.push_back({index, {}});
    } else {
      others.push_back(std::move(place));
    }
  }
  Result<Progress> progress = Progress::again;
  if (!led.empty()) progress = fill_blocks(led);
  for (const Filling& filling : led) {
    cache_.block_flights.end(flight_key(filling.index),
                             progress ? std::nullopt : std::optional(progress.error()));
  }
  for (const auto& other : others) {
    if (const auto error = other.flight->wait(); error && progress) progress = std::unexpected(*error);
  }
  if (!progress || others.empty()) return progress;
  return Progress::again;
}

Result<Progress> ReadAttempt::fill_blocks(std::vector<Filling>& fillings) {
  for (Filling& filling : fillings) {
    filling.fill =
        cache_.blocks.begin_fill(key(filling.index), wanted(filling.index), content_end(filling.index));
  }
  const auto give_up = [&] {
    for (Filling& filling : fillings) cache_.blocks.abandon_fill(filling.fill);
  };
  const Result<std::shared_ptr<File>> source = file_.source_file();
  if (!source) {
    give_up();
    return std::unexpected(source.error());
  }
  const Ticket ticket = cache_.begin_request();
  bool complete = true;
  for (const Run& run : plan(fillings)) {
    const Result<bool> whole = read_run(**source, run);
    if (!whole) {
      give_up();
      return std::unexpected(whole.error());
    }
    complete = complete && *whole;
  }
  // The version was seen before the first byte was read. If it is the same after the last, all bytes are of
  // it.
  const Ticket after_ticket = cache_.begin_request();
  const Result<Attributes> after = (*source)->attributes();
  if (!after) {
    give_up();
    return std::unexpected(after.error());
  }
  const bool same = after->version == view_.version;
  cache_.observe(node_, *after, after_ticket, Purpose::verify);
  if (!same || !complete || !publish(fillings, ticket)) {
    give_up();
    return Progress::again;
  }
  for (const Filling& filling : fillings) {
    if (filling.fill.pin) copy_from(filling.fill.pin, filling.index);
  }
  return Progress::done;
}

void ReadAttempt::add_to_plan(std::vector<Run>& runs, uint64_t offset, std::span<std::byte> buffer) {
  if (runs.empty() || runs.back().offset + runs.back().size != offset ||
      runs.back().size + buffer.size() > kLargestRequest) {
    runs.push_back({.offset = offset, .size = 0, .buffers = {}});
  }
  runs.back().size += buffer.size();
  runs.back().buffers.push_back(buffer);
}

/// Requests for all that is missing, adjacent blocks in one. What has no room in the cache goes straight to
/// the reader.
std::vector<ReadAttempt::Run> ReadAttempt::plan(std::vector<Filling>& fillings) const {
  std::vector<Run> runs;
  for (Filling& filling : fillings) {
    const uint64_t begin = filling.index * block_size();
    if (!filling.fill.pin) {
      add_to_plan(runs, begin + wanted(filling.index).begin, out_for(filling.index));
      continue;
    }
    for (const ByteRange& range : filling.fill.missing) {
      add_to_plan(runs, begin + range.begin, filling.fill.pin.data().subspan(range.begin, range.size()));
    }
  }
  return runs;
}

/// False if the file ended before: it is shorter than its attributes said.
Result<bool> ReadAttempt::read_run(File& source, const Run& run) {
  std::vector<std::span<std::byte>> buffers = run.buffers;
  uint64_t done = 0;
  while (done < run.size) {
    const Result<size_t> count = source.read_at(run.offset + done, buffers);
    if (!count) return std::unexpected(count.error());
    if (*count == 0) return false;
    done += *count;
    size_t skip = *count;
    while (!buffers.empty() && skip >= buffers.front().size()) {
      skip -= buffers.front().size();
      buffers.erase(buffers.begin());
    }
    if (!buffers.empty()) buffers.front() = buffers.front().subspan(skip);
  }
  return true;
}

bool ReadAttempt::publish(std::vector<Filling>& fillings, const Ticket& ticket) {
  for (Filling& filling : fillings) {
    if (!filling.fill.pin) continue;
    // The rest of the last unit lies behind the end of the file.
    const uint32_t end = content_end(filling.index);
    const std::span<std::byte> data = filling.fill.pin.data();
    const size_t unit_end = std::min<size_t>(data.size(), (end + kUnit - 1) / kUnit * kUnit);
    for (const ByteRange& range : filling.fill.missing) {
      if (range.end == end) std::memset(data.data() + end, 0, unit_end - end);
    }
  }
  MutexLock lock(node_.mutex);
  NodeState& state = node_.state;
  if (state.generation != view_.generation || state.changes_in_progress != 0 ||
      state.last_change >= ticket.sequence) {
    return false;
  }
  for (Filling& filling : fillings) {
    if (!filling.fill.pin) {
      cache_.counters.add(Counter::bypasses);
      continue;
    }
    cache_.blocks.finish_fill(filling.fill, filling.fill.missing);
  }
  state.has_content = true;  // what passed by uncached too: layers above may have kept it
  if (!cache_.settling.settled_fetch(view_.changed, view_.version_seen_at, ticket)) state.unsettled = true;
  return true;
}

/// Reads past the cache, the bytes that the source gives now. The cache then learns of their version, so that
/// no later read is given older ones.
Result<size_t> read_uncached(CacheFs::Impl& cache, CacheFile& file, uint64_t offset,
                             std::span<std::byte> out) {
  const Result<std::shared_ptr<File>> source = file.source_file();
  if (!source) return std::unexpected(source.error());
  size_t done = 0;
  while (done < out.size()) {
    const Result<size_t> count = (*source)->read_at(offset + done, out.subspan(done));
    if (!count) return count;
    if (*count == 0) break;
    done += *count;
  }
  const Ticket ticket = cache.begin_request();
  const Result<Attributes> after = (*source)->attributes();
  if (!after) return std::unexpected(after.error());
  cache.observe(file.node(), *after, ticket, Purpose::verify);
  return done;
}

ContentView view_of(CacheNode& node) {
  MutexLock lock(node.mutex);
  NodeState& state = node.state;
  ContentView view;
  view.generation = state.generation;
  view.last_change = state.last_change;
  view.size = state.attributes.size;
  view.version = state.attributes.version;
  view.changed = state.attributes.ctime;
  view.version_seen_at = state.version_seen_at;
  return view;
}

}  // namespace

Result<size_t> CacheFs::Impl::read(CacheFile& file, uint64_t offset, std::span<std::byte> out) {
  if (out.empty()) return size_t{0};
  CacheNode& node = file.node();
  bool counted = false;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    ContentView view = view_of(node);
    // In mode ttl the data of an open file is checked like its attributes; else the check was made at the
    // open. Where the read ends is asked again once the attributes are too old, so that a growing file can be
    // followed.
    const bool needs_check = !options.coherence.checks_at_open() || offset + out.size() > view.size;
    if (needs_check && !fresh_attributes(node)) {
      const Result<Attributes> attributes =
          checked_attributes(node, file.source_file_if_open().get(), file.opener(), false);
      if (!attributes) return std::unexpected(attributes.error());
      view = view_of(node);
    }
    if (offset >= view.size) return size_t{0};
    const std::span<std::byte> within = out.first(std::min<uint64_t>(out.size(), view.size - offset));
    ReadAttempt read(*this, file, view, offset, within);
    read.copy_cached();
    if (!std::exchange(counted, true)) {
      counters.add(Counter::hits, read.block_count() - read.missing_count());
      counters.add(Counter::misses, read.missing_count());
    }
    // What was copied is of one version only if no change of ours or of others began a new generation
    // meanwhile.
    while (!read.complete()) {
      const Result<Progress> progress = read.fetch_missing();
      if (!progress) return std::unexpected(progress.error());
      if (*progress == Progress::done) return within.size();
      const ContentView now = view_of(node);
      if (now.generation != view.generation || now.last_change != view.last_change) break;
      if (++attempt >= kTries) break;
      read.copy_cached();
    }
    if (read.complete()) return within.size();
  }
  counters.add(Counter::bypasses);
  return read_uncached(*this, file, offset, out);
}

std::optional<size_t> CacheFs::Impl::try_read(CacheFile& file, uint64_t offset, std::span<std::byte> out) {
  if (!file.flags().read) return std::nullopt;
  CacheNode& node = file.node();
  {
    MutexLock lock(node.mutex);
    if (!node.state.has_content) return std::nullopt;
  }
  const ContentView view = view_of(node);
  const bool needs_check = !options.coherence.checks_at_open() || offset + out.size() > view.size;
  if (needs_check && !fresh_attributes(node)) return std::nullopt;
  if (offset >= view.size) return size_t{0};
  const std::span<std::byte> within = out.first(std::min<uint64_t>(out.size(), view.size - offset));
  if (within.empty()) return size_t{0};
  ReadAttempt read(*this, file, view, offset, within);
  read.copy_cached();
  if (!read.complete()) return std::nullopt;
  counters.add(Counter::hits, read.block_count());
  return within.size();
}

}  // namespace cachefs
