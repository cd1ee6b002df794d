#include "core/cache_xattrs.h"

namespace cachefs {
namespace {

class CacheXattrs final : public XattrStore {
 public:
  explicit CacheXattrs(CacheFs::Impl& cache) : cache_(cache), source_(*cache.source->xattrs()) {}

  Result<std::string> get(Node& node, std::string_view name, const Caller& caller) override {
    return source_.get(*CacheFs::Impl::node_of(node).source(), name, caller);
  }
  Result<std::vector<std::string>> list(Node& node, const Caller& caller) override {
    return source_.list(*CacheFs::Impl::node_of(node).source(), caller);
  }
  Result<void> set(Node& node, std::string_view name, std::string_view value, XattrMode mode,
                   const Caller& caller) override {
    return change(node, caller, [&](Node& on_source) { return source_.set(on_source, name, value, mode, caller); });
  }
  Result<void> remove(Node& node, std::string_view name, const Caller& caller) override {
    return change(node, caller, [&](Node& on_source) { return source_.remove(on_source, name, caller); });
  }

 private:
  template <typename Run>
  Result<void> change(Node& changed, const Caller& caller, Run run) {
    CacheNode& node = CacheFs::Impl::node_of(changed);
    const NodeRef on_source = node.source();
    MutexLock changing(node.change_mutex);
    const ChangeStart start = cache_.begin_change(node, nullptr, caller);
    const Result<void> result = run(*on_source);
    const Result<Attributes> after = cache_.source->attributes(*on_source, caller);
    cache_.end_change(node, start, after ? std::optional(*after) : std::nullopt, true);
    return result;
  }

  CacheFs::Impl& cache_;
  XattrStore& source_;
};

}  // namespace

std::unique_ptr<XattrStore> make_cache_xattrs(CacheFs::Impl& cache) { return std::make_unique<CacheXattrs>(cache); }

}  // namespace cachefs
