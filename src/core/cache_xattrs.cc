#include "core/cache_xattrs.h"

#include <algorithm>
#include <array>

namespace cachefs {
namespace {

class CacheXattrs final : public XattrStore {
 public:
  explicit CacheXattrs(CacheFs::Impl& cache) : cache_(cache), source_(*cache.source->xattrs()) {}

  Result<std::string> get(Node& node, std::string_view name, const Caller& caller) override {
    const auto list = std::find(kAclNames.begin(), kAclNames.end(), name);
    if (list != kAclNames.end())
      return get_acl(CacheFs::Impl::node_of(node), static_cast<size_t>(list - kAclNames.begin()), caller);
    const Result<NodeRef> on_source = cache_.on_source(CacheFs::Impl::node_of(node));
    return on_source ? source_.get(**on_source, name, caller) : std::unexpected(on_source.error());
  }
  Result<std::vector<std::string>> list(Node& node, const Caller& caller) override {
    const Result<NodeRef> on_source = cache_.on_source(CacheFs::Impl::node_of(node));
    return on_source ? source_.list(**on_source, caller) : std::unexpected(on_source.error());
  }
  Result<void> set(Node& node, std::string_view name, std::string_view value, XattrMode mode,
                   const Caller& caller) override {
    return change(node, caller,
                  [&](Node& on_source) { return source_.set(on_source, name, value, mode, caller); });
  }
  Result<void> remove(Node& node, std::string_view name, const Caller& caller) override {
    return change(node, caller, [&](Node& on_source) { return source_.remove(on_source, name, caller); });
  }

 private:
  static constexpr std::array<std::string_view, 2> kAclNames{"system.posix_acl_access",
                                                             "system.posix_acl_default"};

  /// The kernel asks for a file's access control list at each new look at it; most have none, and that is
  /// remembered.
  Result<std::string> get_acl(CacheNode& node, size_t which, const Caller& caller) {
    const Result<NodeRef> on_source = cache_.on_source(node);
    if (!on_source) return std::unexpected(on_source.error());
    uint64_t generation = 0;
    {
      MutexLock lock(node.mutex);
      if (cache_.fresh(node.state) && node.state.no_acl_in[which] == node.state.generation) {
        return fail(std::errc::no_message_available);
      }
      generation = node.state.generation;
    }
    const Ticket ticket = cache_.begin_request();
    Result<std::string> answer = source_.get(**on_source, kAclNames[which], caller);
    if (answer || !answer.error().is(std::errc::no_message_available)) return answer;
    MutexLock lock(node.mutex);
    if (node.state.changes_in_progress == 0 && ticket.sequence > node.state.last_change &&
        generation == node.state.generation) {
      node.state.no_acl_in[which] = generation;
    }
    return answer;
  }

  template <typename Run>
  Result<void> change(Node& changed, const Caller& caller, Run run) {
    CacheNode& node = CacheFs::Impl::node_of(changed);
    const Result<NodeRef> on_source = cache_.on_source(node);
    if (!on_source) return std::unexpected(on_source.error());
    MutexLock changing(node.change_mutex);
    const ChangeStart start = cache_.begin_change(node, nullptr, caller);
    const Result<void> result = run(**on_source);
    {
      MutexLock lock(node.mutex);
      node.state.no_acl_in = {};
    }
    ChangeEnd end{.asked = cache_.begin_request(), .kept = true};
    if (const Result<Attributes> after = cache_.source->attributes(**on_source, caller)) end.after = *after;
    cache_.end_change(node, start, end);
    // An access control list brings other mode bits with it.
    if (result)
      cache_.tell_listener([&](CacheListener& listener) { listener.on_attributes_changed(NodeRef(&node)); });
    return result;
  }

  CacheFs::Impl& cache_;
  XattrStore& source_;
};

}  // namespace

std::unique_ptr<XattrStore> make_cache_xattrs(CacheFs::Impl& cache) {
  return std::make_unique<CacheXattrs>(cache);
}

}  // namespace cachefs
