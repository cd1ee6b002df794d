// What an ordinary user meets. /dev/fuse may be closed to users where the tests run: in a mount namespace of
// the test's own there is one that is open, and a PATH and a fuse.conf to try things with.
#include <gmock/gmock.h>
#include <unistd.h>

#include "mount/cli_fixture.h"

namespace cachefs::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

/// The user owns $S, which is closed to others, and $M. `as_user` and `as_other` run a command.
constexpr const char* kPrologue = R"sh(
mknod fuse c 10 229 && chmod 666 fuse && mount --bind fuse /dev/fuse || exit 77
chmod 755 .; chown -R 65534:65534 "$S" "$M"; chmod 700 "$S"
mkdir -m 700 run; chown 65534 run; export XDG_RUNTIME_DIR=$PWD/run
as() { setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"; }
as_user() { as 65534 "$@"; }
as_other() { as 1 "$@"; }
trap '"$CACHEFS" umount "$M" >unmounted 2>&1' EXIT
mount_it() { as_user "$CACHEFS" mount "$S" "$M" "$@" >mounted; }
)sh";

class OrdinaryUser : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    CACHEFS_REQUIRE_MOUNT();
    if (::geteuid() != 0) GTEST_SKIP() << "becoming another user needs root";
  }
  Finished run(const std::string& script) {
    Finished result =
        run_command({"unshare", "-m", "bash", "-c", kPrologue + script},
                    {.directory = folder_,
                     .environment = {"CACHEFS=" CACHEFS_PROGRAM, "S=" + source_, "M=" + mountpoint_}});
    EXPECT_NE(result.exit_code, 77) << "no device can be made: " << result.errors;
    return result;
  }
  void expect_refused(const std::string& script, const std::string& why, const std::string& way_out) {
    const Finished run = OrdinaryUser::run(script + "; echo $?");
    EXPECT_EQ(run.output, "1\n");
    EXPECT_THAT(run.errors, AllOf(StartsWith("cachefs: "), HasSubstr(why), HasSubstr(way_out)));
    EXPECT_EQ(run.errors.find('\n'), run.errors.size() - 1) << run.errors;
  }
};

TEST_F(OrdinaryUser, MountsAndUnmounts) {
  const Finished run = OrdinaryUser::run(R"sh(mount_it && as_user cat "$M/greeting"
      as_user "$CACHEFS" umount "$M"; as_user ls -A "$M")sh");
  EXPECT_EQ(run.output, "hello\nUnmounted '" + mountpoint_ + "'.\n") << run.errors;
}

TEST_F(OrdinaryUser, FusermountUnmountsToo) {
  const Finished run =
      OrdinaryUser::run(R"sh(mount_it && as_user fusermount3 -u "$M"; as_user ls -A "$M")sh");
  EXPECT_EQ(run.output + run.errors, "");
}

TEST_F(OrdinaryUser, MountsOverAnotherFuseMountThatLetsOthersIn) {
  const Finished run =
      OrdinaryUser::run(R"sh(echo user_allow_other >conf; mount --bind conf /etc/fuse.conf
      as_user )sh" SLOWFS_PROGRAM
                        R"sh( "$S" "$M" -o allow_other; as_user "$CACHEFS" mount --over "$M" >mounted
      as_user cat "$M/greeting"; as_user "$CACHEFS" umount "$M"; as_user cat "$M/greeting"
      trap 'as_user fusermount3 -u "$M"' EXIT)sh");
  EXPECT_EQ(run.output, "hello\nUnmounted '" + mountpoint_ + "'.\nhello\n") << run.errors;
}

/// fusermount3 is root to what the user has mounted.
TEST_F(OrdinaryUser, IsToldWhyHeCannotMountOverAnotherFuseMount) {
  const std::string script = R"sh(as_user )sh" SLOWFS_PROGRAM R"sh( "$S" "$M"
      trap 'as_user fusermount3 -u "$M"' EXIT; as_user "$CACHEFS" mount --over "$M")sh";
  expect_refused(script, "without allow_other", "mount that with -o allow_other");
}

TEST_F(OrdinaryUser, RootIsToldThatItMayNotEnterAUsersMount) {
  const std::string script = R"sh(as_user )sh" SLOWFS_PROGRAM R"sh( "$S" "$M"
      trap 'as_user fusermount3 -u "$M"' EXIT; "$CACHEFS" mount --over "$M")sh";
  expect_refused(script, "keeps root out", "as the user who has mounted that");
}

/// Of others the kernel keeps even root out of the files; the daemon answers root.
TEST_F(OrdinaryUser, RootSeesNoFilesButCanAskAndUnmount) {
  const Finished run = OrdinaryUser::run(R"sh(mount_it && cat "$M/greeting"
      "$CACHEFS" status "$M" | head -1; "$CACHEFS" umount "$M")sh");
  EXPECT_THAT(run.errors, HasSubstr("Permission denied"));
  EXPECT_THAT(run.output, AllOf(StartsWith("state"), HasSubstr("mounted\nUnmounted")));
}

