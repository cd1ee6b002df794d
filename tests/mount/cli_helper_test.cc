// cachefs as mount(8) and fstab call it. mount(8) looks for helpers in /sbin alone: there is ours, in a mount
// namespace of the test's own.
#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>

#include "mount/cli_fixture.h"

namespace cachefs::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// The way into the namespace. $S and $M are source and mount point, `cachefs` is the program.
constexpr const char* kPrologue = R"sh(
mkdir -p sbin; ln -sfn "$CACHEFS" sbin/mount.fuse.cachefs
mount -t overlay -o lowerdir="$PWD/sbin:/usr/sbin" overlay /usr/sbin || exit 77
mkdir -p /run/mount; mount -t tmpfs tmpfs /run/mount || exit 77
cachefs() { "$CACHEFS" "$@"; }
trap 'cachefs umount "$M" >unmounted 2>&1' EXIT
options() { findmnt -no OPTIONS "$M"; }
)sh";

class MountHelper : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    CACHEFS_REQUIRE_MOUNT();
    if (::geteuid() != 0) GTEST_SKIP() << "mount(8) and a mount namespace need root";
  }

  Finished run(const std::string& script) {
    Finished result =
        run_command({"unshare", "-m", "bash", "-c", kPrologue + script},
                    {.directory = folder_,
                     .environment = {"CACHEFS=" CACHEFS_PROGRAM, "S=" + source_, "M=" + mountpoint_}});
    EXPECT_NE(result.exit_code, 77) << "no overlay can be mounted on /usr/sbin: " << result.errors;
    return result;
  }
};

TEST_F(MountHelper, MountsQuietly) {
  const Finished run = MountHelper::run(R"sh(mount -t fuse.cachefs "$S" "$M" && cat "$M/greeting")sh");
  EXPECT_EQ(run.output, "hello\n");
  EXPECT_EQ(run.errors, "");
}

TEST_F(MountHelper, TakesTheOptionsOfBoth) {
  const Finished run = MountHelper::run(
      R"sh(mount -t fuse.cachefs "$S" "$M" -o ro,noexec,ram_size=8M,coherence=ttl=60s && options
         cachefs status "$M" --json)sh");
  EXPECT_THAT(run.output, testing::StartsWith("ro,noexec,relatime"));
  EXPECT_THAT(run.output, AllOf(HasSubstr("\"ttl=60s\""), HasSubstr("8388608")));
}

/// mount(8) leaves out what it takes for the default.
TEST_F(MountHelper, SuidAndDevAreOnAsMountSays) {
  const Finished run = MountHelper::run(R"sh(mount -t fuse.cachefs "$S" "$M" -o suid,dev; options; umount "$M"
      mount -t fuse.cachefs "$S" "$M" -o nosuid,nodev; options)sh");
  EXPECT_THAT(run.output,
              AllOf(testing::StartsWith("rw,relatime,"), HasSubstr("\nrw,nosuid,nodev,relatime,")));
}

TEST_F(MountHelper, ServesALineOfFstab) {
  const Finished run = MountHelper::run(R"sh(mkdir "my source"; echo hello >"my source/greeting"
      echo "$PWD/my\040source $M fuse.cachefs ram_size=8M,noauto,user,nofail,_netdev,x-systemd.requires=a,relatime 0 0" >fstab
      mount -T fstab "$M" && cat "$M/greeting"; options; cachefs status "$M")sh");
  EXPECT_THAT(run.output,
              AllOf(HasSubstr("hello"), HasSubstr("noexec"), HasSubstr("8.0 MiB")));  // user: noexec
  EXPECT_EQ(run.errors, "");
}

TEST_F(MountHelper, UmountOfTheSystemUnmounts) {
  const Finished run = MountHelper::run(R"sh(mount -t fuse.cachefs "$S" "$M" && umount "$M"; ls -A "$M")sh");
  EXPECT_EQ(run.output + run.errors, "");
}

TEST_F(MountHelper, TheHelperOfAllFuseFileSystemsServesToo) {
  const Finished run = MountHelper::run(R"sh(umount /usr/sbin; mkdir bin; ln -s "$CACHEFS" bin/cachefs
      mount --bind bin /usr/local/bin; mount -t fuse.cachefs "$S" "$M" -o ram_size=8M && cat "$M/greeting")sh");
  EXPECT_EQ(run.output, "hello\n") << run.errors;
}

