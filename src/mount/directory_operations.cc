// Listings.
#include <cerrno>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/stat_fields.h"
#include "mount/wake.h"

namespace cachefs::mount {
namespace {

constexpr uint64_t kUnknownInode = 0xFFFFFFFF;  ///< in a listing; 0 would hide the entry from some programs

enum class Detail : uint8_t {
  names,            ///< readdir
  what_is_at_hand,  ///< readdirplus: attributes of entries that need no question to the source
  attributes,       ///< readdirplus: attributes of all
};

/// The kernel's first request for attributes is a guess; that it makes another one for the same directory
/// shows that the program looks at the files. Only then does the source get a question for each.
Detail detail_of(const MountState& mount, bool plus, uint64_t offset) {
  if (!plus) return Detail::names;
  return offset == 0 && mount.view != nullptr ? Detail::what_is_at_hand : Detail::attributes;
}

bool is_dot(const std::string& name) { return name == "." || name == ".."; }

/// Fills a reply with entries, as many as fit. What it entered in the node table, it takes out again unless
/// sent.
class Listing {
 public:
  Listing(MountState& mount, MountNode& directory, size_t capacity)
      : mount_(mount), directory_(directory), buffer_(capacity) {}
  ~Listing() {
    for (const uint64_t number : entered_) mount_.nodes.forget(number, 1);
  }
  Listing(const Listing&) = delete;
  Listing& operator=(const Listing&) = delete;

  /// False if it does not fit.
  bool add_name(const DirectoryEntry& entry) {
    const struct stat stat = brief(entry);
    return advance(fuse_add_direntry(kNoRequest, end(), room(), entry.name.c_str(), &stat,
                                     static_cast<off_t>(entry.cookie)));
  }

  /// The same with what a look-up gave; null: nothing is known, and the kernel will look the name up itself
  /// if need be.
  bool add_plus(const DirectoryEntry& entry, const Entry* found) {
    fuse_entry_param param{};
    param.attr = brief(entry);
    const size_t size = fuse_add_direntry_plus(kNoRequest, nullptr, 0, entry.name.c_str(), &param, 0);
    if (size > room()) return false;
    if (found != nullptr) {
      param = enter(mount_, directory_, entry.name, *found).param;
      entered_.push_back(param.ino);
    }
    return advance(fuse_add_direntry_plus(kNoRequest, end(), room(), entry.name.c_str(), &param,
                                          static_cast<off_t>(entry.cookie)));
  }

  void send(fuse_req_t req) {
    if (fuse_reply_buf(req, buffer_.data(), used_) == 0) entered_.clear();
  }
  [[nodiscard]] bool empty() const { return used_ == 0; }

 private:
  static constexpr fuse_req_t kNoRequest = nullptr;  ///< libfuse takes one and makes no use of it

  static struct stat brief(const DirectoryEntry& entry) {
    struct stat stat{};
    stat.st_ino = entry.inode != 0 ? entry.inode : kUnknownInode;
    stat.st_mode = type_bits(entry.kind);
    return stat;
  }
  char* end() { return buffer_.data() + used_; }
  [[nodiscard]] size_t room() const { return buffer_.size() - used_; }
  bool advance(size_t size) {
    if (size > room()) return false;
    used_ += size;
    return true;
  }

