// Opening: which handles need the source, and when.
#include <cerrno>

#include "core/cache_file.h"

namespace cachefs {
namespace {

uint32_t wanted_access(const OpenFlags& flags) {
  if (flags.execute) return 1U;
  return (flags.read ? 4U : 0U) | (flags.write ? 2U : 0U);
}

}  // namespace

std::unique_ptr<File> CacheFs::Impl::make_handle(CacheNode& node, const OpenFlags& flags,
                                                 const Caller& caller, std::unique_ptr<File> source_file,
                                                 uint64_t generation) {
  std::shared_ptr<File> file = std::move(source_file);
  {
    MutexLock lock(node.mutex);
    ++node.state.open_handles;
    if (!stable_identity) node.state.own_files.push_back(file);
  }
  return std::make_unique<CacheFile>(*this, node, flags, caller,
                                     CacheFile::Own{.file = std::move(file), .generation = generation});
}

/// While a name of the file is being removed, or its rights change, the source's file might no longer be
/// opened when it is needed. Who comes before that is seen by it (begin_lockout), who comes during it opens
/// the file now.
std::unique_ptr<File> CacheFs::Impl::make_handle_without_file(CacheNode& node, const OpenFlags& flags,
                                                              const Caller& caller) {
  {
    MutexLock lock(node.mutex);
    NodeState& state = node.state;
    if (state.replaced || (state.lockouts != 0 && usable_reader(node) == nullptr)) return nullptr;
    ++state.open_handles;
    ++state.handles_without_file;
  }
  return std::make_unique<CacheFile>(*this, node, flags, caller, CacheFile::Own{});
}

/// A handle for reading, if nothing needs to be asked: the mode trusts what is known, and the mode bits allow
/// it.
std::optional<OpenedFile> CacheFs::Impl::open_from_cache(CacheNode& node, const OpenFlags& flags,
                                                         const Caller& caller) {
  if (node.kind != FileKind::regular || flags.write || flags.truncate || options.coherence.checks_at_open()) {
    return std::nullopt;
  }
  const auto attributes = fresh_attributes(node);
  if (!attributes || !surely_allowed(node.id, *attributes, caller, wanted_access(flags))) return std::nullopt;
  std::unique_ptr<File> handle = make_handle_without_file(node, flags, caller);
  if (handle == nullptr) return std::nullopt;
  counters.add(Counter::metadata_hits);
  return OpenedFile{std::move(handle), *attributes};
}

Result<OpenedFile> CacheFs::Impl::open(CacheNode& node, const OpenFlags& flags, const Caller& caller) {
  if (flags.truncate) {
    // In two steps, so that the truncation is one of our changes.
    OpenFlags untruncated = flags;
    untruncated.truncate = false;
    Result<OpenedFile> opened = open(node, untruncated, caller);
    if (!opened) return opened;
    const Result<Attributes> after = opened->file->set_attributes({.size = 0}, caller);
    if (!after) return std::unexpected(after.error());
    opened->attributes = *after;
    return opened;
  }
  if (auto opened = open_from_cache(node, flags, caller)) return std::move(*opened);
  bool cached = false;
  const Result<NodeRef> source_node = on_source(node);
  if (!source_node) return std::unexpected(source_node.error());
  {
    MutexLock lock(node.mutex);
    cached = node.kind == FileKind::regular && !flags.write && node.state.has_content &&
             surely_allowed(node.id, node.state.attributes, caller, wanted_access(flags));
  }
  if (cached) {
    // One question settles whether what is cached may be read; the source's file is opened when something is
    // missing.
    const Result<Attributes> attributes = checked_attributes(node, nullptr, caller, true);
    if (!attributes) return std::unexpected(attributes.error());
    if (surely_allowed(node.id, *attributes, caller, wanted_access(flags))) {
      if (auto handle = make_handle_without_file(node, flags, caller))
        return OpenedFile{std::move(handle), *attributes};
    }
  }
  counters.add(Counter::metadata_misses);
  uint64_t certain = 0;
  {
    MutexLock lock(node.mutex);
    certain = node.state.certain_generation();
  }
  const Ticket ticket = begin_request();
  Result<OpenedFile> opened = source->open(**source_node, flags, caller);
  if (!opened) {
    if (opened.error().to_errno() == ESTALE) distrust(node);
    return opened;
  }
  if (found_replaced(node, opened->attributes, caller)) return fail_errno(ESTALE);
  note_allowed(node.id, opened->attributes.ctime, caller, wanted_access(flags), ticket);
  if (!is_check(observe(node, opened->attributes, ticket, Purpose::check))) {
    const Result<Attributes> attributes = check_again(node, opened->file.get(), caller);
    if (!attributes) return std::unexpected(attributes.error());
    opened->attributes = *attributes;
  }
  return OpenedFile{make_handle(node, flags, caller, std::move(opened->file), certain), opened->attributes};
}

std::shared_ptr<File> CacheFs::Impl::usable_reader(CacheNode& node) const {
  NodeState& state = node.state;
  const bool usable = stable_identity || state.reader_generation == state.generation || node.has_no_path();
  return usable ? state.reader : nullptr;
}

/// The check of its open let the handle in, and what is open stays so, whoever may open it now: so the cache
/// opens it for itself. Not where the source decides; nor where the path is the identity, and may lead to
/// another file by now.
Result<OpenedFile> CacheFs::Impl::open_reader(Node& on_source, const Caller& caller,
                                              const OpenFlags& flags) const {
  Result<OpenedFile> opened =
      source->open(on_source, OpenFlags{.read = true, .execute = flags.execute}, caller);
  const bool refused = !opened && (opened.error().is(std::errc::permission_denied) ||
                                   opened.error().is(std::errc::operation_not_permitted));
  if (!refused || source_decides() || !stable_identity) return opened;
  Result<OpenedFile> own = source->open(on_source, OpenFlags{.read = true}, Caller::self());
  return own ? std::move(own) : std::move(opened);
}

Result<std::shared_ptr<File>> CacheFs::Impl::shared_reader(CacheNode& node, const Caller& caller,
                                                           const OpenFlags& flags) {
  constexpr int kLooks = 3;  // for a generation that did not end while the file was opened
  for (int look = 0; look < kLooks; ++look) {
    uint64_t certain = 0;
    {
      MutexLock lock(node.mutex);
      if (auto reader = usable_reader(node)) return reader;
      certain = node.state.certain_generation();
    }
    const Result<NodeRef> source_node = on_source(node);
    if (!source_node) return std::unexpected(source_node.error());
    const Ticket ticket = begin_request();
    Result<OpenedFile> opened = open_reader(**source_node, caller, flags);
    if (!opened) return std::unexpected(opened.error());
    if (found_replaced(node, opened->attributes, caller)) return fail_errno(ESTALE);
    if (!stable_identity) observe(node, opened->attributes, ticket, Purpose::verify);
    std::shared_ptr<File> file = std::move(opened->file);  // closed after the lock, if it is not kept
    MutexLock lock(node.mutex);
    NodeState& state = node.state;
    if (auto reader = usable_reader(node)) return reader;  // another thread was faster
    if (!stable_identity && (certain == 0 || certain != state.generation)) continue;
    if (state.open_handles == 0) return file;  // else it would stay open after the last handle
    std::swap(state.reader, file);
    state.reader_generation = certain;
    return state.reader;
  }
  return fail_errno(ESTALE);  // it changes all the time
}

}  // namespace cachefs
