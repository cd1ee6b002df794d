// Whole-path forms over directories and trees.
#include <algorithm>

#include "cachefs/path_operations.h"
#include "vfs/path_resolver.h"

namespace cachefs {
namespace {

std::string join(const std::string& directory, std::string_view name) {
  std::string path = directory;
  if (!path.empty() && !path.ends_with('/')) path += '/';
  path += name;
  return path;
}

/// A directory being read, entry by entry.
class Level {
 public:
  Level(NodeRef node, std::string path, std::unique_ptr<DirectoryStream> stream)
      : node_(std::move(node)), path_(std::move(path)), stream_(std::move(stream)) {}

  [[nodiscard]] Node& node() const { return *node_; }
  [[nodiscard]] const std::string& path() const { return path_; }

  /// Null at the end; valid until the next call.
  Result<const DirectoryEntry*> next() {
    if (index_ == batch_.size()) {
      auto batch = stream_->next_batch();
      if (!batch) return std::unexpected(batch.error().during(path_));
      batch_ = std::move(*batch);
      index_ = 0;
      if (batch_.empty()) return nullptr;
    }
    return &batch_[index_++];
  }

 private:
  NodeRef node_;
  std::string path_;
  std::unique_ptr<DirectoryStream> stream_;
  std::vector<DirectoryEntry> batch_;
  size_t index_ = 0;
};

Result<void> descend(const PathContext& context, std::vector<Level>& levels, NodeRef node, std::string path) {
  auto stream = context.fs().open_directory(*node, context.caller());
  if (!stream) {
    if (stream.error().is(std::errc::no_such_file_or_directory)) return {};
    return std::unexpected(stream.error().during(path));
  }
  levels.emplace_back(std::move(node), std::move(path), std::move(*stream));
  return {};
}

/// False: the walk is to stop.
Result<bool> visit(const PathContext& context, std::vector<Level>& levels, std::string path,
                   const Entry& entry, const WalkVisitor& visitor) {
  const WalkAction action = visitor(path, entry);
  if (action == WalkAction::stop) return false;
  if (action == WalkAction::skip_directory || entry.attributes.kind != FileKind::directory) return true;
  if (auto entered = descend(context, levels, entry.node, std::move(path)); !entered) {
    return std::unexpected(entered.error());
  }
  return true;
}

}  // namespace

Result<void> walk(const PathContext& context, std::string_view path, const WalkVisitor& visitor) {
  auto top = resolve(context, path);
  if (!top) return std::unexpected(top.error().during(path));
  std::vector<Level> levels;
  auto go_on = visit(context, levels, std::string(path), *top, visitor);
  while (go_on && *go_on && !levels.empty()) {
    auto next = levels.back().next();
    if (!next) return std::unexpected(next.error());
    if (*next == nullptr) {
      levels.pop_back();
      continue;
    }
    std::string below = join(levels.back().path(), (*next)->name);
    auto entry = context.fs().lookup(levels.back().node(), (*next)->name, context.caller());
    if (entry) {
      go_on = visit(context, levels, std::move(below), *entry, visitor);
    } else if (!entry.error().is(std::errc::no_such_file_or_directory)) {
      return std::unexpected(entry.error().during(below));
    }
  }
  if (!go_on) return std::unexpected(go_on.error());
  return {};
}

Result<std::vector<DirectoryEntry>> read_directory(const PathContext& context, std::string_view path) {
  auto entry = resolve(context, path);
  if (!entry) return std::unexpected(entry.error());
  auto stream = context.fs().open_directory(*entry->node, context.caller());
  if (!stream) return std::unexpected(stream.error());
  std::vector<DirectoryEntry> entries;
  while (true) {
    auto batch = (*stream)->next_batch();
    if (!batch) return std::unexpected(batch.error());
    if (batch->empty()) break;
    std::ranges::move(*batch, std::back_inserter(entries));
  }
  std::ranges::sort(entries, {}, &DirectoryEntry::name);
  return entries;
}

Result<void> mkdir_all(const PathContext& context, std::string_view path, uint32_t mode) {
  for (size_t end = 0; end < path.size();) {
    const size_t begin = path.find_first_not_of('/', end);
    if (begin == std::string_view::npos) break;
    end = std::min(path.find('/', begin), path.size());
    const std::string_view prefix = path.substr(0, end);
    auto there = stat(context, prefix);
    if (there && there->kind == FileKind::directory) continue;
    if (there) return fail(std::errc::not_a_directory, std::string(prefix));
    if (!there.error().is(std::errc::no_such_file_or_directory))
      return std::unexpected(there.error().during(prefix));
    auto made = mkdir(context, prefix, mode);
    if (!made && !made.error().is(std::errc::file_exists))
      return std::unexpected(made.error().during(prefix));
  }
  auto made = stat(context, path);
  if (!made) return std::unexpected(made.error().during(path));
  if (made->kind != FileKind::directory) return fail(std::errc::not_a_directory, std::string(path));
  return {};
}

namespace {

/// True once the name is gone; false if it leads to a directory that is to be emptied first.
Result<bool> remove_name(const PathContext& context, Place place, FileKind kind) {
  const bool directory = kind == FileKind::directory;
  auto removed =
      context.fs().remove(place, directory ? RemoveKind::directory : RemoveKind::file, context.caller());
  if (removed || removed.error().is(std::errc::no_such_file_or_directory)) return true;
  if (directory && removed.error().is(std::errc::directory_not_empty)) return false;
  return std::unexpected(removed.error());
}

struct Emptying {
  NodeRef parent;
  std::string name;
  Level level;
};

/// Empties a directory by a stack, so that no depth overflows.
class TreeRemover {
 public:
  explicit TreeRemover(const PathContext& context) : context_(context) {}

