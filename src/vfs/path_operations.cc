// Whole-path forms of the operations on one file or name.
#include "cachefs/path_operations.h"

#include <cerrno>

#include "vfs/path_resolver.h"

namespace cachefs {

PathContext::PathContext(FileSystem& fs, Caller caller)
    : fs_(&fs), caller_(std::move(caller)), working_directory_{fs.root()} {}

Result<void> PathContext::change_directory(std::string_view path) {
  auto location = locate(*this, path, FollowLast::yes);
  if (!location) return std::unexpected(location.error().during(path));
  if (!location->entry) return fail(std::errc::no_such_file_or_directory, std::string(path));
  if (location->entry->attributes.kind != FileKind::directory) {
    return fail(std::errc::not_a_directory, std::string(path));
  }
  if (!location->name.empty()) location->directories.push_back(location->entry->node);
  // A look-up of any name tells whether the directory may be searched.
  auto probe = fs_->lookup(location->directory(), "x", caller_);
  if (!probe && probe.error().is(std::errc::permission_denied))
    return std::unexpected(probe.error().during(path));
  working_directory_ = std::move(location->directories);
  return {};
}

Result<Entry> resolve(const PathContext& context, std::string_view path, FollowLast follow) {
  auto location = locate(context, path, follow);
  if (!location) return std::unexpected(location.error());
  if (!location->entry) return fail(std::errc::no_such_file_or_directory);
  return std::move(*location->entry);
}

namespace {

Result<void> dropping_value(const auto& result) {
  if (!result) return std::unexpected(result.error());
  return {};
}

OpenFlags open_flags(const OpenOptions& options) {
  return {
      .read = options.read, .write = options.write, .truncate = options.truncate, .append = options.append};
}

Result<std::unique_ptr<File>> open_existing(const PathContext& context, const Entry& entry,
                                            const OpenOptions& options) {
  if (entry.attributes.kind == FileKind::symlink) return fail(std::errc::too_many_symbolic_link_levels);
  auto opened = context.fs().open(*entry.node, open_flags(options), context.caller());
  if (!opened) return std::unexpected(opened.error());
  return std::move(opened->file);
}

Result<std::unique_ptr<File>> open_or_create(const PathContext& context, const Location& location,
                                             const OpenOptions& options) {
  const bool is_link = location.entry && location.entry->attributes.kind == FileKind::symlink;
  if (location.name.empty() || location.must_be_directory) return fail(std::errc::is_a_directory);
  if (is_link && !options.exclusive) return fail(std::errc::too_many_symbolic_link_levels);
  auto created = context.fs().create(
      location.place(), {.open = open_flags(options), .mode = options.mode, .exclusive = options.exclusive},
      context.caller());
  if (!created) return std::unexpected(created.error());
  return std::move(created->file);
}

/// `fill` says what is to change.
template <typename Fill>
Result<void> change(const PathContext& context, std::string_view path, FollowLast follow, Fill fill) {
  AttributeChange wanted;
  fill(wanted);
  auto entry = resolve(context, path, follow);
  if (!entry) return std::unexpected(entry.error());
  return dropping_value(context.fs().set_attributes(*entry->node, wanted, context.caller()));
}

Result<void> change_owner(const PathContext& context, std::string_view path, const Ownership& owner,
                          FollowLast follow) {
  return change(context, path, follow, [&owner](AttributeChange& wanted) {
    wanted.uid = owner.uid;
    wanted.gid = owner.gid;
  });
}

Result<std::unique_ptr<File>> open_once(const PathContext& context, std::string_view path,
                                        const OpenOptions& options) {
  const bool follow = !options.no_follow && !(options.create && options.exclusive);
  auto location = locate(context, path, follow ? FollowLast::yes : FollowLast::no);
  if (!location) return std::unexpected(location.error());
  if (options.create) return open_or_create(context, *location, options);
  if (!location->entry) return fail(std::errc::no_such_file_or_directory);
  return open_existing(context, *location->entry, options);
}

}  // namespace

/// As open(2) does: what was replaced between the look-up and the open is looked up once more.
Result<std::unique_ptr<File>> open(const PathContext& context, std::string_view path,
                                   const OpenOptions& options) {
  auto opened = open_once(context, path, options);
  const bool is_stale = !opened && opened.error().to_errno() == ESTALE;
  return is_stale ? open_once(context, path, options) : std::move(opened);
}

Result<std::unique_ptr<File>> create(const PathContext& context, std::string_view path, uint32_t mode) {
  return open(context, path, {.write = true, .create = true, .truncate = true, .mode = mode});
}

Result<Attributes> stat(const PathContext& context, std::string_view path) {
  auto entry = resolve(context, path, FollowLast::yes);
  if (!entry) return std::unexpected(entry.error());
  return entry->attributes;
}

Result<Attributes> lstat(const PathContext& context, std::string_view path) {
  auto entry = resolve(context, path, FollowLast::no);
  if (!entry) return std::unexpected(entry.error());
  return entry->attributes;
}

Result<FileSystemStatistics> statvfs(const PathContext& context, std::string_view path) {
  auto entry = resolve(context, path);
  if (!entry) return std::unexpected(entry.error());
  return context.fs().statistics(*entry->node);
}

Result<void> mkdir(const PathContext& context, std::string_view path, uint32_t mode) {
  auto location = locate_name(context, path, std::errc::file_exists);
  if (!location) return std::unexpected(location.error());
  return dropping_value(context.fs().make(location->place(), {.mode = mode}, context.caller()));
}

Result<void> remove(const PathContext& context, std::string_view path) {
  auto location = locate_name(context, path, std::errc::invalid_argument);
  if (!location) return std::unexpected(location.error());
  if (!location->entry) return fail(std::errc::no_such_file_or_directory);
  const bool directory =
      location->entry->attributes.kind == FileKind::directory || location->must_be_directory;
  return context.fs().remove(location->place(), directory ? RemoveKind::directory : RemoveKind::file,
                             context.caller());
}

Result<void> rename(const PathContext& context, std::string_view from, std::string_view to, RenameMode mode) {
  auto source = locate_name(context, from, std::errc::device_or_resource_busy);
  if (!source) return std::unexpected(source.error());
  auto target = locate_name(context, to, std::errc::device_or_resource_busy);
  if (!target) return std::unexpected(target.error());
  if (!source->entry) return fail(std::errc::no_such_file_or_directory);
  const bool directory = source->entry->attributes.kind == FileKind::directory;
  if ((source->must_be_directory || target->must_be_directory) && !directory)
    return fail(std::errc::not_a_directory);
  return context.fs().rename(source->place(), target->place(), mode, context.caller());
}

Result<void> link(const PathContext& context, std::string_view existing, std::string_view path) {
  auto entry = resolve(context, existing, FollowLast::no);
  if (!entry) return std::unexpected(entry.error());
  auto location = locate_name(context, path, std::errc::file_exists);
  if (!location) return std::unexpected(location.error());
  if (location->must_be_directory) return fail(std::errc::no_such_file_or_directory);
  return dropping_value(context.fs().link(*entry->node, location->place(), context.caller()));
}

Result<void> symlink(const PathContext& context, std::string_view target, std::string_view path) {
  auto location = locate_name(context, path, std::errc::file_exists);
  if (!location) return std::unexpected(location.error());
  if (location->must_be_directory) return fail(std::errc::no_such_file_or_directory);
  return dropping_value(
      context.fs().make(location->place(), {.kind = FileKind::symlink, .target = target}, context.caller()));
}

Result<std::string> read_link(const PathContext& context, std::string_view path) {
  auto entry = resolve(context, path, FollowLast::no);
  if (!entry) return std::unexpected(entry.error());
  return context.fs().read_link(*entry->node, context.caller());
}

Result<void> chmod(const PathContext& context, std::string_view path, uint32_t mode) {
  return change(context, path, FollowLast::yes, [mode](AttributeChange& wanted) { wanted.mode = mode; });
}

Result<void> chown(const PathContext& context, std::string_view path, const Ownership& owner) {
  return change_owner(context, path, owner, FollowLast::yes);
}

Result<void> lchown(const PathContext& context, std::string_view path, const Ownership& owner) {
  return change_owner(context, path, owner, FollowLast::no);
}

Result<void> utimens(const PathContext& context, std::string_view path, const Times& times,
                     FollowLast follow) {
  return change(context, path, follow, [&times](AttributeChange& wanted) {
    wanted.atime = times.atime;
    wanted.mtime = times.mtime;
  });
}

Result<void> truncate(const PathContext& context, std::string_view path, uint64_t size) {
  return change(context, path, FollowLast::yes, [size](AttributeChange& wanted) { wanted.size = size; });
}

Result<std::string> get_xattr(const PathContext& context, std::string_view path, std::string_view name) {
  auto entry = resolve(context, path);
  if (!entry) return std::unexpected(entry.error());
  XattrStore* store = context.fs().xattrs();
  if (store == nullptr) return fail(std::errc::not_supported);
  return store->get(*entry->node, name, context.caller());
}

Result<void> set_xattr(const PathContext& context, std::string_view path, std::string_view name,
                       std::string_view value, XattrMode mode) {
  auto entry = resolve(context, path);
  if (!entry) return std::unexpected(entry.error());
  XattrStore* store = context.fs().xattrs();
  if (store == nullptr) return fail(std::errc::not_supported);
  return store->set(*entry->node, name, value, mode, context.caller());
}

}  // namespace cachefs
