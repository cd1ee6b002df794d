// Between the kernel's language and ours.
#pragma once

#include <fuse_lowlevel.h>
#include <sys/stat.h>

#include <chrono>
#include <string>

#include "cachefs/file_system.h"
#include "mount/mount_state.h"

namespace cachefs::mount {

[[nodiscard]] struct stat to_stat(const Attributes& attributes, const MountNode& node);
/// The kind as the upper bits of st_mode.
[[nodiscard]] uint32_t type_bits(FileKind kind);
[[nodiscard]] FileKind kind_of(uint32_t mode);
/// Timeouts in seconds, as libfuse takes them.
[[nodiscard]] double seconds(std::chrono::nanoseconds duration);

/// On whose behalf the request is made. Reads the supplementary groups, where they can matter: to be called
/// before the request can be answered, and only where the answer will come from the file system.
[[nodiscard]] Caller caller_of(fuse_req_t req);
/// The same without supplementary groups: for answers at once, which the kernel's own check of permissions
/// allowed.
[[nodiscard]] Caller caller_without_groups(fuse_req_t req);

[[nodiscard]] OpenFlags open_flags(int flags);

/// Never ENOSYS, which would make the kernel give the operation up for good.
void reply_error(fuse_req_t req, const Error& error);

/// An answer's remaining life in the kernel, in seconds; 0 where it keeps nothing.
[[nodiscard]] double attribute_timeout(const MountState& mount, const MountNode& node);
[[nodiscard]] double name_timeout(const MountState& mount, const MountNode& directory,
                                  const std::string& name);

void reply_attributes(MountState& mount, fuse_req_t req, const MountNode& node, const Attributes& attributes);

/// The answer to a look-up or a creation of `name`. Its node is entered in the table.
struct EntryAnswer {
  fuse_entry_param param{};
  MountNodeRef node;
};
[[nodiscard]] EntryAnswer enter(MountState& mount, const MountNode& directory, const std::string& name,
                                const Entry& entry);
void reply_entry(MountState& mount, fuse_req_t req, const MountNode& directory, const std::string& name,
                 const Entry& entry);
/// "There is no such name", which the kernel may remember.
void reply_no_entry(MountState& mount, fuse_req_t req, const MountNode& directory, const std::string& name);

/// Answers a request that has no answer but that it succeeded.
void reply_result(Request& request, const Result<void>& result);

}  // namespace cachefs::mount
