// The pieces of the command line that need no mount.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <spdlog/sinks/ostream_sink.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <sstream>

#include "cli/end_requests.h"
#include "cli/fuse_checks.h"
#include "cli/helper_line.h"
#include "cli/log.h"
#include "cli/mount_options.h"
#include "cli/mount_plan.h"
#include "cli/mount_table.h"
#include "cli/nearest.h"
#include "cli/output.h"
#include "cli/placement.h"
#include "cli/stats_report.h"

namespace cachefs::cli {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

TEST(MountPlan, LocksOfSmbAreRefusedWithTheWayOut) {
  EXPECT_THAT(without_locks("/mnt/share", "cifs"), HasSubstr("mount it with nobrl"));
  EXPECT_THAT(without_locks("/mnt/share", "smb3"), HasSubstr("'/mnt/share', smb3"));
}

TEST(MountTable, ParsesALine) {
  const auto entry = parse_mountinfo_line(
      "97 27 0:52 / /mnt/my\\040photos rw,nosuid shared:5 master:1 - fuse.cachefs /srv/a\\134b "
      "rw,user_id=1000,group_id=100,allow_other");
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->id, 97);
  EXPECT_EQ(entry->mountpoint, "/mnt/my photos");
  EXPECT_EQ(entry->source, "/srv/a\\b");
  EXPECT_EQ(entry->owner, 1000U);
  EXPECT_TRUE(entry->is_cachefs());
}

TEST(MountTable, RefusesWhatIsNoLine) {
  for (const char* line :
       {"", "97 27 0:52 /", "97 27 0:52 / /mnt rw no dash", "x 27 0:52 / /mnt rw - ext4 a b"}) {
    EXPECT_FALSE(parse_mountinfo_line(line)) << line;
  }
}

TEST(MountTable, TheLastMountIsOnTop) {
  const std::vector<MountEntry> table{{1, "/mnt", "ext4", "a", 0}, {2, "/mnt", "tmpfs", "b", 0}};
  EXPECT_EQ(mounted_at(table, "/mnt")->id, 2);
  EXPECT_FALSE(mounted_at(table, "/mn"));
}

TEST(MountTable, ResolvesNamesWithoutLookingAtTheLast) {
  EXPECT_EQ(resolve_mountpoint("/").value(), "/");
  EXPECT_EQ(resolve_mountpoint("//tmp/../tmp/./none//.").value(), "/tmp/none");
  EXPECT_TRUE(resolve_mountpoint("/tmp/none/below").error().is(std::errc::no_such_file_or_directory));
  EXPECT_TRUE(resolve_mountpoint("").error().is(std::errc::no_such_file_or_directory));
}

TEST(Nearest, FindsTypingErrorsAlone) {
  const std::array<std::string, 3> names{"--ram-size", "--coherence", "-o"};
  EXPECT_EQ(nearest("--ram-sise", names), "--ram-size");
  EXPECT_EQ(nearest("--cohernece", names), "--coherence");
  EXPECT_EQ(nearest("stauts", std::array<std::string, 2>{"stats", "status"}),
            "stats");  // both are one edit away
  EXPECT_EQ(nearest("--frobnicate", names), "");
}

TEST(FuseOptions, WhatIsAlwaysSetOrMeansNothingIsLeftOut) {
  const auto options = check_fuse_options({"ro", "noatime", "relatime", "default_permissions"});
  ASSERT_TRUE(options);
  EXPECT_THAT(*options, testing::IsSupersetOf({"ro", "noatime"}));
  EXPECT_THAT(*options, testing::Not(testing::Contains("relatime")));
  EXPECT_THAT(*options, testing::Not(testing::Contains("default_permissions")));
}

TEST(FuseOptions, ThoseThatCachefsSetsAreRefused) {
  EXPECT_EQ(check_fuse_options({"subtype=a"}).error().exit_code, kExitUsage);
  EXPECT_EQ(check_fuse_options({"fsname"}).error().exit_code, kExitUsage);
}

