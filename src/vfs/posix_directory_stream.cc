#include "vfs/posix_directory_stream.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "base/stat_fields.h"
#include "vfs/posix_attributes.h"

namespace cachefs::posix {
namespace {

constexpr size_t kBatchBytes = 32 * 1024;

/// False if the entry has gone meanwhile.
bool ask_kind(int directory, const char* name, FileKind& kind) {
  struct stat status{};
  if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0) return false;
  kind = kind_of(status.st_mode);
  return true;
}

class PosixDirectoryStream final : public DirectoryStream {
 public:
  PosixDirectoryStream(UniqueFd fd, const InodeNumbers& numbers, uint64_t device)
      : fd_(std::move(fd)), numbers_(numbers), device_(device), buffer_(kBatchBytes / sizeof(dirent64)) {}

  Result<std::vector<DirectoryEntry>> next_batch() override {
    std::vector<DirectoryEntry> entries;
    while (entries.empty()) {  // a batch of "." and ".." alone is no end
      const ssize_t size = getdents64(fd_.get(), buffer_.data(), buffer_.size() * sizeof(dirent64));
      if (size < 0) return failed(errno, "read a directory");
      if (size == 0) break;
      take_batch(static_cast<size_t>(size), entries);
    }
    return entries;
  }

  Result<void> seek(uint64_t cookie) override {
    if (lseek(fd_.get(), static_cast<off_t>(cookie), SEEK_SET) < 0)
      return failed(errno, "seek in a directory");
    return {};
  }

 private:
  void take_batch(size_t size, std::vector<DirectoryEntry>& entries) {
    const char* bytes = reinterpret_cast<const char*>(buffer_.data());
    for (size_t at = 0; at < size;) {
      const auto* record = reinterpret_cast<const dirent64*>(bytes + at);
      at += record->d_reclen;
      const std::string_view name(record->d_name);
      if (name == "." || name == "..") continue;
      FileKind kind = kind_of(static_cast<mode_t>(DTTOIF(record->d_type)));
      if (record->d_type == DT_UNKNOWN && !ask_kind(fd_.get(), record->d_name, kind)) continue;
      entries.push_back({.name = std::string(name),
                         .inode = numbers_.shown(device_, record->d_ino),
                         .cookie = static_cast<uint64_t>(record->d_off),
                         .kind = kind});
    }
  }

  const UniqueFd fd_;
  const InodeNumbers numbers_;
  const uint64_t device_;
  std::vector<dirent64> buffer_;  ///< aligned as the kernel fills it
};

}  // namespace

std::unique_ptr<DirectoryStream> make_directory_stream(UniqueFd fd, const InodeNumbers& numbers,
                                                       uint64_t device) {
  return std::make_unique<PosixDirectoryStream>(std::move(fd), numbers, device);
}

}  // namespace cachefs::posix