TEST_F(OrdinaryUser, OthersAreToldWhoMayAsk) {
  const Finished run = OrdinaryUser::run(R"sh(mount_it
      as_other "$CACHEFS" status "$M"; as_other "$CACHEFS" umount "$M")sh");
  EXPECT_THAT(run.errors, AllOf(HasSubstr("mounted by user 65534; ask as that user or as root"),
                                HasSubstr("unmount as that user or as root")));
}

TEST_F(OrdinaryUser, TheSocketIsInADirectoryOfHisAlone) {
  const Finished run = OrdinaryUser::run(
      R"sh(mount_it; stat -c '%a %u' run/cachefs; ls run/cachefs | wc -l; "$CACHEFS" umount "$M"
      unset XDG_RUNTIME_DIR; mount_it; stat -c '%a %u' /tmp/cachefs-65534
      "$CACHEFS" umount "$M" >unmounted; rmdir /tmp/cachefs-65534)sh");
  EXPECT_THAT(run.output, AllOf(StartsWith("700 65534\n1\n"), HasSubstr("Unmounted"))) << run.errors;
  EXPECT_THAT(run.output, testing::EndsWith("700 65534\n"));
}

TEST_F(OrdinaryUser, WhatAKilledDaemonLeftIsTakenAway) {
  const Finished run = OrdinaryUser::run(R"sh(mount_it; daemon=$(sed 's/.*(pid \([0-9]*\)).*/\1/' mounted)
      kill -9 $daemon; while [ -d /proc/$daemon ]; do :; done; mount_it && as_user cat "$M/greeting")sh");
  EXPECT_EQ(run.output, "hello\n");
  EXPECT_THAT(run.errors, HasSubstr("took away the mount"));
}

TEST_F(OrdinaryUser, MountsOverHisOwnSource) {
  const Finished run =
      OrdinaryUser::run(R"sh(as_user "$CACHEFS" mount --over "$S" >mounted && as_user cat "$S/greeting"
      as_user "$CACHEFS" umount "$S" && as_user cat "$S/greeting")sh");
  EXPECT_EQ(run.output, "hello\nUnmounted '" + source_ + "'.\nhello\n") << run.errors;
}

TEST_F(OrdinaryUser, MayLetOthersInWhereRootHasSaidSo) {
  const Finished run = OrdinaryUser::run(R"sh(echo user_allow_other >conf; mount --bind conf /etc/fuse.conf
      chmod 755 "$S"; mount_it -o allow_other && as_other cat "$M/greeting")sh");
  EXPECT_EQ(run.output, "hello\n") << run.errors;
}

TEST_F(OrdinaryUser, MayNotLetOthersInElsewhere) {
  expect_refused(R"sh(: >conf; mount --bind conf /etc/fuse.conf; mount_it -o allow_other)sh",
                 "/etc/fuse.conf does not let users do it", "`user_allow_other`");
}

TEST_F(OrdinaryUser, WithoutFusermount) {
  expect_refused(R"sh(as_user /usr/bin/env PATH=/none "$CACHEFS" mount "$S" "$M")sh",
                 "fusermount3 is missing", "install the package fuse3");
}

TEST_F(OrdinaryUser, WithAFusermountThatMayNotMount) {
  expect_refused(R"sh(mkdir bin; cp /usr/bin/fusermount3 bin; chmod 755 bin/fusermount3
      PATH="$PWD/bin:$PATH" mount_it)sh",
                 "bin/fusermount3 may not mount", "chmod u+s");
}

TEST_F(OrdinaryUser, WithoutAnEntryInPasswd) {
  expect_refused(R"sh(chown -R 54321 "$S" "$M"; as 54321 "$CACHEFS" mount "$S" "$M")sh",
                 "user 54321 has no entry in /etc/passwd", "add the user");
}

TEST_F(OrdinaryUser, CannotRemount) {
  expect_refused(R"sh(mount_it; as_user "$CACHEFS" mount -o remount,ro "$S" "$M")sh", "only root can remount",
                 "mount anew");
}

/// As root mounts are for everybody, permissions as on the source.
TEST_F(OrdinaryUser, UsesWhatRootHasMounted) {
  const Finished run = OrdinaryUser::run(R"sh(echo secret >"$S/secret"; chmod 600 "$S/secret"
      "$CACHEFS" mount "$S" "$M" >mounted; as_user cat "$M/greeting"; as_user cat "$M/secret"; as_other ls "$M")sh");
  EXPECT_EQ(run.output, "hello\n");
  EXPECT_THAT(run.errors, AllOf(HasSubstr("secret: Permission denied"), HasSubstr("cannot open directory")));
}

}  // namespace
}  // namespace cachefs::test
