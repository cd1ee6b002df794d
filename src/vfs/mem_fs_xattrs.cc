// MemFs: extended attributes.
#include <algorithm>
#include <array>

#include "vfs/mem_fs_access.h"
#include "vfs/mem_fs_core.h"

namespace cachefs::mem {
namespace {

constexpr size_t kXattrNameMax = 255;
constexpr size_t kXattrValueMax = 64 * 1024;
constexpr std::string_view kUserSpace = "user.";
constexpr std::array<std::string_view, 4> kSpaces{kUserSpace, "trusted.", "security.", "system."};

Result<void> check_xattr_name(std::string_view name) {
  if (name.empty() || name.size() > kXattrNameMax) return fail(std::errc::result_out_of_range);
  const bool known = std::ranges::any_of(kSpaces, [name](std::string_view space) {
    return name.starts_with(space) && name.size() > space.size();
  });
  if (!known) return fail(std::errc::operation_not_supported);
  return {};
}

bool takes_user_xattrs(const Inode& inode) { return inode.is_directory() || inode.kind == FileKind::regular; }

}  // namespace

Result<std::string> MemXattrs::get(Node& node, std::string_view name, const Caller& caller) {
  if (auto good = check_xattr_name(name); !good) return std::unexpected(good.error());
  MutexLock lock(fs_.mutex_);
  const Inode& inode = inode_of(node);
  if (name.starts_with(kUserSpace)) {
    if (auto allowed = fs_.check_access(inode, kMayRead, caller); !allowed)
      return std::unexpected(allowed.error());
  }
  const auto found = inode.xattrs.find(name);
  if (found == inode.xattrs.end()) return fail_errno(ENODATA);
  return found->second;
}

Result<std::vector<std::string>> MemXattrs::list(Node& node, const Caller& /*caller*/) {
  MutexLock lock(fs_.mutex_);
  std::vector<std::string> names;
  for (const auto& [name, value] : inode_of(node).xattrs) names.push_back(name);
  return names;
}

Result<void> MemXattrs::set(Node& node, std::string_view name, std::string_view value, XattrMode mode,
                            const Caller& caller) {
  if (auto good = check_xattr_name(name); !good) return good;
  if (value.size() > kXattrValueMax) return fail(std::errc::argument_list_too_long);
  MutexLock lock(fs_.mutex_);
  Inode& inode = inode_of(node);
  if (name.starts_with(kUserSpace)) {
    if (!takes_user_xattrs(inode)) return fail(std::errc::operation_not_permitted);
    if (auto allowed = fs_.check_access(inode, kMayWrite, caller); !allowed) return allowed;
  }
  const bool present = inode.xattrs.contains(name);
  if (present && mode == XattrMode::create) return fail(std::errc::file_exists);
  if (!present && mode == XattrMode::replace) return fail_errno(ENODATA);
  inode.xattrs.insert_or_assign(std::string(name), std::string(value));
  fs_.touch_attributes(inode);
  return {};
}

Result<void> MemXattrs::remove(Node& node, std::string_view name, const Caller& caller) {
  if (auto good = check_xattr_name(name); !good) return good;
  MutexLock lock(fs_.mutex_);
  Inode& inode = inode_of(node);
  if (name.starts_with(kUserSpace)) {
    if (auto allowed = fs_.check_access(inode, kMayWrite, caller); !allowed) return allowed;
  }
  const auto found = inode.xattrs.find(name);
  if (found == inode.xattrs.end()) return fail_errno(ENODATA);
  inode.xattrs.erase(found);
  fs_.touch_attributes(inode);
  return {};
}

}  // namespace cachefs::mem