  MountState& mount_;
  MountNode& directory_;
  std::vector<char> buffer_;
  size_t used_ = 0;
  std::vector<uint64_t> entered_;
};

/// What adding an entry led to.
enum class Added : uint8_t { yes, full, must_wait };

Added add(MountState& mount, Listing& listing, OpenDirectory& directory, const DirectoryEntry& entry,
          Detail& detail, const Caller* caller) {
  const auto fits = [](bool added) { return added ? Added::yes : Added::full; };
  if (detail == Detail::names) return fits(listing.add_name(entry));
  if (is_dot(entry.name)) return fits(listing.add_plus(entry, nullptr));

  std::optional<Result<Entry>> found;
  if (mount.view != nullptr) found = mount.view->try_lookup(*directory.node->node(), entry.name);
  if (!found && detail == Detail::attributes) {
    if (caller == nullptr) return Added::must_wait;
    found = mount.fs.lookup(*directory.node->node(), entry.name, *caller);
    // What the kernel may not rely on it asks for again: no more of that.
    if (*found && name_timeout(mount, *directory.node, entry.name, (*found)->node.get()) <= 0)
      detail = Detail::what_is_at_hand;
  }
  // Removed meanwhile, or out of reach: still a name of the listing.
  const Entry* known = found && *found ? &**found : nullptr;
  return fits(listing.add_plus(entry, known));
}

struct ReadRequest {
  uint64_t offset = 0;
  Detail detail = Detail::names;
  const Caller* caller = nullptr;  ///< null: nothing may wait
};

/// To be called before each read of `directory` from `offset` on.
void outdate_if_changed(const MountState& mount, OpenDirectory& directory, uint64_t offset)
    REQUIRES(directory.mutex) {
  if (offset != 0 || !directory.generation) return;
  if (mount.view->validity(*directory.node->node()).listing_generation != *directory.generation)
    directory.outdate();
}

/// Fills `listing` from the directory. False: it would have had to wait.
Result<bool> fill(MountState& mount, Listing& listing, OpenDirectory& directory, const ReadRequest& request)
    REQUIRES(directory.mutex) {
  const auto reopen = [&] { return mount.fs.open_directory(*directory.node->node(), *request.caller); };
  const Result<const std::deque<DirectoryEntry>*> window = directory.from(request.offset, reopen);
  if (!window) return std::unexpected(window.error());
  Detail detail = request.detail;
  for (size_t i = 0;; ++i) {
    if (i == (*window)->size()) {
      const Result<bool> more = directory.extend();
      if (!more && listing.empty()) return std::unexpected(more.error());
      if (!more || !*more) return true;  // an error after some entries comes again with the next request
    }
    const Added added = add(mount, listing, directory, (**window)[i], detail, request.caller);
    if (added == Added::must_wait) return false;
    if (added == Added::full) return true;
  }
}

/// Answers from what needs no waiting, if it is enough.
bool try_read_directory(MountState& mount, fuse_req_t req, OpenDirectory& directory, size_t size,
                        uint64_t offset, Detail detail) {
  if (!directory.mutex.try_lock()) return false;
  bool filled = false;
  Listing listing(mount, *directory.node, size);
  outdate_if_changed(mount, directory, offset);
  if (directory.is_immediate(offset)) {
    const Result<bool> result = fill(mount, listing, directory, {.offset = offset, .detail = detail});
    filled = result && *result;
  }
  directory.mutex.unlock();
  if (filled) listing.send(req);
  return filled;
}

void read_directory(fuse_req_t req, size_t size, off_t offset_of, fuse_file_info* info, bool plus) {
  MountState& mount = mount_of(req);
  const auto offset = static_cast<uint64_t>(offset_of);
  const Detail detail = detail_of(mount, plus, offset);
  OpenDirectoryRef directory = mount.directories.at(info->fh);
  if (directory == nullptr) {
    fuse_reply_err(req, EBADF);
    return;
  }
  directory->uses();
  if (mount.view != nullptr && try_read_directory(mount, req, *directory, size, offset, detail)) return;
  const fuse_ino_t about = NodeTable::number_of(*directory->node);
  submit(req, about, OperationClass::metadata,
         [&mount, directory = std::move(directory), size, offset, detail,
          caller = caller_of(req)](Request& request) {
           Listing listing(mount, *directory->node, size);
           Result<bool> filled = true;
           {
             MutexLock lock(directory->mutex);
             outdate_if_changed(mount, *directory, offset);
             filled =
                 fill(mount, listing, *directory, {.offset = offset, .detail = detail, .caller = &caller});
           }
           answer(request, filled, [&](fuse_req_t to, bool) { listing.send(to); });
         });
}

void on_readdir(fuse_req_t req, fuse_ino_t /*ino*/, size_t size, off_t offset, fuse_file_info* info) {
  read_directory(req, size, offset, info, false);
}

void on_readdirplus(fuse_req_t req, fuse_ino_t /*ino*/, size_t size, off_t offset, fuse_file_info* info) {
  read_directory(req, size, offset, info, true);
}

void let_go(MountState& mount, uint64_t number) {
  OpenDirectoryRef directory = mount.directories.remove(number);
  if (directory == nullptr) return;
  directory->let_go();
  run(mount, OperationClass::metadata, [directory = std::move(directory)]() mutable { directory.reset(); });
}

void reply_opendir(MountState& mount, fuse_req_t req, const MountNodeRef& node, fuse_file_info& info,
                   std::unique_ptr<DirectoryStream> stream, bool immediate) {
  const auto generation = mount.view != nullptr ? mount.view->generation_of(*stream) : std::nullopt;
  ListingUse use;
  // A copy that is not of one moment would make a program that removes as it reads skip names.
  if (mount.kernel_caches && generation) use = node->kept_listing->open(*generation);
  info.cache_readdir = use.caches;
  info.keep_cache = use.keeps;
  info.fh = mount.directories.add(
      std::make_shared<OpenDirectory>(node, std::move(stream), generation, immediate, use));
  if (fuse_reply_open(req, &info) != 0) let_go(mount, info.fh);
}

void on_opendir(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info) {
  MountState& mount = mount_of(req);
  if (mount.view != nullptr) {
    if (const MountNodeRef node = awake_at(mount, ino)) {
      if (auto known = mount.view->try_open_directory(*node->node()))
        return reply_opendir(mount, req, node, *info, std::move(*known), true);
    }
  }
  submit_about(
      req, OperationClass::metadata, Span::open_ended,
      [&mount, info = *info](Request& request, const Caller& caller, const MountNodeRef& node) mutable {
        answer(request, mount.fs.open_directory(*node->node(), caller),
               [&](fuse_req_t to, std::unique_ptr<DirectoryStream> stream) {
                 reply_opendir(mount, to, node, info, std::move(stream), false);
               });
      },
      ino);
}

void on_releasedir(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* info) {
  MountState& mount = mount_of(req);
  if (const OpenDirectoryRef directory = mount.directories.at(info->fh)) directory->uses();
  let_go(mount, info->fh);
  reply_done(req);
}

void on_fsyncdir(fuse_req_t req, fuse_ino_t ino, int /*data_only*/, fuse_file_info* /*info*/) {
  MountState& mount = mount_of(req);
  submit_about(
      req, OperationClass::write, Span::open_ended,
      [&mount](Request& request, const Caller& /*caller*/, const MountNodeRef& node) {
        answer(request, mount.fs.sync_directory(*node->node()), reply_done);
      },
      ino);
}

}  // namespace

void add_directory_operations(fuse_lowlevel_ops& operations, bool with_attributes) {
  operations.opendir = on_opendir;
  operations.readdir = on_readdir;
  if (with_attributes) operations.readdirplus = on_readdirplus;
  operations.releasedir = on_releasedir;
  operations.fsyncdir = on_fsyncdir;
}

}  // namespace cachefs::mount
