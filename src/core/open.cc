// Opening: which handles need the source, and when.
#include "core/cache_file.h"

namespace cachefs {
namespace {

uint32_t wanted_access(const OpenFlags& flags) { return (flags.read ? 4U : 0U) | (flags.write ? 2U : 0U); }

}  // namespace

std::unique_ptr<File> CacheFs::Impl::make_handle(CacheNode& node, const OpenFlags& flags,
                                                 const Caller& caller, std::unique_ptr<File> source_file) {
  return std::make_unique<CacheFile>(*this, node, flags, caller, std::move(source_file));
}

/// A handle for reading, if nothing needs to be asked: the mode trusts what is known, and the mode bits allow
/// it.
std::optional<OpenedFile> CacheFs::Impl::open_from_cache(CacheNode& node, const OpenFlags& flags,
                                                         const Caller& caller) {
  if (node.kind != FileKind::regular || flags.write || flags.truncate || options.coherence.checks_at_open()) {
    return std::nullopt;
  }
  const auto attributes = fresh_attributes(node);
  if (!attributes || !surely_allowed(*attributes, caller, wanted_access(flags))) return std::nullopt;
  counters.add(Counter::metadata_hits);
  return OpenedFile{make_handle(node, flags, caller, nullptr), *attributes};
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
  NodeRef source_node;
  {
    MutexLock lock(node.mutex);
    source_node = node.state.source;
    cached = node.kind == FileKind::regular && !flags.write && node.state.has_content &&
             surely_allowed(node.state.attributes, caller, wanted_access(flags));
  }
  if (cached) {
    // One question settles whether what is cached may be read; the source's file is opened when something is
    // missing.
    const Result<Attributes> attributes = checked_attributes(node, nullptr, caller, true);
    if (!attributes) return std::unexpected(attributes.error());
    if (surely_allowed(*attributes, caller, wanted_access(flags))) {
      return OpenedFile{make_handle(node, flags, caller, nullptr), *attributes};
    }
  }
  counters.add(Counter::metadata_misses);
  const Ticket ticket = begin_request();
  Result<OpenedFile> opened = source->open(*source_node, flags, caller);
  if (!opened) {
    if (opened.error().to_errno() == ESTALE) mark_gone(node);
    return opened;
  }
  if (observe(node, opened->attributes, ticket, Purpose::check) == Observed::overlapped) {
    const Result<Attributes> attributes = check_after_change(node, opened->file.get(), caller);
    if (!attributes) return std::unexpected(attributes.error());
    opened->attributes = *attributes;
  }
  return OpenedFile{make_handle(node, flags, caller, std::move(opened->file)), opened->attributes};
}

Result<std::shared_ptr<File>> CacheFs::Impl::shared_reader(CacheNode& node, const Caller& caller) {
  NodeRef source_node;
  {
    MutexLock lock(node.mutex);
    if (node.state.reader != nullptr) return node.state.reader;
    source_node = node.state.source;
  }
  Result<OpenedFile> opened = source->open(*source_node, OpenFlags{.read = true}, caller);
  if (!opened) return std::unexpected(opened.error());
  std::shared_ptr<File> file =
      std::move(opened->file);  // if another thread was faster, closed after the lock
  MutexLock lock(node.mutex);
  if (node.state.reader == nullptr) node.state.reader = std::move(file);
  return node.state.reader;
}

}  // namespace cachefs
