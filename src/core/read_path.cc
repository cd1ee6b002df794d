// The life of a read: blocks from the cache, what is missing from the source, all of one version.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <memory>
#include <vector>

#include "base/request_deadline.h"
#include "core/cache_file.h"
#include "core/file_turn.h"

namespace cachefs {
namespace {

constexpr uint64_t kLargestRequest = kMiB;
/// A file that changes under each fetch is read past the cache after this many tries.
constexpr int kTries = 3;
/// Who finds his blocks gone again after waiting for others this often fetches them past all others.
constexpr int kWaits = 16;

enum class Progress : uint8_t {
  done,
  waited,  ///< for others, who may have brought what is missing
  again,   ///< what was fetched cannot be used: the file changed meanwhile
};

/// The file has no name any more, and the source knows names alone: an open file can still be read.
bool is_gone(const Error& error) {
  return error.is(std::errc::no_such_file_or_directory) || error.to_errno() == ESTALE;
}

/// It cannot be opened once more, or not by this caller.
bool cannot_be_reopened(const Error& error) {
  return is_gone(error) || error.is(std::errc::permission_denied) ||
         error.is(std::errc::operation_not_permitted);
}

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
  /// From now on without regard to others.
  void fetch_alone() { alone_ = true; }
  [[nodiscard]] size_t block_count() const { return static_cast<size_t>(last_block() - first_block() + 1); }
  [[nodiscard]] size_t missing_count() const { return missing_.size(); }

 private:
  /// A part of a block being filled by this attempt.
  struct Filling {
    uint64_t index;
    ByteRange led;     ///< as the flight knows it: whole units
    ByteRange wanted;  ///< what the reader wants of it
    BlockFill fill{};
  };
  using Awaited = std::vector<std::shared_ptr<Flight<FetchEnd>>>;
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
  [[nodiscard]] std::span<std::byte> out_for(uint64_t index, ByteRange range) const;
  void copy_from(const BlockPin& pin, uint64_t index, ByteRange range) const;
  [[nodiscard]] BlockFlightKey flight_key(uint64_t index) const { return {key(index), view_.last_change}; }

