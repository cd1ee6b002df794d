// Extended attributes.
#include <linux/xattr.h>
#include <sys/xattr.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "mount/wake.h"

namespace cachefs::mount {
namespace {

/// The file system's xattrs; if it has none, the kernel is told so, once for all.
XattrStore* xattrs_of(fuse_req_t req) {
  XattrStore* const xattrs = mount_of(req).fs.xattrs();
  if (xattrs == nullptr) fuse_reply_err(req, ENOSYS);
  return xattrs;
}

/// As getxattr(2): with a size of 0 the length is asked for.
void reply_value(fuse_req_t req, const std::string& value, size_t size) {
  if (size == 0) {
    fuse_reply_xattr(req, value.size());
  } else if (value.size() > size) {
    fuse_reply_err(req, ERANGE);
  } else {
    fuse_reply_buf(req, value.data(), value.size());
  }
}

void on_getxattr(fuse_req_t req, fuse_ino_t ino, const char* name, size_t size) {
  XattrStore* const xattrs = xattrs_of(req);
  if (xattrs == nullptr) return;
  MountState& mount = mount_of(req);
  if (mount.view != nullptr) {
    const MountNodeRef node = awake_at(mount, ino);
    if (node && mount.view->lacks_xattr(*node->node(), name)) {
      fuse_reply_err(req, ENODATA);
      return;
    }
  }
  submit_about(
      req, OperationClass::metadata,
      [xattrs, name = std::string(name), size](Request& request, const Caller& caller,
                                               const MountNodeRef& node) {
        answer(request, xattrs->get(*node->node(), name, caller),
               [size](fuse_req_t to, const std::string& value) { reply_value(to, value, size); });
      },
      ino);
}

void on_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size) {
  XattrStore* const xattrs = xattrs_of(req);
  if (xattrs == nullptr) return;
  submit_about(
      req, OperationClass::metadata,
      [xattrs, size](Request& request, const Caller& caller, const MountNodeRef& node) {
        answer(request, xattrs->list(*node->node(), caller),
               [size](fuse_req_t to, const std::vector<std::string>& names) {
                 std::string joined;
                 for (const std::string& name : names) joined.append(name).push_back('\0');
                 reply_value(to, joined, size);
               });
      },
      ino);
}

/// The kernel keeps access control lists with the attributes, and the mode may follow from a list.
void answer_xattr_change(MountState& mount, Request& request, const MountNode& node,
                         const Result<void>& changed) {
  answer_change(request, changed, reply_done, [&] { mount.notifier.on_attributes_changed(node.node()); });
}

void on_setxattr(fuse_req_t req, fuse_ino_t ino, const char* name, const char* value, size_t size,
                 int flags) {
  XattrStore* const xattrs = xattrs_of(req);
  if (xattrs == nullptr) return;
  const XattrMode mode = (flags & XATTR_CREATE) != 0    ? XattrMode::create
                         : (flags & XATTR_REPLACE) != 0 ? XattrMode::replace
                                                        : XattrMode::create_or_replace;
  MountState& mount = mount_of(req);
  submit_about(
      req, OperationClass::name_change,
      [&mount, xattrs, name = std::string(name), value = std::string(value, size), mode](
          Request& request, const Caller& caller, const MountNodeRef& node) {
        answer_xattr_change(mount, request, *node, xattrs->set(*node->node(), name, value, mode, caller));
      },
      ino);
}

/// Whoever writes to a program takes its rights away (capabilities(7)), whether he could do so himself or
/// not: the kernel asks for it in his name. One who asks himself, and may not, it has refused before.
Result<void> remove_xattr(XattrStore& xattrs, Node& node, const std::string& name, const Caller& caller) {
  Result<void> removed = xattrs.remove(node, name, caller);
  const bool refused = !removed && removed.error().is(std::errc::operation_not_permitted);
  if (!refused || name != XATTR_NAME_CAPS) return removed;
  return xattrs.remove(node, name, Caller::self());
}

void on_removexattr(fuse_req_t req, fuse_ino_t ino, const char* name) {
  XattrStore* const xattrs = xattrs_of(req);
  if (xattrs == nullptr) return;
  MountState& mount = mount_of(req);
  submit_about(
      req, OperationClass::name_change,
      [&mount, xattrs, name = std::string(name)](Request& request, const Caller& caller,
                                                 const MountNodeRef& node) {
        answer_xattr_change(mount, request, *node, remove_xattr(*xattrs, *node->node(), name, caller));
      },
      ino);
}

}  // namespace

void add_xattr_operations(fuse_lowlevel_ops& operations) {
  operations.getxattr = on_getxattr;
  operations.listxattr = on_listxattr;
  operations.setxattr = on_setxattr;
  operations.removexattr = on_removexattr;
}

}  // namespace cachefs::mount
