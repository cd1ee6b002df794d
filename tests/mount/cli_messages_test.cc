// Bad input gets one sentence that names the thing and the way out.
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "mount/cli_fixture.h"

namespace cachefs::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

/// Exactly one line, by cachefs itself.
// NOLINTNEXTLINE(readability-identifier-naming): as matchers are named
MATCHER(IsOneSentence, "") { return arg.starts_with("cachefs: ") && arg.find('\n') == arg.size() - 1; }

class CliMessages : public CliTest {
 protected:
  void expect_refused(const std::vector<std::string>& arguments, int exit_code, const std::string& thing,
                      const std::string& way_out) {
    const Finished run = cachefs(arguments);
    EXPECT_EQ(run.exit_code, exit_code);
    EXPECT_THAT(run.errors, AllOf(IsOneSentence(), HasSubstr(thing), HasSubstr(way_out)));
    EXPECT_EQ(run.output, "");
    EXPECT_FALSE(is_mounted());
  }
  void expect_mount_refused(const std::string& source, const std::string& mountpoint,
                            const std::string& thing, const std::string& way_out) {
    expect_refused({"mount", source, mountpoint}, 1, thing, way_out);
  }
};

TEST_F(CliMessages, MissingSource) {
  expect_mount_refused(source_ + "/none", mountpoint_, "does not exist", "give an existing directory");
}

TEST_F(CliMessages, SourceIsAFile) {
  expect_mount_refused(source_ + "/greeting", mountpoint_, "is not a directory", "give the directory");
}

TEST_F(CliMessages, UnreadableSource) {
  std::filesystem::permissions(source_, std::filesystem::perms::none);
  std::filesystem::permissions(folder_, std::filesystem::perms::all);
  std::vector<std::string> command{CACHEFS_PROGRAM, "mount", source_, mountpoint_};
  if (::geteuid() == 0) {
    const std::vector<std::string> as_nobody{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
    command.insert(command.begin(), as_nobody.begin(), as_nobody.end());
  }
  const Finished run = run_command(command);
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.errors,
              AllOf(IsOneSentence(), HasSubstr("cannot be read by you"), HasSubstr("permission")));
}

TEST_F(CliMessages, MissingMountpoint) {
  expect_mount_refused(source_, mountpoint_ + "/none", "does not exist", "mkdir -p");
  expect_mount_refused(source_, mountpoint_ + "/none/below", "does not exist", "mkdir -p");
}

TEST_F(CliMessages, EmptyNames) {
  expect_refused({"mount", source_, ""}, 2, "the mount point is empty text", "give an empty directory");
  expect_refused({"mount", "", mountpoint_}, 2, "the source is empty text", "give an existing directory");
}

TEST_F(CliMessages, MountpointIsAFile) {
  const std::string file = folder_ / "file";
  std::ofstream(file) << "";
  expect_mount_refused(source_, file, "is not a directory", "give an empty directory");
}

TEST_F(CliMessages, MountpointIsNotEmpty) {
  std::ofstream(mountpoint_ + "/something") << "";
  expect_mount_refused(source_, mountpoint_, "is not empty", "give an empty directory");
}

TEST_F(CliMessages, MountpointInsideTheSource) {
  std::filesystem::create_directory(source_ + "/inside");
  expect_mount_refused(source_, source_ + "/inside", "is inside the source", "elsewhere");
}

TEST_F(CliMessages, SourceInsideTheMountpoint) {
  std::filesystem::create_directory(mountpoint_ + "/inside");
  expect_mount_refused(mountpoint_ + "/inside", mountpoint_, "is inside the mount point", "elsewhere");
}

TEST_F(CliMessages, SourceAndMountpointAreOne) {
  std::filesystem::create_directory_symlink(source_, folder_ / "link");
  expect_mount_refused(source_, folder_ / "link", "both source and mount point", "elsewhere");
}

TEST_F(CliMessages, NonsenseSize) {
  expect_refused({"mount", source_, mountpoint_, "--ram-size", "banana"}, 2, "'banana' is not a size",
                 "64MiB");
  expect_refused({"mount", "--ram-size=-1M", source_, mountpoint_}, 2, "'-1M' is not a size", "64MiB");
  expect_refused({"mount", source_, "--ram-size", "0", mountpoint_}, 2, "'0' is too small", "at least 1MiB");
}

TEST_F(CliMessages, NonsenseCoherence) {
  expect_refused({"mount", source_, mountpoint_, "--coherence", "sometimes"}, 2, "sometimes",
                 "close-to-open");
  expect_refused({"mount", source_, mountpoint_, "--coherence", "ttl=99999999h"}, 2, "is too long",
                 "106000d");
  expect_refused({"mount", source_, mountpoint_, "--attr-ttl", "soon"}, 2, "'soon' is not a duration", "60s");
  expect_refused({"mount", source_, mountpoint_, "--coherence", "strict", "--attr-ttl", "2s"}, 2,
                 "of close-to-open alone", "leave it away");
}