  /// What this attempt shall fetch of the missing blocks; the rest is added to `others`.
  std::vector<Filling> take_share(Awaited& others) const;
  [[nodiscard]] Filling filling_of(uint64_t index, ByteRange led) const;
  void end_flights(const std::vector<Filling>& led, const Result<Progress>& progress) const;
  Result<Progress> wait_for(const Awaited& others);
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
  bool alone_ = false;
  bool failed_alone_ = false;  ///< the error is of this reader, and says nothing to others
};

ByteRange ReadAttempt::wanted(uint64_t index) const {
  const uint64_t begin = index * block_size();
  return {static_cast<uint32_t>(std::max(offset_, begin) - begin),
          static_cast<uint32_t>(std::min(offset_ + out_.size(), begin + block_size()) - begin)};
}

uint32_t ReadAttempt::content_end(uint64_t index) const {
  return static_cast<uint32_t>(std::min(view_.size - index * block_size(), block_size()));
}

std::span<std::byte> ReadAttempt::out_for(uint64_t index, ByteRange range) const {
  return out_.subspan(index * block_size() + range.begin - offset_, range.size());
}

void ReadAttempt::copy_from(const BlockPin& pin, uint64_t index, ByteRange range) const {
  const std::span<std::byte> to = out_for(index, range);
  std::memcpy(to.data(), pin.data().data() + range.begin, to.size());
}

void ReadAttempt::copy_cached() {
  missing_.clear();
  for (uint64_t index = first_block(); index <= last_block(); ++index) {
    const ByteRange range = wanted(index);
    if (const BlockPin pin = cache_.blocks.find(key(index), range)) {
      copy_from(pin, index, range);
    } else {
      missing_.push_back(index);
    }
  }
}

Result<Progress> ReadAttempt::fetch_missing() {
  // Lead what nobody fetches yet, and only then wait for the others: nobody waits while somebody waits for
  // him.
  Awaited others;
  std::vector<Filling> led = take_share(others);
  Result<Progress> progress = led.empty() ? Progress::waited : fill_blocks(led);
  if (!alone_) end_flights(led, progress);
  if (others.empty()) return progress;
  const Result<Progress> waited = wait_for(others);
  if (!progress || *progress == Progress::again) return progress;
  return waited;
}

std::vector<ReadAttempt::Filling> ReadAttempt::take_share(Awaited& others) const {
  std::vector<Filling> led;
  for (const uint64_t index : missing_) {
    if (alone_) {
      led.push_back(filling_of(index, wanted(index)));
      continue;
    }
    BlockFlights::Share share = cache_.block_flights.join(flight_key(index), wanted(index));
    for (const ByteRange& range : share.led) led.push_back(filling_of(index, range));
    std::ranges::move(share.awaited, std::back_inserter(others));
  }
  return led;
}

ReadAttempt::Filling ReadAttempt::filling_of(uint64_t index, ByteRange led) const {
  const ByteRange all = wanted(index);
  return {.index = index, .led = led, .wanted = {std::max(led.begin, all.begin), std::min(led.end, all.end)}};
}

void ReadAttempt::end_flights(const std::vector<Filling>& led, const Result<Progress>& progress) const {
  for (const Filling& filling : led) {
    FetchEnd end{.kept = filling.fill.kept, .error = {}};
    if (!progress && !failed_alone_) end.error = progress.error();
    cache_.block_flights.end(flight_key(filling.index), filling.led, std::move(end));
  }
}

/// Of what others could not keep, they have nothing to share: everyone fetches it for himself.
Result<Progress> ReadAttempt::wait_for(const Awaited& others) {
  Result<Progress> progress = Progress::waited;
  for (const auto& flight : others) {
    const auto end = flight->wait();
    if (end && end->error && progress) progress = std::unexpected(*end->error);
    if (!end || (!end->kept && !end->error)) alone_ = true;
  }
  return progress;
}

Result<Progress> ReadAttempt::fill_blocks(std::vector<Filling>& fillings) {
  for (Filling& filling : fillings) {
    filling.fill = cache_.blocks.begin_fill(key(filling.index), filling.wanted, content_end(filling.index),
                                            cache_.lifetime_of(node_));
  }
  const auto give_up = [&] {
    for (Filling& filling : fillings) cache_.blocks.abandon_fill(filling.fill);
  };
  const Result<std::shared_ptr<File>> source = file_.file_to_fetch(view_.generation);
  if (!source) {
    failed_alone_ = true;
    give_up();
    // What is open can still be read past the cache.
    if (file_.source_file_if_open() != nullptr && cannot_be_reopened(source.error())) return Progress::again;
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
  // it; else a new generation begins, and publish() refuses.
  const Ticket after_ticket = cache_.begin_request();
  const Result<Attributes> after = (*source)->attributes();
  if (!after) {
    give_up();
    if (file_.source_file_if_open() != nullptr && is_gone(after.error())) return Progress::again;
    return std::unexpected(after.error());
  }
  cache_.observe(node_, *after, after_ticket, Purpose::verify);
  if (!complete || !publish(fillings, ticket)) {
    give_up();
    return Progress::again;
  }
  for (const Filling& filling : fillings) {
    if (filling.fill.pin) copy_from(filling.fill.pin, filling.index, filling.wanted);
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
      add_to_plan(runs, begin + filling.wanted.begin, out_for(filling.index, filling.wanted));
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
  // Since the view was taken: what was copied before the fetch is of the same content.
  if (state.generation != view_.generation || state.changes_in_progress != 0 ||
      state.last_change != view_.last_change) {
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

/// Though it is not cached, layers above may keep it: a change of ours must not carry it over unseen.
void note_read(CacheFs::Impl& cache, CacheNode& node, const Ticket& asked) {
  MutexLock lock(node.mutex);
  NodeState& state = node.state;
  state.has_content = true;
  if (!cache.settling.settled_fetch(state.attributes.ctime, state.version_seen_at, asked))
    state.unsettled = true;
}

/// Bytes that were read past the cache.
struct PassedBy {
  size_t count = 0;
  std::optional<Version> version{};  ///< after the read; nullopt: the file has no name any more
};

/// Reads past the cache, the bytes that the source gives now. The cache then learns of their version, so that
/// no later read is given older ones.
Result<PassedBy> read_uncached(CacheFs::Impl& cache, CacheFile& file, uint64_t offset,
                               std::span<std::byte> out) {
  const Result<std::shared_ptr<File>> source = file.file_to_pass_by();
  if (!source) return std::unexpected(source.error());
  const Ticket asked = cache.begin_request();
  size_t done = 0;
  while (done < out.size()) {
    const Result<size_t> count = (*source)->read_at(offset + done, out.subspan(done));
    if (!count) return std::unexpected(count.error());
    if (*count == 0) break;
    done += *count;
  }
  const Ticket ticket = cache.begin_request();
  const Result<Attributes> after = (*source)->attributes();
  if (after) {
    cache.observe(file.node(), *after, ticket, Purpose::verify);
    note_read(cache, file.node(), asked);
  } else if (is_gone(after.error())) {
    if (CacheFs::Impl::view_of(file.node()).has_content) cache.distrust(file.node());
  } else {
    return std::unexpected(after.error());
  }
  return PassedBy{.count = done, .version = after ? std::optional(after->version) : std::nullopt};
}

Result<size_t> count_of(const Result<PassedBy>& read) {
  return read ? Result<size_t>(read->count) : std::unexpected(read.error());
}

/// A read past the cache beside a change of ours, from before it until after it. Nobody may later be given
/// older bytes than it has brought.
class ReadBesideChange {
 public:
  ReadBesideChange(CacheNode& node, uint64_t begin, uint64_t end) : node_(node), begin_(begin), end_(end) {
    MutexLock lock(node_.mutex);
    before_ = node_.state.attributes.version;
    changes_these_ = node_.turns.changes(begin_, end_);
  }

  /// Bumps the generation if what is cached may be older: a change of ours is of the same bytes, or the file
  /// is of another version than before, and whose change that shows cannot be told.
  bool end(const PassedBy& read) {
    MutexLock lock(node_.mutex);
    NodeState& state = node_.state;
    const bool is_another = !read.version || !(*read.version == before_);
    if (!state.has_content || !(is_another || changes_these_ || node_.turns.changes(begin_, end_)))
      return false;
    state.bump_generation();
    return true;
  }

 private:
  CacheNode& node_;
  const uint64_t begin_;
  const uint64_t end_;
  Version before_;
  bool changes_these_ = false;
};

/// What is left until then is for the read past the cache.
FileTurn::Time half_way_to(FileTurn::Time deadline) {
  if (deadline == FileTurn::Time::max()) return deadline;
  const FileTurn::Time now = std::chrono::steady_clock::now();
  return now + (deadline - now) / 2;
}

}  // namespace

ContentView CacheFs::Impl::view_of(CacheNode& node) {
  MutexLock lock(node.mutex);
  NodeState& state = node.state;
  return {.generation = state.generation,
          .last_change = state.last_change,
          .edits = node.edits.load(std::memory_order_acquire),
          .size = state.attributes.size,
          .changed = state.attributes.ctime,
          .version_seen_at = state.version_seen_at,
          .checked_at = state.known ? state.checked_at : MonotonicTime::min(),
          .has_content = state.has_content};
}

/// In mode ttl the data of an open file is checked like its attributes; else the check was made at the open.
/// Where the read ends is asked again once the attributes are too old, so that a growing file can be
/// followed.
bool CacheFs::Impl::must_check(const ContentView& view, uint64_t read_end) const {
  if (options.coherence.checks_at_open() && read_end <= view.size) return false;
  return remaining(view.checked_at, options.coherence.metadata_ttl()).count() <= 0;
}

/// Whether all that was copied since the view was taken is of one content: no change of ours went into the
/// blocks meanwhile. (A foreign one gives another generation.)
bool CacheFs::Impl::still_as_viewed(const CacheNode& node, const ContentView& view) {
  return view.edits % 2 == 0 && node.edits.load(std::memory_order_acquire) == view.edits;
}

Result<size_t> CacheFs::Impl::read(CacheFile& file, uint64_t offset, std::span<std::byte> out) {
  if (out.empty()) return size_t{0};
  if (auto read = read_cached(file, offset, out, ReadRound::first)) return std::move(*read);
  const FileTurn::Time deadline = FileTurn::deadline_of(*this, &TimeLimits::read);
  const RequestDeadline limited(deadline);
  {
    // A change came in between. While it is under way nothing can be kept: let no further one of ours begin.
    // (Who fetches for others never waits for that, so that it is no circle.)
    const FileTurn no_change(*this, file.node(), FileTurn::Kind::no_change, half_way_to(deadline));
    if (!no_change.refused()) {
      if (auto read = read_cached(file, offset, out, ReadRound::undisturbed)) return std::move(*read);
      counters.add(Counter::bypasses);
      return count_of(read_uncached(*this, file, offset, out));
    }
  }
  counters.add(Counter::bypasses);
  ReadBesideChange beside(file.node(), offset, offset + out.size());
  const Result<PassedBy> read = read_uncached(*this, file, offset, out);
  if (read && beside.end(*read)) forget_content(file.node(), Cause::foreign);
  return count_of(read);
}

/// Through the blocks, fetching what is missing. nullopt: each of the tries met a change.
std::optional<Result<size_t>> CacheFs::Impl::read_cached(CacheFile& file, uint64_t offset,
                                                         std::span<std::byte> out, ReadRound round) {
  CacheNode& node = file.node();
  const int tries = round == ReadRound::first ? 1 : kTries - 1;
  for (int attempt = 0; attempt < tries; ++attempt) {
    ContentView view = view_of(node);
    if (must_check(view, offset + out.size())) {
      const Result<Attributes> attributes =
          checked_attributes(node, file.source_file_if_open().get(), file.opener(), false);
      if (!attributes && file.source_file_if_open() != nullptr && is_gone(attributes.error()))
        return std::nullopt;
      if (!attributes) return std::unexpected(attributes.error());
      view = view_of(node);
    }
    if (offset >= view.size) return size_t{0};
    const std::span<std::byte> within = out.first(std::min<uint64_t>(out.size(), view.size - offset));
    ReadAttempt read(*this, file, view, offset, within);
    read.copy_cached();
    if (round == ReadRound::first) {
      counters.add(Counter::hits, read.block_count() - read.missing_count());
      counters.add(Counter::misses, read.missing_count());
    }
    for (int waits = 0; !read.complete();) {
      const Result<Progress> progress = read.fetch_missing();
      if (!progress) return std::unexpected(progress.error());
      if (*progress == Progress::done) return within.size();
      const ContentView now = view_of(node);
      if (now.generation != view.generation || now.last_change != view.last_change) break;
      if (*progress == Progress::again && ++attempt >= tries) break;
      if (*progress == Progress::waited && ++waits >= kWaits) read.fetch_alone();
      read.copy_cached();
    }
    if (!read.complete()) continue;
    if (still_as_viewed(node, view)) return within.size();
    if (const auto count = read_between_edits(file, offset, out)) return *count;
  }
  return std::nullopt;
}

/// The same once more while no change of ours can go into the blocks; nullopt if not all is there.
std::optional<size_t> CacheFs::Impl::read_between_edits(CacheFile& file, uint64_t offset,
                                                        std::span<std::byte> out) {
  CacheNode& node = file.node();
  MutexLock no_edit(node.edit_mutex);
  const ContentView view = view_of(node);
  if (offset >= view.size) return size_t{0};
  const std::span<std::byte> within = out.first(std::min<uint64_t>(out.size(), view.size - offset));
  ReadAttempt read(*this, file, view, offset, within);
  read.copy_cached();
  if (!read.complete()) return std::nullopt;
  return within.size();
}

std::optional<size_t> CacheFs::Impl::try_read(CacheFile& file, uint64_t offset, std::span<std::byte> out) {
  if (!file.flags().read) return std::nullopt;
  CacheNode& node = file.node();
  const ContentView view = view_of(node);
  if (!view.has_content || must_check(view, offset + out.size())) return std::nullopt;
  if (offset >= view.size) return size_t{0};
  const std::span<std::byte> within = out.first(std::min<uint64_t>(out.size(), view.size - offset));
  if (within.empty()) return size_t{0};
  ReadAttempt read(*this, file, view, offset, within);
  read.copy_cached();
  if (!read.complete() || !still_as_viewed(node, view)) return std::nullopt;
  counters.add(Counter::hits, read.block_count());
  return within.size();
}

}  // namespace cachefs