  Result<void> run(NodeRef parent, std::string_view name, std::string_view path) {
    auto top = remove_or_enter(std::move(parent), std::string(name), FileKind::directory, std::string(path));
    if (!top) return top;
    while (!stack_.empty()) {
      auto entry = stack_.back().level.next();
      if (!entry) return std::unexpected(entry.error());
      auto done = *entry == nullptr ? leave() : step(**entry);
      if (!done) return done;
    }
    return {};
  }

 private:
  Result<void> step(const DirectoryEntry& entry) {
    const Level& level = stack_.back().level;
    return remove_or_enter(NodeRef(&level.node()), entry.name, entry.kind, join(level.path(), entry.name));
  }

  Result<void> remove_or_enter(NodeRef parent, std::string name, FileKind kind, std::string path) {
    auto removed = remove_name(context_, {*parent, name}, kind);
    if (!removed) return std::unexpected(removed.error().during(path));
    if (*removed) return {};
    auto entry = context_.fs().lookup(*parent, name, context_.caller());
    if (!entry) return std::unexpected(entry.error().during(path));
    auto stream = context_.fs().open_directory(*entry->node, context_.caller());
    if (!stream) return std::unexpected(stream.error().during(path));
    stack_.push_back(
        {std::move(parent), std::move(name), {entry->node, std::move(path), std::move(*stream)}});
    return {};
  }

  Result<void> leave() {
    Emptying done = std::move(stack_.back());
    stack_.pop_back();
    auto removed = context_.fs().remove({*done.parent, done.name}, RemoveKind::directory, context_.caller());
    if (removed || removed.error().is(std::errc::no_such_file_or_directory)) return {};
    return std::unexpected(removed.error().during(done.level.path()));
  }

  const PathContext& context_;
  std::vector<Emptying> stack_;
};

}  // namespace

Result<void> remove_all(const PathContext& context, std::string_view path) {
  auto location = locate_name(context, path, std::errc::invalid_argument);
  if (!location) {
    if (location.error().is(std::errc::no_such_file_or_directory) && !path.empty()) return {};
    return std::unexpected(location.error().during(path));
  }
  if (!location->entry) return {};
  if (location->entry->attributes.kind != FileKind::directory) return remove(context, path);
  return TreeRemover(context).run(location->directories.back(), location->name, path);
}

}  // namespace cachefs
