// Forgetting on request: by path, by prefix, everything. Nothing here asks the source.
#include <vector>

#include "core/cache_impl.h"

namespace cachefs {
namespace {

std::vector<std::string_view> components(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, slash);
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else if (!part.empty() && part != ".") {
      parts.push_back(part);
    }
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return parts;
}

}  // namespace

std::optional<CacheFs::Impl::KnownPath> CacheFs::Impl::resolve_known(std::string_view path) {
  KnownPath at{.directory = {}, .name = {}, .node = root};
  for (const std::string_view part : components(path)) {
    if (!at.node) return std::nullopt;  // the file of the directory before is forgotten
    const auto known = names.find(node_of(*at.node).id, part);
    if (!known) return std::nullopt;
    NodeRef node = nodes.find(known->file);
    at = {.directory = std::move(at.node), .name = std::string(part), .node = std::move(node)};
  }
  return at;
}

size_t CacheFs::Impl::invalidate_node(const KnownPath& at, bool below) {
  if (at.directory) {
    {
      MutexLock lock(node_of(*at.directory).mutex);
      node_of(*at.directory).state.last_change = next_sequence();  // look-ups under way keep no name
    }
    names.erase(node_of(*at.directory).id, at.name);
    tell_listener([&](CacheListener& listener) { listener.on_name_changed(at.directory, at.name); });
  }
  if (!at.node) return 0;
  CacheNode& node = node_of(*at.node);
  forget_node(node);  // before its names are listed: look-ups under way keep none from here on
  size_t count = 1;
  if (node.kind == FileKind::directory && below) {
    for (NameCache::Child& child : names.children(node.id)) {
      count += invalidate_node(
          {.directory = at.node, .name = std::move(child.name), .node = nodes.find(child.file)}, true);
    }
  }
  return count;
}

void CacheFs::Impl::forget_node(CacheNode& node) {
  {
    MutexLock lock(node.mutex);
    node.state.forget(next_sequence());
    node.state.bump_generation();
  }
  forget_content(node, Cause::foreign);
}

/// Of these, any may be below any path. (One that nobody uses is found by a look-up alone, which asks.)
void CacheFs::Impl::forget_files_of_unknown_names() {
  for (const NodeRef& node : nodes.all_in_use()) {
    if (node_of(*node).name_lost.load(std::memory_order_relaxed)) forget_node(node_of(*node));
  }
}

/// A path that is not known by name may still lead to something known: everything must be asked for once
/// more. What turns out unchanged stays.
void CacheFs::Impl::distrust_everything() { expire_everything_before_now(trusted_since); }

void CacheFs::Impl::expire_everything_before_now(std::atomic<MonotonicTime>& bound) {
  const MonotonicTime from = options.clock->now() + std::chrono::nanoseconds(1);
  MonotonicTime known = bound.load(std::memory_order_relaxed);
  while (known < from && !bound.compare_exchange_weak(known, from)) {
  }
  tell_listener([](CacheListener& listener) { listener.on_everything_changed(); });
}

size_t CacheFs::invalidate(std::string_view path) {
  impl_->verdicts.clear(impl_->options.clock->now());
  const auto at = impl_->resolve_known(path);
  if (at) return impl_->invalidate_node(*at, false);
  impl_->distrust_everything();
  return 0;
}

size_t CacheFs::invalidate_prefix(std::string_view path) {
  impl_->verdicts.clear(impl_->options.clock->now());
  const auto at = impl_->resolve_known(path);
  if (!at || !at->node) impl_->distrust_everything();
  const size_t count = at ? impl_->invalidate_node(*at, true) : 0;
  impl_->forget_files_of_unknown_names();
  // A layer above may still know files below that were dropped here.
  if (impl_->nodes.has_dropped())
    impl_->tell_listener([](CacheListener& listener) { listener.on_everything_changed(); });
  return count;
}

Result<void> CacheFs::set_path_ttl(std::string_view pattern, std::chrono::nanoseconds ttl) {
  if (const auto added = impl_->path_ttls.add(pattern, ttl); !added) return added;
  impl_->distrust_everything();  // which names it matches is seen when they are looked up
  return {};
}

size_t CacheFs::clean_expired() { return impl_->blocks.expire(); }

void CacheFs::revalidate() { impl_->expire_everything_before_now(impl_->checked_since); }

void CacheFs::clear() {
  impl_->verdicts.clear(impl_->options.clock->now());
  impl_->distrust_everything();
  // Nodes that are in use stay, without anything cached; the others go.
  std::vector<NodeRef> in_use = impl_->nodes.all_in_use();
  for (const NodeRef& node : in_use) {
    impl_->forget_node(Impl::node_of(*node));
    Impl::node_of(*node).name_lost = true;
  }
  in_use.clear();
  impl_->names.clear();
  impl_->contents.clear();
  impl_->nodes.evict_all_idle();
  impl_->blocks.clear();
}

}  // namespace cachefs