TEST_F(CliMessages, UnknownFuseOption) {
  expect_refused({"mount", source_, mountpoint_, "-o", "ro,alow_other"}, 2, "alow_other", "'allow_other'");
  expect_refused({"mount", source_, mountpoint_, "-o", "fsname=x"}, 2, "fsname", "leave it out");
  expect_refused({"mount", source_, mountpoint_, "-o", "max_read=65536"}, 2, "cachefs has no such option",
                 "--help");
}

TEST_F(CliMessages, OptionsOfOthers) {
  const auto expect_advice = [&](const std::string& option, const std::string& advice) {
    expect_refused({"mount", source_, mountpoint_, "-o", option}, 2, "-o " + option, advice);
  };
  for (const char* option : {"nonempty", "big_writes"}) expect_advice(option, "not needed");
  expect_advice("uid=1000", "are those of the source");
  expect_advice("entry_timeout=5", "coherence=ttl=60s");
}

TEST_F(CliMessages, CommaInAValueWithoutQuotes) {
  expect_refused({"mount", source_, mountpoint_, "-o", "timeout=read=20s,write=1m"}, 2, "-o write=1m",
                 R"(-o 'timeout="...,write=1m"')");
  expect_refused({"mount", source_ + "/none", mountpoint_, "-o", R"(timeout="read=20s,write=1m")"}, 1,
                 "does not exist", "give an existing");
}

TEST_F(CliMessages, AnOptionIsNamedAsItWasGiven) {
  expect_refused({"mount", source_, mountpoint_, "-o", "ram_size=2Q"}, 2, "-o ram_size: '2Q'", "64MiB");
  expect_refused({"mount", source_, mountpoint_, "--ram-size", "2Q"}, 2, "--ram-size: '2Q'", "64MiB");
  expect_refused({"mount", source_, mountpoint_, "-o", "kernel_features=fast"}, 2,
                 "-o kernel_features: 'fast'", "--help");
}

TEST_F(CliMessages, UnknownPolicy) {
  expect_refused({"mount", source_, mountpoint_, "--policy", "belady"}, 2,
                 "'belady' is not an eviction policy", "there are: lru, ");
}

TEST_F(CliMessages, OptionsThatDoNothingInTheirMode) {
  expect_refused({"mount", source_, mountpoint_, "--coherence", "strict", "--stale-if-error", "1h"}, 2,
                 "--stale-if-error: nothing is served unchecked in strict", "leave it away");
}

TEST_F(CliMessages, HelpIsACommandToo) {
  EXPECT_EQ(cachefs({"help"}).output, cachefs({"--help"}).output);
  EXPECT_EQ(cachefs({"help", "mount"}).output, cachefs({"mount", "--help"}).output);
  const Finished helper =
      run_command({"bash", "-c", "exec -a mount.fuse.cachefs \"$0\" --help", CACHEFS_PROGRAM});
  EXPECT_EQ(helper.exit_code, 0);
  EXPECT_THAT(helper.output,
              AllOf(StartsWith("usage: mount.fuse.cachefs"), HasSubstr("cachefs mount --help")));
}

TEST_F(CliMessages, UnknownOptionAndCommand) {
  expect_refused({"mount", "--ram-sise", "8M", source_, mountpoint_}, 2, "'--ram-sise'", "'--ram-size'");
  expect_refused({"statsu", mountpoint_}, 2, "'statsu' is not a command", "'status'");
  expect_refused({}, 2, "no command given", "--help");
  EXPECT_THAT(cachefs({"--json"}).json().value("error", ""), HasSubstr("no command given"));
}

TEST_F(CliMessages, OptionBeforeItsCommand) {
  const std::string place = "goes after that word: cachefs mount --ram-size";
  expect_refused({"--ram-size", "1G", "mount", source_, mountpoint_}, 2, "'--ram-size' is an option of",
                 place);
  expect_refused({"--ram-size=1G"}, 2, "'--ram-size' is an option of", place);
}

TEST_F(CliMessages, UnknownLetter) {
  for (const char* letter : {"-v", "-V"}) expect_refused({letter}, 2, letter, "`cachefs --version`");
  EXPECT_THAT(cachefs({"mount", "-x", source_, mountpoint_}).errors,
              AllOf(HasSubstr("'-x' is not an option; "), testing::Not(HasSubstr("did you mean"))));
}

