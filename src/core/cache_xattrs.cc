#include "core/cache_xattrs.h"

#include <algorithm>

#include "cachefs/time_limits.h"
#include "core/file_turn.h"
#include "core/lockout.h"

namespace cachefs {
namespace {

class CacheXattrs final : public XattrStore {
 public:
  explicit CacheXattrs(CacheFs::Impl& cache) : cache_(cache), source_(*cache.source->xattrs()) {}

  Result<std::string> get(Node& node, std::string_view name, const Caller& caller) override {
    CacheNode& cached = CacheFs::Impl::node_of(node);
    if (cache_.lacks_xattr(cached, name)) return fail(std::errc::no_message_available);
    const Result<NodeRef> on_source = cache_.on_source(cached);
    if (!on_source) return std::unexpected(on_source.error());
    const auto which = std::ranges::find(kRememberedXattrs, name);
    if (which == kRememberedXattrs.end()) return source_.get(**on_source, name, caller);
    uint64_t generation = 0;
    {
      MutexLock lock(cached.mutex);
      generation = cached.state.generation;
    }
    const Ticket ticket = cache_.begin_request();
    Result<std::string> answer = source_.get(**on_source, name, caller);
    if (!answer && is_unreachable(answer.error()) && cache_.lacked_xattr(cached, name))
      return fail(std::errc::no_message_available);
    if (answer || !answer.error().is(std::errc::no_message_available)) return answer;
    MutexLock lock(cached.mutex);
    if (cached.state.changes_in_progress == 0 && ticket.sequence > cached.state.last_change &&
        generation == cached.state.generation) {
      cached.state.absent_xattrs[static_cast<size_t>(which - kRememberedXattrs.begin())] = {generation,
                                                                                            ticket.time};
    }
    return answer;
  }
  Result<std::vector<std::string>> list(Node& node, const Caller& caller) override {
    const Result<NodeRef> on_source = cache_.on_source(CacheFs::Impl::node_of(node));
    return on_source ? source_.list(**on_source, caller) : std::unexpected(on_source.error());
  }
  Result<void> set(Node& node, std::string_view name, std::string_view value, XattrMode mode,
                   const Caller& caller) override {
    return change(node, name, caller,
                  [&](Node& on_source) { return source_.set(on_source, name, value, mode, caller); });
  }
  Result<void> remove(Node& node, std::string_view name, const Caller& caller) override {
    return change(node, name, caller,
                  [&](Node& on_source) { return source_.remove(on_source, name, caller); });
  }

 private:
  template <typename Run>
  Result<void> change(Node& changed, std::string_view name, const Caller& caller, Run run) {
    CacheNode& node = CacheFs::Impl::node_of(changed);
    const Result<NodeRef> on_source = cache_.on_source(node);
    if (!on_source) return std::unexpected(on_source.error());
    if (const auto out = cache_.outage()) return std::unexpected(*out);
    const bool changes_rights = name.starts_with("system.");  // access control lists, of every kind
    const Lockout lockout(cache_, changes_rights ? &node : nullptr);
    FileTurn turn(cache_, node, FileTurn::Kind::change, &TimeLimits::write);
    if (const auto refused = turn.refused()) return std::unexpected(*refused);
    const ChangeStart start = cache_.begin_change(turn, nullptr, caller);
    const Result<void> result = run(**on_source);
    {
      MutexLock lock(node.mutex);
      node.state.absent_xattrs = {};
    }
    ChangeEnd end{.asked = cache_.begin_request(), .kept = true};
    if (const Result<Attributes> after = cache_.source->attributes(**on_source, caller)) end.after = *after;
    cache_.end_change(turn, start, end);
    // An access control list brings other mode bits with it.
    if (result)
      cache_.tell_listener([&](CacheListener& listener) { listener.on_attributes_changed(NodeRef(&node)); });
    return result;
  }

  CacheFs::Impl& cache_;
  XattrStore& source_;
};

}  // namespace

bool CacheFs::Impl::lacks_xattr(CacheNode& node, std::string_view name) {
  const auto which = std::ranges::find(kRememberedXattrs, name);
  if (which == kRememberedXattrs.end()) return false;
  MutexLock lock(node.mutex);
  const AbsentXattr& absent =
      node.state.absent_xattrs[static_cast<size_t>(which - kRememberedXattrs.begin())];
  return absent.generation == node.state.generation &&
         remaining(absent.asked_at, options.coherence.metadata_ttl()).count() > 0;
}

bool CacheFs::Impl::lacked_xattr(CacheNode& node, std::string_view name) {
  const auto which = std::ranges::find(kRememberedXattrs, name);
  if (which == kRememberedXattrs.end()) return false;
  MutexLock lock(node.mutex);
  const AbsentXattr& absent =
      node.state.absent_xattrs[static_cast<size_t>(which - kRememberedXattrs.begin())];
  return absent.generation == node.state.generation &&
         presentable(absent.asked_at, options.coherence.metadata_ttl());
}

std::unique_ptr<XattrStore> make_cache_xattrs(CacheFs::Impl& cache) {
  return std::make_unique<CacheXattrs>(cache);
}

}  // namespace cachefs
