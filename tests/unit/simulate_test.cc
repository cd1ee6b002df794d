// Traces as they are read, and what is made of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include <cstring>
#include <fstream>

#include "simulate/plot.h"
#include "simulate/sweep.h"
#include "support/synthetic_traces.h"
#include "support/temporary_directory.h"

namespace cachefs::simulate {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TraceFiles : public ::testing::Test {
 protected:
  std::string write(const std::string& name, std::string_view bytes) const {
    std::string path = (temporary_.path() / name).string();
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  /// What is wrong with the file.
  std::string error(const std::string& name, std::string_view bytes) const {
    const Result<Trace> trace = read_trace(write(name, bytes));
    return trace ? "nothing" : trace.error().message();
  }

 private:
  test::TemporaryDirectory temporary_;
};

std::vector<uint32_t> objects_of(const Trace& trace) {
  std::vector<uint32_t> objects;
  for (const Access& access : trace.accesses) objects.push_back(access.object);
  return objects;
}

std::vector<uint32_t> sizes_of(const Trace& trace) {
  std::vector<uint32_t> sizes;
  for (const Access& access : trace.accesses) sizes.push_back(access.size);
  return sizes;
}

void put(std::string& bytes, size_t at, uint64_t value, size_t size) {
  for (size_t i = 0; i < size; ++i) bytes[at + i] = static_cast<char>(value >> (8 * i));
}

std::string record(uint32_t time, uint64_t object, uint32_t size) {
  std::string bytes(24, '\0');
  put(bytes, 0, time, 4);
  put(bytes, 4, object, 8);
  put(bytes, 12, size, 4);
  return bytes;
}

std::string packed(const std::string& bytes) {
  std::string result(ZSTD_compressBound(bytes.size()), '\0');
  result.resize(ZSTD_compress(result.data(), result.size(), bytes.data(), bytes.size(), 1));
  return result;
}

TEST_F(TraceFiles, OracleGeneralHasRecordsOf24Bytes) {
  const std::string bytes = record(1, 7, 100) + record(2, 9, 200) + record(3, 7, 100);
  for (const std::string& path : {write("a.oracleGeneral", bytes), write("a.oracleGeneral.bin", bytes),
                                  write("a.oracleGeneral.zst", packed(bytes))}) {
    const Result<Trace> trace = read_trace(path);
    ASSERT_TRUE(trace) << trace.error().message();
    EXPECT_EQ(trace->name, "a");
    EXPECT_THAT(objects_of(*trace), ElementsAre(0, 1, 0));
    EXPECT_THAT(sizes_of(*trace), ElementsAre(100, 200, 100));
    EXPECT_EQ(trace->object_bytes, 300U);
  }
}

TEST_F(TraceFiles, TextHasAKeyOrTimeKeyAndSize) {
  const Result<Trace> trace = read_trace(write("a.txt", "# a comment\nx\n\ny\r\n17 x 4096\n  y"));
  ASSERT_TRUE(trace) << trace.error().message();
  EXPECT_THAT(objects_of(*trace), ElementsAre(0, 1, 0, 1));
  EXPECT_THAT(sizes_of(*trace), ElementsAre(1, 1, 4096, 1));
}

TEST_F(TraceFiles, CsvMayNameItsColumns) {
  const Result<Trace> named = read_trace(write("a.csv", "size,when,key\n10,1,x y\n20,2,z\n10,3,x y\n"));
  ASSERT_TRUE(named) << named.error().message();
  EXPECT_THAT(objects_of(*named), ElementsAre(0, 1, 0));
  EXPECT_THAT(sizes_of(*named), ElementsAre(10, 20, 10));
  const Result<Trace> plain = read_trace(write("b.csv", "1,x,10\n2,y,20\n"));
  ASSERT_TRUE(plain) << plain.error().message();
  EXPECT_THAT(sizes_of(*plain), ElementsAre(10, 20));
  EXPECT_THAT(objects_of(read_trace(write("mark.csv", "\xEF\xBB\xBFkey\na\nb\n")).value()),
              ElementsAre(0, 1));
  const Result<Trace> blanks = read_trace(write("c.csv", "key, size\na,5\n b , 6\na,5\n"));
  ASSERT_TRUE(blanks) << blanks.error().message();
  EXPECT_THAT(objects_of(*blanks), ElementsAre(0, 1, 0));
  EXPECT_THAT(sizes_of(*blanks), ElementsAre(5, 6, 5));
  EXPECT_TRUE(blanks->has_sizes);
  EXPECT_FALSE(read_trace(write("d.csv", "key\na\n")).value().has_sizes);
}

TEST_F(TraceFiles, WhatIsWrongIsNamed) {
  EXPECT_THAT(error("a.txt", "x\ny z\n"), HasSubstr("line 2: has 2 fields"));
  EXPECT_THAT(error("a.txt", "1 x large\n"), HasSubstr("line 1: 'large' is not a size"));
  EXPECT_THAT(error("a.csv", "key,size\nx\n"),
              HasSubstr("line 2: has 1 fields, fewer than the first line names"));
  EXPECT_THAT(error("a.oracleGeneral", record(1, 7, 100) + "x"), HasSubstr("ends within record 2"));
  EXPECT_THAT(error("a.txt", ""), HasSubstr("has no accesses"));
  EXPECT_THAT(error("a.txt.zst", "no such thing"), HasSubstr("not what zstd has made"));
  const std::string whole = packed(std::string(100'000, 'x') + "\n");
  EXPECT_THAT(error("a.txt.zst", whole.substr(0, whole.size() - 5)), HasSubstr("ends in the middle"));
  EXPECT_THAT(error("a.txt", std::string(2 << 20, 'x')), HasSubstr("line of more than 1 MiB"));
  const Result<Trace> none = read_trace("/nonexistent/trace");
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message(), HasSubstr("/nonexistent/trace"));
}

TEST(WantedSizes, AreNumbersSharesOrBytes) {
  Trace trace;
  trace.key_hashes.resize(250);
  trace.object_bytes = 1'000'000;
  const auto resolved = [&](std::string_view text, Unit unit) {
    const Result<WantedSize> size = parse_wanted_size(text, unit);
    return size ? resolve(*size, trace, unit) : 0;
  };
  EXPECT_EQ(resolved("17", Unit::objects), 17U);
  EXPECT_EQ(resolved("1%", Unit::objects), 3U) << "2.5, rounded";
  EXPECT_EQ(resolved("0.1%", Unit::objects), 1U) << "at least one";
  EXPECT_EQ(resolved("10%", Unit::bytes), 100'000U);
  EXPECT_EQ(resolved("64KiB", Unit::bytes), 65'536U);
  for (const char* wrong : {"", "%", "x%", "-1%", "101%", "0", "1k", "nan%"})
    EXPECT_EQ(resolved(wrong, Unit::objects), 0U) << wrong;
  EXPECT_EQ(resolved("0", Unit::bytes), 0U);
}

TEST(Simulation, CountsRequestsAndBytes) {
  Trace trace = test::to_trace({0, 1, 0, 2, 0, 1});
  for (Access& access : trace.accesses) access.size = 10 * (access.object + 1);
  const auto lru = (*find_eviction_policy("lru"))->make();
  const Misses misses =
      simulate(trace, {.capacity = 30, .unit = Unit::bytes}, *lru, [](uint64_t) { return true; });
  EXPECT_EQ(misses.requests, 6U);
  EXPECT_EQ(misses.bytes, 10U + 20 + 10 + 30 + 10 + 20);
  EXPECT_EQ(misses.misses, 5U) << "object 2 fills the cache by itself";
  EXPECT_EQ(misses.missed_bytes, misses.bytes - 10);
}

TEST(Simulation, WhatIsLargerThanTheCacheIsNotKept) {
  Trace trace = test::to_trace({0, 1, 0, 1});
  trace.accesses[0].size = trace.accesses[2].size = 100;
  const auto lru = (*find_eviction_policy("lru"))->make();
  const Misses misses =
      simulate(trace, {.capacity = 50, .unit = Unit::bytes}, *lru, [](uint64_t) { return true; });
  EXPECT_EQ(misses.misses, 3U);
}

TEST(Simulation, WhatGrowsTooLargeLeavesTheOthersAlone) {
  Trace trace = test::to_trace({0, 1, 0, 1, 0});
  trace.accesses[2].size = 100;
  for (const EvictionPolicyInfo& info : eviction_policies()) {
    const auto policy = info.make();
    const Misses misses =
        simulate(trace, {.capacity = 10, .unit = Unit::bytes}, *policy, [](uint64_t) { return true; });
    policy->check_invariants();
    EXPECT_EQ(misses.misses, 3U) << info.name << ": the first of each, and the one that had grown";
  }
}

TEST(Simulation, OfObjectsThatGrowStaysInItsRoom) {
  Trace trace = test::to_trace({0, 1, 2, 0, 1, 2});
  for (size_t i = 3; i < 6; ++i) trace.accesses[i].size = 2;
  for (const EvictionPolicyInfo& info : eviction_policies()) {
    const auto policy = info.make();
    (void)simulate(trace, {.capacity = 3, .unit = Unit::bytes}, *policy, [](uint64_t) { return true; });
    policy->check_invariants();
  }
}

TEST(Sweep, GivesTheSameWithManyThreads) {
  const Trace trace = test::to_trace(test::zipf(20'000, 1000));
  const auto run = [&](unsigned threads) {
    std::atomic<uint64_t> done{0};
    const std::atomic<bool> stop{false};
    std::vector<uint64_t> misses;
    const SweepOptions options{
        .policies = {"lru", "s3-fifo", "belady"}, .sizes = {10, 100}, .threads = threads};
    for (const PolicyRun& one : sweep(trace, options, done, stop)) misses.push_back(one.misses.misses);
    EXPECT_EQ(done, 6 * trace.accesses.size());
    return misses;
  };
  EXPECT_EQ(run(1), run(8));
}

TEST(Sweep, EndsSoonWhenStopped) {
  const Trace trace = test::to_trace(test::zipf(200'000, 1000));
  std::atomic<uint64_t> done{0};
  const std::atomic<bool> stop{true};
  (void)sweep(trace, {.policies = {"lru"}, .sizes = {10}}, done, stop);
  EXPECT_LT(done, trace.accesses.size());
}

TEST(Plot, HasACurveForEachPolicyOfEachTrace) {
  std::vector<PolicyRun> runs;
  for (const uint64_t size : {10, 100}) {
    for (const char* policy : {"lru", "a<b"})
      runs.push_back({.policy = policy, .size = size, .misses = {.requests = 10, .misses = 5}});
  }
  const std::vector<Curves> charts{{.trace = "first", .runs = runs}, {.trace = "second", .runs = runs}};
  const std::string svg = plot(charts, Unit::objects);
  size_t lines = 0;
  for (size_t at = svg.find("<polyline"); at != std::string::npos; at = svg.find("<polyline", at + 1))
    ++lines;
  EXPECT_EQ(lines, 4U);
  EXPECT_THAT(svg, HasSubstr("second"));
  EXPECT_THAT(svg, HasSubstr("a&lt;b"));
  EXPECT_THAT(svg, ::testing::EndsWith("</svg>\n"));
}

}  // namespace
}  // namespace cachefs::simulate