TEST_F(CliMessages, LastOfAnOptionGivenTwiceWins) {
  expect_refused({"mount", source_, mountpoint_, "--ram-size", "1G", "--ram-size", "banana"}, 2,
                 "'banana' is not a size", "64MiB");
  expect_refused({"mount", "--ram-size=8M", "--coherence=never", "--coherence=ttl=1s", source_ + "/none",
                  mountpoint_, "--ram-size=9M"},
                 1, "/none' does not exist", "give an existing directory");
  expect_refused({"umount", "--timeout", "banana", "--timeout", "1s", mountpoint_}, 1,
                 "is not a mount point of cachefs", "findmnt");
}

TEST_F(CliMessages, MissingAndSuperfluousArguments) {
  expect_refused({"mount", source_}, 2, "MOUNTPOINT is required", "cachefs mount --help");
  expect_refused({"mount", source_, mountpoint_, "--ram-size"}, 2, "--ram-size needs a value", "--help");
  expect_refused({"status"}, 2, "MOUNTPOINT is required", "cachefs status --help");
  expect_refused({"status", mountpoint_, "another"}, 2, "'another' is one argument too many", "--help");
}

TEST_F(CliMessages, NoMountOfCachefs) {
  for (const char* command : {"status", "stats", "umount"}) {
    expect_refused({command, mountpoint_}, 1, "is not a mount point of cachefs", "findmnt");
    expect_refused({command, "/proc"}, 1, "is a mount of type proc", "findmnt");
    expect_refused({command, mountpoint_ + "/none"}, 1, "does not exist", "findmnt");
    expect_refused({command, mountpoint_ + "/none/below"}, 1, "does not exist", "findmnt");
    expect_refused({command, ""}, 1, "does not exist", "findmnt");
  }
}

/// `cachefs mount` where /dev holds nothing but what `script` makes there; `as_user` stands before the
/// command.
class CliDevice : public CliMessages {
 protected:
  void SetUp() override {
    CliMessages::SetUp();
    if (run_command({"unshare", "-m", "true"}).exit_code != 0)
      GTEST_SKIP() << "needs a mount namespace of its own";
  }
  [[nodiscard]] Finished mount_with_device(const std::string& script, const std::string& as_user = "") const {
    const std::string prepare = "mount -t tmpfs none /dev && " + script + " && exec " + as_user + " \"$@\"";
    return run_command(
        {"unshare", "-m", "sh", "-c", prepare, "sh", CACHEFS_PROGRAM, "mount", source_, mountpoint_});
  }
};

TEST_F(CliDevice, IsMissing) {
  const Finished run = mount_with_device("true");
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.errors, AllOf(IsOneSentence(), HasSubstr("/dev/fuse"), HasSubstr("modprobe fuse"),
                                HasSubstr("--device /dev/fuse")));
}

TEST_F(CliDevice, IsAFile) {
  const Finished run = mount_with_device(": >/dev/fuse");
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.errors, AllOf(IsOneSentence(), HasSubstr("is not the device"), HasSubstr("mknod")));
}

TEST_F(CliDevice, IsNotForEverybody) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to be somebody else";
  std::filesystem::permissions(folder_, std::filesystem::perms::all);
  std::filesystem::permissions(mountpoint_, std::filesystem::perms::all);
  const Finished run = mount_with_device("mknod -m 600 /dev/fuse c 10 229",
                                         "setpriv --reuid=65534 --regid=65534 --clear-groups");
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.errors, AllOf(IsOneSentence(), HasSubstr("as root"), HasSubstr("666"),
                                testing::Not(HasSubstr("modprobe"))));
}

TEST_F(CliMessages, ErrorsAreJsonToo) {
  const Finished run = cachefs({"mount", source_, mountpoint_, "--ram-size", "banana", "--json"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.errors, IsOneSentence());
  EXPECT_THAT(run.json().value("error", ""), HasSubstr("'banana' is not a size"));
  EXPECT_THAT(cachefs({"--json", "stats"}).json().value("error", ""), HasSubstr("MOUNTPOINT is required"));
}

TEST_F(CliMessages, HelpShowsDefaultsExamplesAndExitCodes) {
  const Finished run = cachefs({"mount", "--help"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.output, AllOf(HasSubstr("SIZE=100MiB"), HasSubstr("MODE=close-to-open"),
                                HasSubstr("Examples:"), HasSubstr("Exit codes:")));
  for (const char* command : {"umount", "status", "stats"}) {
    EXPECT_THAT(cachefs({command, "--help"}).output, AllOf(HasSubstr("Examples:"), HasSubstr("Exit codes:")));
  }
}

TEST_F(CliMessages, Version) {
  EXPECT_THAT(cachefs({"version"}).output, StartsWith("cachefs 0."));
  EXPECT_EQ(cachefs({"--version"}).output, cachefs({"version"}).output);
  EXPECT_THAT(cachefs({"version", "--json"}).json().value("version", ""), StartsWith("0."));
  EXPECT_THAT(cachefs({"--json", "--version"}).json().value("version", ""), StartsWith("0."));
}

}  // namespace
}  // namespace cachefs::test
