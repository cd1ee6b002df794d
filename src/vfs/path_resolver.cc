#include "vfs/path_resolver.h"

#include <algorithm>

namespace cachefs {
namespace {

class Resolver {
 public:
  Resolver(const PathContext& context, std::string_view path, FollowLast follow)
      : context_(context), rest_(path), follow_(follow) {
    location_.directories = context.working_directory();
  }

  Result<Location> run() {
    if (rest_.empty()) return fail(std::errc::no_such_file_or_directory);
    start_at_root_if_absolute();
    while (true) {
      const std::string component = next_component();
      if (component.empty()) return ends_in_directory();
      const bool last = rest_.find_first_not_of('/') == std::string::npos;
      if (component == "." || component == "..") {
        if (auto checked = check_searchable(); !checked) return std::unexpected(checked.error());
        if (component == ".." && location_.directories.size() > 1) location_.directories.pop_back();
        continue;
      }
      auto done = enter(component, last);
      if (!done) return std::unexpected(done.error());
      if (*done) return std::move(location_);
    }
  }

 private:
  void start_at_root_if_absolute() {
    if (rest_.starts_with('/')) location_.directories.resize(1);
  }

  /// Takes the next component out of rest_; empty at the end.
  std::string next_component() {
    const size_t begin = std::min(rest_.find_first_not_of('/'), rest_.size());
    const size_t end = std::min(rest_.find('/', begin), rest_.size());
    std::string component = rest_.substr(begin, end - begin);
    rest_.erase(0, end);
    return component;
  }

  /// "." and ".." are not looked up, but need what a look-up of them needs: that this is a directory still.
  Result<void> check_searchable() {
    auto attributes = context_.fs().attributes(location_.directory(), context_.caller());
    if (!attributes) return std::unexpected(attributes.error());
    return {};
  }

  Result<Location> ends_in_directory() {
    auto attributes = context_.fs().attributes(location_.directory(), context_.caller());
    if (!attributes) return std::unexpected(attributes.error());
    location_.name.clear();
    location_.entry = Entry{.node = location_.directories.back(), .attributes = *attributes};
    return std::move(location_);
  }

  /// True once the path ends here.
  Result<bool> enter(const std::string& component, bool last) {
    auto entry = context_.fs().lookup(location_.directory(), component, context_.caller());
    if (!entry && !(last && entry.error().is(std::errc::no_such_file_or_directory))) {
      return std::unexpected(entry.error());
    }
    const bool slash_after = !rest_.empty();
    if (entry && entry->attributes.kind == FileKind::symlink &&
        (!last || slash_after || follow_ == FollowLast::yes)) {
      return follow_symlink(*entry->node);
    }
    if (last) {
      location_.name = component;
      location_.must_be_directory = slash_after;
      if (entry) location_.entry = std::move(*entry);
      if (slash_after && location_.entry && location_.entry->attributes.kind != FileKind::directory) {
        return fail(std::errc::not_a_directory);
      }
      return true;
    }
    if (entry->attributes.kind != FileKind::directory) return fail(std::errc::not_a_directory);
    location_.directories.push_back(std::move(entry->node));
    return false;
  }

  /// The target takes the place of the component: what came after it still follows.
  Result<bool> follow_symlink(Node& node) {
    if (++symlinks_ > kSymlinksMax) return fail(std::errc::too_many_symbolic_link_levels);
    auto target = context_.fs().read_link(node, context_.caller());
    if (!target) return std::unexpected(target.error());
    if (target->empty()) return fail(std::errc::no_such_file_or_directory);
    rest_.insert(0, *target);
    start_at_root_if_absolute();
    return false;
  }

  const PathContext& context_;
  std::string rest_;
  const FollowLast follow_;
  uint32_t symlinks_ = 0;
  Location location_;
};

}  // namespace

Result<Location> locate(const PathContext& context, std::string_view path, FollowLast follow) {
  return Resolver(context, path, follow).run();
}

Result<Location> locate_name(const PathContext& context, std::string_view path, std::errc if_directory) {
  // A '/' after a name to be made or removed says that it is a directory; it does not follow a symlink of
  // that name.
  const size_t end = path.find_last_not_of('/');
  if (end == std::string_view::npos)
    return fail(path.empty() ? std::errc::no_such_file_or_directory : if_directory);
  auto location = locate(context, path.substr(0, end + 1), FollowLast::no);
  if (!location) return location;
  if (location->name.empty()) return fail(if_directory);
  location->must_be_directory = end + 1 < path.size();
  return location;
}

}  // namespace cachefs