TEST(OptionList, CommasAndBlanksAreWrittenAsLibmountAndLibfuseDo) {
  using Options = std::vector<std::string>;
  EXPECT_EQ(split_options("ro,,a=b c,"), (Options{"ro", "a=b c"}));
  EXPECT_EQ(split_options(R"(a=x\,y,b="p,q",c=\\,d=\")"), (Options{"a=x,y", "b=p,q", "c=\\", "d=\""}));
  EXPECT_EQ(split_options(R"(a="x,ro)").error().exit_code, kExitUsage);
}

MountArguments taken(std::vector<std::string> lists) {
  MountArguments arguments;
  arguments.fuse_options = std::move(lists);
  EXPECT_TRUE(take_options(arguments, Unknown::refuse));
  return arguments;
}

TEST(MountOptions, EachIsSetByBothForms) {
  for (const MountOption& option : mount_options()) {
    std::string name(option.name);
    std::replace(name.begin(), name.end(), '-', '_');
    const bool is_flag = option.value_name.empty();
    const MountArguments by_list = taken({is_flag ? name : name + "=some value"});
    CLI::App app;
    MountArguments by_line;
    add_mount_options(app, by_line);
    app.parse(fmt::format("--{}{}", option.name, is_flag ? "" : " 'some value'"));
    EXPECT_EQ(option_texts(by_list).at(name), is_flag ? "yes" : "some value");
    EXPECT_EQ(option_texts(by_list), option_texts(by_line));
    EXPECT_EQ(by_list.given, given_options(app));
  }
}

TEST(MountOptions, OfSeveralTheLastCounts) {
  EXPECT_EQ(taken({"ram_size=1G,ro,ram-size=2G", "ram_size=3G"}).ram_size, "3G");
}

TEST(MountOptions, TheLongFormCountsMore) {
  MountArguments arguments;
  arguments.ram_size = "1G";
  arguments.given = {"ram_size"};
  arguments.fuse_options = {"ram_size=2G"};
  ASSERT_TRUE(take_options(arguments, Unknown::refuse));
  EXPECT_EQ(arguments.ram_size, "1G");
}

TEST(MountOptions, WhatIsForMountAloneIsDropped) {
  const MountArguments arguments = taken(
      {"defaults,noauto,user,user=joe,nofail,_netdev,x-systemd.automount,x-a=b,X-c,comment=d,remount,ro"});
  EXPECT_THAT(arguments.fuse_options, testing::ElementsAre("ro"));
  EXPECT_TRUE(arguments.remount);
}

TEST(MountOptions, UnknownOnesAreRefusedOrIgnored) {
  for (const char* option : {"max_read=65536", "debug", "ro=1", "x", "over=1", "ram_size"}) {
    MountArguments arguments;
    arguments.fuse_options = {option};
    const auto refused = take_options(arguments, Unknown::refuse);
    ASSERT_FALSE(refused) << option;
    EXPECT_EQ(refused.error().exit_code, kExitUsage) << option;
  }
  MountArguments arguments;
  arguments.fuse_options = {"debug,ro"};
  ASSERT_TRUE(take_options(arguments, Unknown::ignore));
  EXPECT_THAT(arguments.fuse_options, testing::ElementsAre("ro"));
}

TEST(HelperLine, IsReadAsMountWritesIt) {
  const auto line = parse_helper_line(
      {"/a b", "/m", "-s", "-fnv", "-o", "rw,ram_size=8M,what", "-N", "/proc/1/fd/4", "-t", "fuse.cachefs"});
  ASSERT_TRUE(line) << line.error().sentence;
  EXPECT_EQ(line->mount.source, "/a b");
  EXPECT_EQ(line->mount.mountpoint, "/m");
  EXPECT_EQ(line->mount.ram_size, "8M");
  EXPECT_EQ(line->mount.fuse_options.back(), "rw");
  EXPECT_EQ(line->name_space, "/proc/1/fd/4");
  EXPECT_TRUE(line->fake && line->verbose);
}

TEST(HelperLine, WhatItDoesNotKnowIsRefused) {
  for (const std::vector<std::string>& line :
       std::vector<std::vector<std::string>>{{},
                                             {"/a"},
                                             {"/a", "/b", "/c"},
                                             {"/a", "/b", "-x"},
                                             {"/a", "/b", "-o"},
                                             {"/a", "/b", "-o", "what"}}) {
    const auto read = parse_helper_line(line);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().exit_code, kExitUsage);
  }
}

TEST(HelperLine, IsToldFromACommandByNameAndSlash) {
  EXPECT_TRUE(is_helper_line("/sbin/mount.fuse.cachefs", {"a", "b"}));
  EXPECT_TRUE(is_helper_line("cachefs", {"/a", "b", "-o", "ro"}));
  EXPECT_FALSE(is_helper_line("/usr/bin/cachefs", {"mount", "/a", "/b"}));
  EXPECT_FALSE(is_helper_line("cachefs", {"--log=/a"}));
  EXPECT_FALSE(is_helper_line("cachefs", {}));
}

