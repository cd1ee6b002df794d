#include "vfs/posix_probe.h"

#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <optional>

#include "base/stat_fields.h"
#include "vfs/posix_credentials.h"
#include "vfs/posix_descriptor.h"

namespace cachefs::posix {
namespace {

/// A kernel stamps a file before it copies the bytes of a write: long enough for the largest write of a busy
/// machine.
constexpr std::chrono::milliseconds kWriteDuration{50};

}  // namespace
namespace {

using std::chrono::nanoseconds;

constexpr nanoseconds kMeasureTime = std::chrono::milliseconds(50);
constexpr int kFineRounds = 64;
/// Bounds the measurement where the clock stands still.
constexpr int kRoundsMax = 100'000;

nanoseconds coarse_clock_step() {
  timespec step{};
  if (clock_getres(CLOCK_REALTIME_COARSE, &step) != 0) return std::chrono::milliseconds(10);
  return std::chrono::seconds(step.tv_sec) + nanoseconds(step.tv_nsec);
}

std::optional<Timestamp> write_and_look(int fd) {
  if (pwrite(fd, "x", 1, 0) != 1) return std::nullopt;
  const Result<struct statx> status = read_status(fd);
  if (!status) return std::nullopt;
  return timestamp_of(status->stx_ctime.tv_sec, status->stx_ctime.tv_nsec);
}

/// What 64 and more writes, each followed by a look, told.
struct Steps {
  int changes = 0;
  int repeats = 0;
  nanoseconds smallest = nanoseconds::max();
};

Steps watch_steps(int fd, const Clock& clock) {
  Steps steps;
  const MonotonicTime deadline = clock.now() + kMeasureTime;
  std::optional<Timestamp> last = write_and_look(fd);
  for (int round = 0; round < kRoundsMax && clock.now() < deadline; ++round) {
    const std::optional<Timestamp> next = write_and_look(fd);
    if (!last || !next) break;
    if (*next == *last) {
      ++steps.repeats;
    } else {
      ++steps.changes;
      // The first step began before we looked, and so is no step but a part of one; never mind: the coarse
      // clock's resolution bounds the result from below.
      steps.smallest = std::min(steps.smallest, std::max(*next - *last, nanoseconds(1)));
    }
    last = next;
    if (steps.repeats == 0 ? steps.changes >= kFineRounds : steps.changes >= 3) break;
  }
  return steps;
}

/// An invisible file: it has no name, and making it changes nothing in the directory.
UniqueFd make_unnamed_file(int root) {
  return UniqueFd(openat(root, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
}

bool tells_holes(int fd) {
  constexpr off_t kHole = 1 << 20;
  return ftruncate(fd, kHole) == 0 && lseek(fd, kHole / 2, SEEK_DATA) < 0 && errno == ENXIO;
}

bool locks(int fd) {
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return fcntl(fd, F_OFD_GETLK, &lock) == 0;
}

bool allocates(int fd) {
  return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0 ||
         (errno != EOPNOTSUPP && errno != ENOSYS);
}

bool has_xattrs(int root) {
  const ProcPath path(root);
  return getxattr(path.c_str(), "user.cachefs", nullptr, 0) >= 0 || (errno != EOPNOTSUPP && errno != ENOENT);
}

/// Whether files may have POSIX access control lists. Where it cannot be told, they may.
bool has_acls(int root) {
  const ProcPath path(root);
  return getxattr(path.c_str(), "system.posix_acl_access", nullptr, 0) >= 0 || errno != EOPNOTSUPP;
}

nanoseconds granule_of(const UniqueFd& unnamed, const SourceTraits& traits, const Clock& clock) {
  if (traits.granule != Granule::measured || !unnamed.valid()) return kUnknownGranule;
  return measure_timestamp_granule(unnamed.get(), clock);
}

}  // namespace

nanoseconds measure_timestamp_granule(int fd, const Clock& clock) {
  const Steps steps = watch_steps(fd, clock);
  if (steps.repeats == 0 && steps.changes >= kFineRounds) return nanoseconds(0);
  if (steps.changes == 0) return kUnknownGranule;
  return std::min(kUnknownGranule, 2 * std::max(steps.smallest, coarse_clock_step()));
}

Result<Capabilities> probe(int root, const MountInfo& mount, const PosixFsOptions& options) {
  struct statvfs status{};
  if (fstatvfs(root, &status) != 0) return failed(errno, "statvfs of the root");
  const SourceTraits traits = traits_of(mount);
  Capabilities capabilities;
  capabilities.type = mount.type;
  capabilities.stable_identity = options.stable_identity.value_or(traits.stable_identity);
  capabilities.local_clock = options.local_clock.value_or(traits.local_clock);
  capabilities.case_sensitive = traits.case_sensitive;
  capabilities.hard_links = traits.hard_links;
  capabilities.symlinks = traits.symlinks;
  capabilities.special_files = traits.special_files;
  capabilities.rename_exchange = traits.rename_exchange;
  capabilities.locks = traits.locks;
  capabilities.drops_set_id = options.drop_set_id && ContentRights::can_be_dropped();
  capabilities.read_only = (status.f_flag & ST_RDONLY) != 0;
  if (status.f_namemax > 0) capabilities.name_max = static_cast<uint32_t>(status.f_namemax);
  capabilities.xattrs = has_xattrs(root);
  // FUSE file systems without lists of their own pass the question on, at the price of a request for each
  // file.
  capabilities.acls = !capabilities.type.starts_with("fuse") && has_acls(root);

  // Where no such file can be made, what it would tell stays unknown, and requests are passed on to be
  // answered below.
  const bool try_it = traits.granule == Granule::measured && !capabilities.read_only;
  const UniqueFd unnamed = try_it ? make_unnamed_file(root) : UniqueFd();
  capabilities.timestamp_granule =
      options.timestamp_granule ? *options.timestamp_granule : granule_of(unnamed, traits, *options.clock);
  capabilities.write_duration = kWriteDuration;
  if (unnamed.valid()) {
    capabilities.seek_data = tells_holes(unnamed.get());
    capabilities.allocate = allocates(unnamed.get());
    if (!locks(unnamed.get())) capabilities.locks = LockReach::none;
  }
  return capabilities;
}

}  // namespace cachefs::posix