TEST_F(MountHelper, TellsWhatMountKnowsAsExitCodes) {
  const Finished run = MountHelper::run(R"sh(mount -t fuse.cachefs "$S" "$M" -o ramsize=8M; echo $?
      mount -t fuse.cachefs "$S/none" "$M"; echo $?
      mount -t fuse.cachefs -s "$S" "$M" -o ramsize=8M; echo $?)sh");
  EXPECT_EQ(run.output, "1\n32\n0\n");
  EXPECT_THAT(run.errors, AllOf(HasSubstr("did you mean 'ram_size'?"), HasSubstr("does not exist")));
}

TEST_F(MountHelper, FakeMountsNothing) {
  const Finished run = MountHelper::run(R"sh(mount -fvt fuse.cachefs "$S" "$M"; echo $?; ls -A "$M"
      mount -ft fuse.cachefs "$S" "$M" -o coherence=never; echo $?)sh");
  EXPECT_EQ(run.output, "0\n1\n");
  EXPECT_THAT(run.errors, AllOf(HasSubstr("nothing was mounted"), HasSubstr("never")));
}

TEST_F(MountHelper, MountsInTheNamespaceThatItIsTold) {
  const Finished run = MountHelper::run(R"sh(sleep 1000 & other=$!; unshare -m sleep 1000 & there=$!
      until [ "$(readlink /proc/$there/ns/mnt)" != "$(readlink /proc/$other/ns/mnt)" ]; do :; done
      mount -N $there -t fuse.cachefs "$S" "$M"; echo $?; ls -A "$M"
      nsenter -m -t $there cat "$M/greeting"; nsenter -m -t $there "$CACHEFS" umount "$M"
      kill $other $there)sh");
  EXPECT_THAT(run.output, testing::StartsWith("0\nhello\nUnmounted")) << run.errors;
}

TEST_F(MountHelper, RemountChangesWhatTheKernelChecks) {
  const Finished run = MountHelper::run(R"sh(mount -t fuse.cachefs "$S" "$M" -o noexec,nosuid
      mount -o remount,ro "$M"; options; touch "$M/x"
      mount -o remount,rw,exec "$M"; options; touch "$M/x" && ls "$S")sh");
  EXPECT_THAT(run.output, AllOf(testing::StartsWith("ro,nosuid,noexec,"), HasSubstr("\nrw,nosuid,relatime,"),
                                HasSubstr("x\n")));
  EXPECT_THAT(run.errors, HasSubstr("Read-only file system"));
}

/// Without mount(8), which names all that is to stay.
TEST_F(MountHelper, RemountByTheProgramKeepsWhatIsNotNamed) {
  const Finished run = MountHelper::run(R"sh(cachefs mount "$S" "$M" -o noexec >mounted
      cachefs mount -o remount,ro "$S" "$M"; options)sh");
  EXPECT_THAT(run.output, HasSubstr("Remounted '" + mountpoint_ + "'.\nro,nosuid,nodev,noexec,"));
}

TEST_F(MountHelper, RemountReadOnlyLosesNothing) {
  const Finished run = MountHelper::run(R"sh(mount -t fuse.cachefs "$S" "$M"
      exec 5>"$M/file"; echo data >&5; mount -o remount,ro "$M"; echo $?
      echo more >&5; exec 5>&-; mount -o remount,ro "$M"; echo $?; cat "$S/file")sh");
  EXPECT_EQ(run.output, "32\n0\ndata\nmore\n");
  EXPECT_THAT(run.errors, HasSubstr("cannot be made read-only while files are open for writing"));
}

TEST_F(MountHelper, RemountRefusesWhatItCannotChange) {
  const Finished run = MountHelper::run(R"sh(mount -t fuse.cachefs "$S" "$M" -o ram_size=8M,policy=sieve
      mount -o remount,ram_size=8M,policy=sieve,ro "$M"; echo $?
      mount -o remount,ram_size=9M,rw "$M"; echo $?; mount -o remount,auto_unmount,rw "$M"; echo $?; options)sh");
  EXPECT_THAT(run.output, testing::StartsWith("0\n32\n32\nro,"));
  EXPECT_THAT(run.errors, AllOf(HasSubstr("ram_size cannot be changed while mounted (it is 8M)"),
                                HasSubstr("auto_unmount cannot be changed"), HasSubstr("mount anew")));
}

TEST_F(MountHelper, CommasAndBlanksPassThrough) {
  const Finished run = MountHelper::run(R"sh(mkdir 'a,b c'; echo hello >'a,b c/greeting'
      echo "$PWD"'/a,b\040c '"$M"' fuse.cachefs ram_size="8M",comment="x,ro",coherence=ttl\=60s' >fstab
      mount -T fstab "$M" && cat "$M/greeting"; options)sh");
  EXPECT_THAT(run.output, AllOf(testing::StartsWith("hello\nrw,"), Not(HasSubstr("ro,")))) << run.errors;
}

}  // namespace
}  // namespace cachefs::test