MountEntry entry(std::string mountpoint, std::string root, std::string source = "/dev/disk") {
  MountEntry result;
  result.id = 1;
  result.mountpoint = std::move(mountpoint);
  result.root = std::move(root);
  result.type = source.starts_with("/dev/") ? "ext4" : std::string(kMountType);
  result.device = source.starts_with("/dev/") ? "8:1" : "0:" + source;
  result.source = std::move(source);
  result.shared = true;
  return result;
}

TEST(Placement, ABindMountOfAPartLeadsInside) {
  const std::vector<MountEntry> table{entry("/", "/"), entry("/none-b", "/none-a/part")};
  EXPECT_TRUE(is_within("/none-b/x", "/none-a", table));
  EXPECT_FALSE(is_within("/none-b/x", "/none-a/other", table));
  EXPECT_FALSE(is_within("/none-bc", "/none-a", table));
}

TEST(Placement, WhatIsMountedInAPrivateBindMountShowsNowhereElse) {
  std::vector<MountEntry> table{entry("/", "/"), entry("/none-b", "/none-a/part")};
  table.back().shared = false;
  EXPECT_FALSE(is_within("/none-b/x", "/none-a", table));
}

TEST(Placement, SourcesAreFollowedThroughMountsOfCachefs) {
  const std::vector<MountEntry> table{entry("/", "/"), entry("/none-1", "/", "/none-a"),
                                      entry("/none-2", "/deep", "/none-1/b")};
  EXPECT_THAT(sources_behind("/none-2/c", table),
              testing::ElementsAre("/none-1/b/deep/c", "/none-a/b/deep/c"));
  EXPECT_THAT(sources_behind("/none-3", table), testing::IsEmpty());
}

TEST(Placement, AMountOverItsSourceHidesIt) {
  const std::vector<MountEntry> table{entry("/", "/"), entry("/none-1", "/", "/none-1")};
  EXPECT_THAT(sources_behind("/none-1/a", table), testing::IsEmpty());
}

TEST(MountPlan, ReadsSizeAndMode) {
  std::vector<std::string> notes;
  MountArguments arguments;
  arguments.ram_size = "8M";
  arguments.coherence = "ttl=1h";
  const auto options = plan_cache(arguments, notes);
  ASSERT_TRUE(options);
  EXPECT_EQ(options->max_bytes, 8U << 20);
  EXPECT_EQ(options->coherence.mode, CoherenceMode::ttl);
  EXPECT_THAT(notes, testing::IsEmpty());
}

TEST(MountPlan, ReadsTheLifeOfAttributes) {
  std::vector<std::string> notes;
  MountArguments arguments;
  arguments.ram_size = "8M";
  arguments.coherence = "close-to-open";
  EXPECT_EQ(plan_cache(arguments, notes)->coherence.attribute_ttl, 1s);
  arguments.attribute_ttl = "0";
  EXPECT_EQ(plan_cache(arguments, notes)->coherence.metadata_ttl(), 0s);
  arguments.attribute_ttl = "250ms";
  EXPECT_EQ(plan_cache(arguments, notes)->coherence.metadata_ttl(), 250ms);
}

TEST(MountPlan, ReadsTheEvictionPolicy) {
  std::vector<std::string> notes;
  MountArguments arguments;
  EXPECT_EQ(plan_cache(arguments, notes)->policy, CacheOptions{}.policy);
  arguments.policy = "s3-fifo";
  EXPECT_EQ(plan_cache(arguments, notes)->policy, "s3-fifo");
  arguments.policy = "s3fifo";
  EXPECT_THAT(plan_cache(arguments, notes).error().sentence,
              AllOf(HasSubstr("--policy: 's3fifo' is not an eviction policy"), HasSubstr("'s3-fifo'")));
}

TEST(MountPlan, ReadsWhoChecksAccess) {
  std::vector<std::string> notes;
  MountArguments arguments;
  EXPECT_EQ(plan_cache(arguments, notes)->access_check, AccessCheck::mode_bits);
  arguments.access_check = "source";
  EXPECT_EQ(plan_cache(arguments, notes)->access_check, AccessCheck::source);
  arguments.access_check = "nobody";
  EXPECT_THAT(plan_cache(arguments, notes).error().sentence, HasSubstr("neither mode-bits nor source"));
}

TEST(MountPlan, TellsOfLimitsThatLimitNothing) {
  std::vector<std::string> notes;
  MountArguments arguments;
  arguments.max_nodes = "1000000000000";
  EXPECT_TRUE(plan_nodes(arguments, notes));
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_THAT(notes.front(), HasSubstr("--max-nodes 1000000000000 may take more than this machine's memory"));
}

