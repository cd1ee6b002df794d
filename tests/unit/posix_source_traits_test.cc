// What is known of file systems by their type.
#include "vfs/posix_source_traits.h"

#include <gtest/gtest.h>

namespace cachefs::posix {
namespace {

constexpr std::string_view kMountInfo =
    "21 26 0:20 / /proc rw - proc proc rw\n"
    "36 21 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext4 /dev/root rw,errors=continue\n"
    "40 21 0:44 / /with\\040space rw - fuse.sshfs me@host:/ rw,user_id=0\n"
    "41 21 0:45 / /share rw - cifs //host/share rw,serverino,nosetuids\n";

TEST(PosixSourceTraits, AMountIsFoundByItsId) {
  EXPECT_EQ(find_mount(kMountInfo, 36).type, "ext4");
  EXPECT_EQ(find_mount(kMountInfo, 40).type, "fuse.sshfs");
  EXPECT_EQ(find_mount(kMountInfo, 41).options, "rw,serverino,nosetuids");
  EXPECT_EQ(find_mount(kMountInfo, 4).type, "unknown");
  EXPECT_EQ(find_mount("36 no separator", 36).type, "unknown");
  EXPECT_EQ(find_mount("", 36).type, "unknown");
}

TEST(PosixSourceTraits, LocalKindsAreMeasuredAndTrusted) {
  for (const char* type : {"ext4", "xfs", "btrfs", "tmpfs", "overlay"}) {
    const SourceTraits traits = traits_of({.type = type, .options = {}});
    EXPECT_TRUE(traits.stable_identity) << type;
    EXPECT_TRUE(traits.local_clock) << type;
    EXPECT_EQ(traits.granule, Granule::measured) << type;
  }
}

TEST(PosixSourceTraits, LocksReachAsFarAsTheMountPassesThemOn) {
  EXPECT_EQ(traits_of({.type = "nfs4", .options = "rw,vers=4.2"}).locks, LockReach::everywhere);
  EXPECT_EQ(traits_of({.type = "nfs", .options = "rw,nolock"}).locks, LockReach::machine);
  EXPECT_EQ(traits_of({.type = "cifs", .options = "rw,serverino"}).locks, LockReach::none);
  EXPECT_EQ(traits_of({.type = "smb3", .options = "rw"}).locks, LockReach::none);
  EXPECT_EQ(traits_of({.type = "cifs", .options = "rw,nobrl"}).locks, LockReach::machine);
}

TEST(PosixSourceTraits, ServersHaveTheirOwnClock) {
  for (const char* type : {"nfs", "nfs4", "ceph", "9p"}) {
    const SourceTraits traits = traits_of({.type = type, .options = {}});
    EXPECT_TRUE(traits.stable_identity) << type;
    EXPECT_FALSE(traits.local_clock) << type;
  }
}

TEST(PosixSourceTraits, CifsIsStableWithTheServersInodeNumbers) {
  EXPECT_TRUE(traits_of({.type = "cifs", .options = "rw,serverino"}).stable_identity);
  EXPECT_FALSE(traits_of({.type = "cifs", .options = "rw,noserverino"}).stable_identity);
}

TEST(PosixSourceTraits, ForeignFuseFileSystemsAreNotTrusted) {
  for (const char* type : {"fuse.sshfs", "fuse.rclone", "fuse", "something new"}) {
    const SourceTraits traits = traits_of({.type = type, .options = {}});
    EXPECT_FALSE(traits.stable_identity) << type;
    EXPECT_FALSE(traits.local_clock) << type;
    EXPECT_EQ(traits.granule, Granule::two_seconds) << type;
  }
  EXPECT_TRUE(traits_of({.type = "fuse.slowfs", .options = {}}).stable_identity);
}

TEST(PosixSourceTraits, FatKnowsFilesByPath) {
  const SourceTraits traits = traits_of({.type = "vfat", .options = {}});
  EXPECT_FALSE(traits.stable_identity);
  EXPECT_TRUE(traits.local_clock);
  EXPECT_FALSE(traits.hard_links);
  EXPECT_FALSE(traits.case_sensitive);
}

}  // namespace
}  // namespace cachefs::posix
