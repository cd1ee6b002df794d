// The examples of docs/SEMANTICS.md, by their numbers; those of an outage are in semantics_outage_test.cc.
// tests/docs checks that all of them are there, each once.
#include <thread>

#include "core/settling.h"
#include "unit/semantics_fixture.h"

namespace cachefs {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using test::CloseToOpenSemantics;
using test::errno_of;
using test::read_text;
using test::SemanticsTest;
using test::TtlSemantics;
using test::write_text;

// --- When the source is asked

TEST_F(CloseToOpenSemantics, S1) {
  EXPECT_EQ(look_up("f"), 0);
  EXPECT_EQ(requests().total(), 0U) << "known for less than a second";
  pass(seconds(1));
  EXPECT_EQ(look_up("f"), 0);
  EXPECT_EQ(requests().total(), 1U);
  EXPECT_EQ(sent(Operation::lookup), 1U);
}

TEST_F(CloseToOpenSemantics, S2) {
  ASSERT_TRUE(chmod(source(), "/d/f", 0600));
  EXPECT_NE(attributes_of("/d/f").mode, 0600U) << "up to a second old";
  pass(seconds(1));
  EXPECT_EQ(attributes_of("/d/f").mode, 0600U);
}

TEST_F(CloseToOpenSemantics, S3) {
  EXPECT_EQ(look_up("new"), ENOENT);
  given("/d/new", "");
  EXPECT_EQ(look_up("new"), ENOENT);
  EXPECT_EQ(sent(Operation::lookup), 1U) << "the second answer came from the cache";
  pass(seconds(1));
  EXPECT_EQ(look_up("new"), 0);
}

TEST_F(CloseToOpenSemantics, S4) {
  EXPECT_EQ(list().size(), 2U);
  requests().reset();
  EXPECT_EQ(list().size(), 2U);
  EXPECT_EQ(requests().total(), 1U) << "the check of this open";
  given("/d/new", "");
  EXPECT_EQ(list().size(), 3U);
}

TEST_F(CloseToOpenSemantics, S5) {
  EXPECT_EQ(cached("/d/f"), "hello");
  EXPECT_EQ(requests().total(), 1U);
  EXPECT_EQ(sent(Operation::attributes), 1U) << "not even the source's file is opened";
}

TEST_F(CloseToOpenSemantics, S6) {
  given("/d/f", "HELLO");
  EXPECT_EQ(cached("/d/f"), "HELLO") << "with no time passed";
}

TEST_F(CloseToOpenSemantics, S7) {
  given("/d/new", "other");
  ASSERT_TRUE(rename(source(), "/d/new", "/d/f"));
  EXPECT_EQ(cached("/d/f"), "hello") << "the name is up to a second old";
  pass(seconds(1));
  EXPECT_EQ(cached("/d/f"), "other");
}

TEST_F(CloseToOpenSemantics, S8) {
  const auto file = open_cached("/d/f");
  given("/d/f", "HELLO");
  pass(seconds(3600));
  EXPECT_EQ(read_text(*file, 0, 5), "hello") << "cached, and checked at the open";
  EXPECT_EQ(cached("/d/f"), "HELLO");
}

TEST_F(CloseToOpenSemantics, S9) {
  const auto file = open_cached("/d/f");
  EXPECT_EQ(read_text(*file, 0, 100), "hello");
  given("/d/f", "hello, more");
  pass(seconds(1));
  EXPECT_EQ(read_text(*file, 0, 100), "hello, more");
}

TEST_F(CloseToOpenSemantics, S10) {
  open_cached("/d/f", test::kReadWrite);
  EXPECT_EQ(requests().total(), 1U);
  EXPECT_EQ(sent(Operation::open), 1U);
}

TEST_F(CloseToOpenSemantics, S11) {
  EXPECT_EQ(read_link(cache(), "/d/s").value_or(""), "f");
  requests().reset();
  EXPECT_EQ(read_link(cache(), "/d/s").value_or(""), "f");
  EXPECT_EQ(requests().total(), 0U);
}

TEST_F(TtlSemantics, S12) {
  const auto use_all = [&] {
    EXPECT_EQ(look_up("f"), 0);
    EXPECT_EQ(look_up("nothing"), ENOENT);
    EXPECT_EQ(cached("/d/f"), "hello");
    EXPECT_EQ(list().size(), 2U);
    EXPECT_EQ(read_link(cache(), "/d/s").value_or(""), "f");
  };
  use_all();
  requests().reset();
  pass(seconds(59));
  use_all();
  EXPECT_EQ(requests().total(), 0U);
}

TEST_F(TtlSemantics, S13) {
  const auto file = open_cached("/d/f");
  given("/d/f", "HELLO");
  EXPECT_EQ(cached("/d/f"), "hello");
  pass(seconds(60));
  EXPECT_EQ(read_text(*file, 0, 5), "HELLO") << "through an open handle too";
  EXPECT_EQ(cached("/d/f"), "HELLO");
}

TEST_F(TtlSemantics, S14) {
  given("/d/f", "HELLO");
  EXPECT_EQ(cache().invalidate("/d/f"), 1U);
  EXPECT_EQ(cached("/d/f"), "HELLO");
}

TEST_F(CloseToOpenSemantics, S15) {
  const auto xattrs = cache().xattrs();
  const NodeRef file = resolve(cache(), "/d/f").value().node;
  requests().reset();
  for (int i = 0; i < 2; ++i) EXPECT_EQ(errno_of(xattrs->get(*file, "user.a", Caller{})), ENODATA);
  EXPECT_EQ(sent(Operation::get_xattr), 2U);
  requests().reset();
  for (int i = 0; i < 2; ++i) EXPECT_EQ(errno_of(xattrs->get(*file, "security.selinux", Caller{})), ENODATA);
  EXPECT_EQ(sent(Operation::get_xattr), 1U);
}

class IgnoresCase : public SemanticsTest {
 protected:
  IgnoresCase()
      : SemanticsTest({.max_bytes = 8 * kMiB, .coherence = test::for_ttl(seconds(60))},
                      {.case_sensitive = false}) {}
};

TEST_F(IgnoresCase, S16) {
  EXPECT_EQ(look_up("f"), 0);
  EXPECT_EQ(look_up("F"), 0);
  EXPECT_EQ(sent(Operation::lookup), 2U) << "even within the ttl";
}

class Permissions : public SemanticsTest {
 protected:
  Permissions()
      : SemanticsTest({.max_bytes = 8 * kMiB, .coherence = test::for_ttl(seconds(60))},
                      {.enforce_permissions = true}) {}
};

TEST_F(Permissions, S17) {
  ASSERT_TRUE(chmod(cache(), "/d/f", 0600));
  const NodeRef file = resolve(cache(), "/d/f").value().node;
  requests().reset();
  EXPECT_EQ(errno_of(cache().open(*file, {}, Caller{.uid = 1000, .gid = 1000, .groups = {}})), EACCES);
  EXPECT_EQ(sent(Operation::open), 1U) << "the refusal is the source's";
}

class SourceDecides : public SemanticsTest {
 protected:
  SourceDecides()
      : SemanticsTest({.max_bytes = 8 * kMiB,
                       .coherence = test::for_ttl(seconds(60)),
                       .access_check = AccessCheck::source},
                      {.enforce_permissions = true}) {}
};

TEST_F(SourceDecides, S45) {
  const NodeRef file = resolve(cache(), "/d/f").value().node;
  const Caller other{.uid = 1000, .gid = 1000, .groups = {}};
  requests().reset();
  EXPECT_EQ(errno_of(cache().open(*file, {}, other)), 0);
  EXPECT_EQ(sent(Operation::open), 1U) << "though mode bits allow it";
  EXPECT_EQ(errno_of(cache().open(*file, {}, other)), 0);
  EXPECT_EQ(sent(Operation::open), 1U);
  pass(seconds(60));
  EXPECT_EQ(errno_of(cache().open(*file, {}, other)), 0);
  EXPECT_EQ(sent(Operation::open), 2U);
}

// --- What the kernel may keep

TEST_F(TtlSemantics, S18) {
  const NodeRef file = resolve(cache(), "/d/f").value().node;
  pass(seconds(20));
  EXPECT_EQ(cache().validity(*file).attributes, seconds(40));
  EXPECT_EQ(cache().name_validity(*directory_, "f", file.get()), seconds(40));
  EXPECT_EQ(cache().name_validity(*directory_, "never asked for", nullptr), seconds(0));
}

TEST_F(CloseToOpenSemantics, S19) {
  const NodeRef file = resolve(cache(), "/d/f").value().node;
  const uint64_t generation = cache().validity(*file).data_generation;
  cached("/d/f");
  EXPECT_EQ(cache().validity(*file).data_generation, generation) << "pages may be kept over this open";
  given("/d/f", "HELLO");
  cached("/d/f");
  EXPECT_NE(cache().validity(*file).data_generation, generation);
}

// --- Versions

class CoarseTimestampSemantics : public SemanticsTest {
 protected:
  CoarseTimestampSemantics()
      : SemanticsTest({.max_bytes = 8 * kMiB, .coherence = {}},
                      {.version_source = VersionSource::timestamps, .timestamp_granule = seconds(2)}) {}
};

TEST_F(CoarseTimestampSemantics, S20) {
  given("/d/f", "HELLO");  // the same size, in the same two seconds
  EXPECT_EQ(cached("/d/f"), "hello") << "nothing shows it";
  pass(seconds(3));
  EXPECT_EQ(cached("/d/f"), "HELLO");
}

TEST_F(CoarseTimestampSemantics, S21) {
  for (int i = 0; i < 3; ++i) {
    pass(seconds(3));
    EXPECT_EQ(cached("/d/f"), "hello");
  }
  EXPECT_EQ(requests().reads(), 1U) << "once, a granule later";
}

TEST_F(CoarseTimestampSemantics, S22) {
  ASSERT_TRUE(write_file(cache(), "/d/f", "ours!"));
  given("/d/f", "other");
  EXPECT_EQ(cached("/d/f"), "ours!") << "a change of another within the granule of ours";
  pass(seconds(3));
  EXPECT_EQ(cached("/d/f"), "other");
}

TEST(SettlingSemantics, S23) {
  Capabilities source;
  source.write_duration = milliseconds(50);
  const Settling settling(source);
  const Timestamp stamped{seconds(1'000'000)};
  const MonotonicTime seen{seconds(1)};
  const auto request = [&](nanoseconds later) {
    return Ticket{.sequence = 1, .time = seen + later, .wall_time = stamped + later};
  };
  EXPECT_FALSE(settling.settled_fetch(stamped, seen, request(milliseconds(49))))
      << "the bytes may still be on their way";
  EXPECT_TRUE(settling.settled_fetch(stamped, seen, request(milliseconds(50))));
}

class SizeOnlySemantics : public SemanticsTest {
 protected:
  SizeOnlySemantics()
      : SemanticsTest({.max_bytes = 8 * kMiB, .coherence = {}},
                      {.version_source = VersionSource::size_only}) {}
};

TEST_F(SizeOnlySemantics, S24) {
  given("/d/f", "HELLO");
  EXPECT_EQ(cached("/d/f"), "HELLO") << "every check fetches anew";
}

// --- Changes of our own

TEST_F(CloseToOpenSemantics, S25) {
  const auto file = open_cached("/d/f", test::kReadWrite);
  requests().reset();
  ASSERT_TRUE(write_text(*file, 0, "J"));
  EXPECT_EQ(sent(Operation::attributes), 2U) << "before and after";
  EXPECT_EQ(cached("/d/f"), "Jello");
  EXPECT_EQ(on_source("/d/f"), "Jello");
  EXPECT_EQ(requests().reads(), 0U);
}

TEST_F(CloseToOpenSemantics, S26) {
  const auto file = open_cached("/d/f", test::kReadWrite);
  given("/d/f", "HELLO");
  ASSERT_TRUE(write_text(*file, 0, "J"));
  EXPECT_EQ(cached("/d/f"), "JELLO") << "the check before the write has seen the other change";
}

TEST_F(CloseToOpenSemantics, S27) {
  const auto file = open_cached("/d/f", test::kReadWrite);
  faults().fail_nth(2, Error(std::errc::io_error));  // the check, the write
  EXPECT_EQ(errno_of(write_text(*file, 0, "J")), EIO);
  requests().reset();
  EXPECT_EQ(cached("/d/f"), on_source("/d/f"));
  EXPECT_EQ(requests().reads(), 1U) << "nothing cached stays";

  for (const Operation telling : {Operation::flush, Operation::sync}) {
    ASSERT_TRUE(write_text(*file, 0, "K"));
    faults().fail_if([telling](Operation operation) { return operation == telling; },
                     Error(std::errc::no_space_on_device));
    EXPECT_EQ(errno_of(telling == Operation::flush ? file->flush() : file->sync(SyncKind::all)), ENOSPC);
    faults().recover();
    requests().reset();
    EXPECT_EQ(cached("/d/f"), on_source("/d/f"));
    EXPECT_EQ(requests().reads(), 1U) << "nothing cached stays";
  }
}

TEST_F(CloseToOpenSemantics, S28) {
  ASSERT_TRUE(rename(cache(), "/d/f", "/d/g"));
  EXPECT_EQ(errno_of(stat(cache(), "/d/f")), ENOENT);
  EXPECT_EQ(cached("/d/g"), "hello");
  EXPECT_EQ(requests().reads(), 0U);
}

/// Runs something just before the source writes.
class BeforeWrite final : public OperationHook {
 public:
  Result<void> before(Operation operation, uint64_t /*bytes*/) override {
    if (operation == Operation::write && action) std::exchange(action, nullptr)();
    return {};
  }
  std::function<void()> action;
};

TEST(OwnChangeSemantics, S29) {
  ManualClock clock;
  const auto memory = make_mem_fs({.clock = &clock});
  BeforeWrite hook;
  const auto source = make_hooked_fs(*memory, hook);
  const auto cache = CacheFs::create(*source, {.coherence = {}, .clock = &clock}).value();
  ASSERT_TRUE(write_file(*memory, "/f", "hello"));
  ASSERT_EQ(read_file(*cache, "/f").value_or(""), "hello");
  const auto file = open(*cache, "/f", test::kReadWrite).value();
  hook.action = [&] {
    ASSERT_TRUE(write_file(*memory, "/f", "HELLO"));
  };  // after the check, before the write
  ASSERT_TRUE(write_text(*file, 0, "J"));
  EXPECT_EQ(read_file(*memory, "/f").value_or(""), "JELLO");
  EXPECT_EQ(read_file(*cache, "/f").value_or(""), "Jello") << "this is the window";
  cache->invalidate("/f");
  EXPECT_EQ(read_file(*cache, "/f").value_or(""), "JELLO");
}

// --- Which names lead to one file

TEST_F(CloseToOpenSemantics, S30) {
  ASSERT_TRUE(link(cache(), "/d/f", "/d/g"));
  EXPECT_EQ(cached("/d/g"), "hello");
  EXPECT_EQ(requests().reads(), 0U) << "both names share the data";
}

class NoInodes : public SemanticsTest {
 protected:
  NoInodes()
      : SemanticsTest({.max_bytes = 8 * kMiB, .coherence = {}}, {.inode_numbers = InodeNumbers::none}) {}
};

TEST_F(NoInodes, S31) {
  ASSERT_TRUE(link(source(), "/d/f", "/d/g"));
  EXPECT_EQ(cached("/d/g"), "hello");
  EXPECT_EQ(requests().reads(), 1U) << "another file, as far as can be seen";
  EXPECT_EQ(cached("/d/g"), "hello");
  EXPECT_EQ(requests().reads(), 1U);
}

TEST_F(NoInodes, S32) {
  given("/d/g", "other");
  EXPECT_EQ(cached("/d/g"), "other");
  ASSERT_TRUE(rename(source(), "/d/g", "/d/f"));  // elsewhere
  pass(seconds(1));
  EXPECT_EQ(cached("/d/f"), "other");
}

// --- Files that change or go while they are open

TEST_F(CloseToOpenSemantics, S33) {
  const std::string before(300'000, 'a');
  const std::string after(300'000, 'b');
  given("/d/large", before);
  const auto file = open_cached("/d/large");
  EXPECT_EQ(read_text(*file, 0, 10), "aaaaaaaaaa") << "the first block is cached";
  given("/d/large", after);
  EXPECT_EQ(read_text(*file, 0, 300'000), after) << "one read, one version";
}

TEST_F(CloseToOpenSemantics, S34) {
  given("/d/large", std::string(300'000, 'a'));
  const auto file = open_cached("/d/large");
  EXPECT_EQ(read_text(*file, 0, 1), "a");
  ASSERT_TRUE(remove(cache(), "/d/large"));
  EXPECT_EQ(read_text(*file, 299'999, 1), "a") << "not cached before";
  EXPECT_EQ(file->attributes().value().size, 300'000U);
}

// --- Limits

class TinySemantics : public SemanticsTest {
 protected:
  TinySemantics() : SemanticsTest({.max_bytes = 64 * kKiB, .coherence = {}}) {}
};

TEST_F(TinySemantics, S35) {
  const std::string content(kMiB, 'x');
  given("/d/large", content);
  EXPECT_EQ(cached("/d/large"), content) << "one block alone is larger than the limit";
  EXPECT_GT(cache().stats().bypasses, 0U);
  EXPECT_LE(cache().stats().bytes_used, 64 * kKiB);
}

TEST_F(CloseToOpenSemantics, S36) {
  EXPECT_GT(cache().stats().bytes_used, 0U);
  directory_ = {};
  cache().clear();
  EXPECT_EQ(cache().stats().bytes_used, 0U);
}

// --- The file system as a whole

TEST_F(CloseToOpenSemantics, S39) {
  const auto free = [&] { return statvfs(cache(), "/").value().blocks_free; };
  const uint64_t at_first = free();
  requests().reset();
  EXPECT_EQ(free(), at_first);
  EXPECT_EQ(sent(Operation::statistics), 0U);
  ASSERT_TRUE(write_file(cache(), "/d/f", "more"));
  free();
  EXPECT_EQ(sent(Operation::statistics), 1U) << "a change of ours makes it be asked anew";
}

TEST_F(CloseToOpenSemantics, S40) {
  given("/d/g", "");
  const auto stream = cache().open_directory(*directory_, Caller{}).value();
  const std::vector<DirectoryEntry> all = stream->next_batch().value();
  ASSERT_EQ(all.size(), 3U);
  cache().clear();
  ASSERT_TRUE(stream->seek(all[0].cookie));
  EXPECT_EQ(stream->next_batch().value().front().name, all[1].name);
  ASSERT_TRUE(remove(cache(), "/d/" + all[1].name));
  const auto newer = cache().open_directory(*directory_, Caller{}).value();
  ASSERT_TRUE(newer->seek(all[1].cookie));
  EXPECT_EQ(newer->next_batch().value().front().name, all[2].name);
}

}  // namespace
}  // namespace cachefs