TEST(MountPlan, StaleAnswersAreNotOfStrict) {
  std::vector<std::string> notes;
  MountArguments arguments;
  arguments.coherence = "strict";
  EXPECT_TRUE(plan_cache(arguments, notes)) << "its default is for the other modes";
  arguments.given = {"stale_if_error"};
  EXPECT_EQ(plan_cache(arguments, notes).error().exit_code, kExitUsage);
  arguments.stale_if_error = "0";
  EXPECT_TRUE(plan_cache(arguments, notes));
}

TEST(EndRequests, TheSameEndToldTwiceIsOneRequest) {
  ManualClock clock;
  EndRequests requests(clock);
  EXPECT_EQ(requests.take(SIGINT), EndRequest::orderly);
  EXPECT_EQ(requests.take(SIGTERM), EndRequest::known);
  clock.advance(EndRequests::kPatience - 1ms);
  EXPECT_EQ(requests.take(SIGTERM), EndRequest::known);
}

TEST(EndRequests, LaterOneIsImpatience) {
  ManualClock clock;
  EndRequests requests(clock);
  EXPECT_EQ(requests.take(SIGHUP), EndRequest::orderly);
  clock.advance(EndRequests::kPatience);
  EXPECT_EQ(requests.take(SIGINT), EndRequest::at_once);
}

TEST(EndRequests, HangUpIsNeverImpatience) {
  ManualClock clock;
  EndRequests requests(clock);
  EXPECT_EQ(requests.take(SIGTERM), EndRequest::orderly);
  clock.advance(1h);
  EXPECT_EQ(requests.take(SIGHUP), EndRequest::known);
  EXPECT_EQ(requests.take(SIGTERM), EndRequest::at_once);
}

TEST(FloodGate, OneOfAKindAPeriod) {
  ManualClock clock;
  FloodGate gate(clock);
  EXPECT_EQ(gate.let_through("close '/a': Input/output error"), 0U);
  EXPECT_EQ(gate.let_through("close '/b': Input/output error"), std::nullopt);
  EXPECT_EQ(gate.let_through("close '/b': No space left on device"), 0U);
  clock.advance(FloodGate::kPeriod - 1ms);
  EXPECT_EQ(gate.let_through("close '/c': Input/output error"), std::nullopt);
  clock.advance(1ms);
  EXPECT_EQ(gate.let_through("close '/d': Input/output error"), 2U);
}

TEST(FloodGate, RemembersALimitedNumberOfKinds) {
  ManualClock clock;
  FloodGate gate(clock);
  for (size_t i = 0; i < FloodGate::kKindsMax; ++i) EXPECT_EQ(gate.let_through(std::to_string(i)), 0U);
  EXPECT_EQ(gate.let_through("one more"), 0U);
  EXPECT_EQ(gate.let_through("yet another"), std::nullopt);
}

TEST(CalmSink, TellsWhatWasHeldBack) {
  ManualClock clock;
  std::ostringstream told;
  const auto sink = std::make_shared<CalmSink>(std::make_shared<spdlog::sinks::ostream_sink_mt>(told), clock);
  spdlog::logger logger("test", sink);
  logger.set_pattern("%v");
  for (int i = 0; i < 3; ++i) logger.warn("source failed");
  clock.advance(FloodGate::kPeriod);
  logger.warn("source failed");
  EXPECT_EQ(told.str(), "source failed\nsource failed (and 2 more like it before)\n");
}

TEST(StatsReport, EveryCounterIsShown) {
  CacheStats stats;
  stats.hits = 1'234'567;
  stats.bytes_limit = 100 << 20;
  const std::string table = format_stats(to_json(stats));
  EXPECT_THAT(table, HasSubstr("1,234,567"));
  EXPECT_THAT(table, HasSubstr("100.0 MiB"));
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), static_cast<long>(to_json(stats).size()));
}

TEST(Output, HintsCanBePasted) {
  EXPECT_EQ(shell_word("/mnt/photos-1.2"), "/mnt/photos-1.2");
  EXPECT_EQ(shell_word("/mnt/my photos"), "'/mnt/my photos'");
  EXPECT_EQ(shell_word("it's"), "'it'\\''s'");
}

TEST(Output, RowsAreAligned) {
  EXPECT_EQ(format_rows({{"a", "1"}, {"long", "22"}}, Align::right), "a      1\nlong  22\n");
  EXPECT_EQ(format_rows({{"a", "1"}, {"long", "22"}}, Align::left), "a     1\nlong  22\n");
}

}  // namespace
}  // namespace cachefs::cli
