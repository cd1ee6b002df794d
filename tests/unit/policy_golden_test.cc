// How often each policy misses, as exact numbers: a change of a policy shows here, wanted or not.
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <list>
#include <map>
#include <ostream>

#include "simulate/simulation.h"
#include "support/synthetic_traces.h"

namespace cachefs {
namespace {

using test::to_trace;

bool go_on(uint64_t /*accesses*/) { return true; }

uint64_t misses_of(std::string_view policy, const simulate::Trace& trace, uint64_t capacity) {
  const auto made = (*find_eviction_policy(policy))->make();
  const uint64_t misses = simulate::simulate(trace, {.capacity = capacity}, *made, go_on).misses;
  made->check_invariants();
  return misses;
}

constexpr uint64_t kCapacity = 100;

/// The columns of the golden table.
const std::array<simulate::Trace, 5>& traces() {
  static const std::array<simulate::Trace, 5> kAll{
      to_trace(test::zipf(20'000, 1000)), to_trace(test::loop(5000, 110)), to_trace(test::with_scans(10'000)),
      to_trace(test::shifting(20'000, 300, 4000)), to_trace(test::recent_only(20'000, 90))};
  return kAll;
}

const std::map<std::string_view, std::array<uint64_t, 5>>& golden() {
  static const std::map<std::string_view, std::array<uint64_t, 5>> kTable{
      {"lru", {8450, 5000, 1702, 5161, 8315}},        {"fifo", {9494, 5000, 2161, 6189, 6614}},
      {"clock", {8184, 5000, 1655, 5020, 8704}},      {"slru", {6972, 5000, 1507, 5149, 14014}},
      {"2q", {7341, 1064, 1714, 5099, 6614}},         {"lirs", {7086, 595, 1534, 4924, 12181}},
      {"arc", {7181, 5000, 1657, 5076, 8294}},        {"sieve", {6877, 5000, 1414, 4983, 14824}},
      {"s3-fifo", {6949, 1677, 1495, 4973, 12277}},   {"qd-lp-fifo", {6947, 1591, 1482, 4895, 11604}},
      {"w-tinylfu", {6849, 1308, 1450, 5421, 16298}}, {"lfu", {7303, 5000, 1445, 5888, 9900}},
      {"gdsf", {7303, 5000, 1445, 5844, 9900}},       {"hybrid", {7303, 5000, 1445, 4878, 8418}},
      {"ttl", {8450, 5000, 1702, 5161, 8315}},
  };
  return kTable;
}

class GoldenMisses : public ::testing::TestWithParam<EvictionPolicyInfo> {};
std::string policy_name(const ::testing::TestParamInfo<EvictionPolicyInfo>& info) {
  std::string name(info.param.name);
  std::ranges::replace(name, '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(All, GoldenMisses,
                         ::testing::ValuesIn(eviction_policies().begin(), eviction_policies().end()),
                         policy_name);

TEST_P(GoldenMisses, AreAsExpected) {
  std::array<uint64_t, 5> misses{};
  for (size_t i = 0; i < misses.size(); ++i) misses[i] = misses_of(GetParam().name, traces()[i], kCapacity);
  ASSERT_TRUE(golden().contains(GetParam().name)) << ::testing::PrintToString(misses);
  EXPECT_EQ(misses, golden().at(GetParam().name));
}

/// The same by a plain list, to which a hit moves a key only with LRU.
uint64_t count_misses_plainly(bool hits_move, const simulate::Trace& trace) {
  std::list<uint32_t> order;
  uint64_t misses = 0;
  for (const simulate::Access& access : trace.accesses) {
    const auto at = std::ranges::find(order, access.object);
    if (at != order.end()) {
      if (hits_move) order.splice(order.begin(), order, at);
      continue;
    }
    ++misses;
    if (order.size() == kCapacity) order.pop_back();
    order.push_front(access.object);
  }
  return misses;
}

TEST(MissCounts, OfLruAndFifoAreThoseOfAPlainModel) {
  for (const simulate::Trace& trace : traces()) {
    EXPECT_EQ(misses_of("lru", trace, kCapacity), count_misses_plainly(true, trace));
    EXPECT_EQ(misses_of("fifo", trace, kCapacity), count_misses_plainly(false, trace));
  }
}

/// ARC as its paper has it (figure 4), with plain lists, their newest key in front.
class PlainArc {
 public:
  bool miss(uint32_t key) {
    if (take(t1_, key) || take(t2_, key)) {
      t2_.push_front(key);
      return false;
    }
    const auto size = [](const std::list<uint32_t>& list) { return static_cast<double>(list.size()); };
    const bool in_b1 = std::ranges::find(b1_, key) != b1_.end();
    const bool in_b2 = std::ranges::find(b2_, key) != b2_.end();
    if (in_b1 || in_b2) {
      if (in_b1)
        p_ = std::min<double>(kCapacity, p_ + std::max(1.0, size(b2_) / size(b1_)));
      else
        p_ = std::max(0.0, p_ - std::max(1.0, size(b1_) / size(b2_)));
      replace(in_b2);
      take(b1_, key);
      take(b2_, key);
      t2_.push_front(key);
      return true;
    }
    if (t1_.size() + b1_.size() == kCapacity) {
      if (t1_.size() < kCapacity) {
        b1_.pop_back();
        replace(false);
      } else {
        t1_.pop_back();
      }
    } else if (const size_t all = t1_.size() + t2_.size() + b1_.size() + b2_.size(); all >= kCapacity) {
      if (all == 2 * kCapacity) b2_.pop_back();
      replace(false);
    }
    t1_.push_front(key);
    return true;
  }

 private:
  static bool take(std::list<uint32_t>& list, uint32_t key) { return list.remove(key) != 0; }
  void replace(bool in_b2) {
    const auto once = static_cast<double>(t1_.size());
    const bool from_t1 = !t1_.empty() && ((in_b2 && once == p_) || once > p_);
    std::list<uint32_t>& from = from_t1 ? t1_ : t2_;
    (from_t1 ? b1_ : b2_).push_front(from.back());
    from.pop_back();
  }
  std::list<uint32_t> t1_, t2_, b1_, b2_;
  double p_ = 0;
};

TEST(MissCounts, OfArcAreThoseOfThePaper) {
  for (const simulate::Trace& trace : traces()) {
    PlainArc plain;
    const auto misses = std::ranges::count_if(
        trace.accesses, [&](const simulate::Access& access) { return plain.miss(access.object); });
    EXPECT_EQ(misses_of("arc", trace, kCapacity), static_cast<uint64_t>(misses));
  }
}

TEST(MissCounts, NobodyBeatsBelady) {
  for (const simulate::Trace& trace : traces()) {
    const uint64_t least = simulate::simulate_belady(trace, {.capacity = kCapacity}, go_on).misses;
    for (const EvictionPolicyInfo& policy : eviction_policies())
      EXPECT_GE(misses_of(policy.name, trace, kCapacity), least) << policy.name;
  }
}

TEST(MissCounts, HybridIsNeverMuchWorseThanLru) {
  const test::Keys keys[] = {
      test::zipf(200'000, 5000),       test::with_scans(100'000),       test::shifting(200'000, 2000, 20'000),
      test::recent_only(200'000, 180), test::recent_only(200'000, 900), test::loop(50'000, 1100)};
  for (const test::Keys& trace_keys : keys) {
    const simulate::Trace trace = to_trace(trace_keys);
    for (const uint64_t capacity : {200U, 1000U}) {
      const auto lru = static_cast<double>(misses_of("lru", trace, capacity));
      EXPECT_LE(static_cast<double>(misses_of("hybrid", trace, capacity)), lru * 1.01) << capacity;
    }
  }
}

/// Of a reference simulator (libCacheSim), every object of size 1.
struct Reference {
  const char* trace;
  uint64_t capacity;
  std::map<std::string_view, double> ratios;
};

TEST(MissRatios, AreThoseOfAReferenceSimulator) {
  const char* folder = std::getenv("CACHEFS_TEST_TRACES");
  if (folder == nullptr) return;  // they are no part of the project; what goes without them is tested above
  const Reference references[] = {
      {"cloudphysics-io",
       490,
       {{"fifo", .8476},
        {"lru", .8379},
        {"2q", .8305},
        {"arc", .8275},
        {"lirs", .8314},
        {"sieve", .8291},
        {"s3-fifo", .8304},
        {"qd-lp-fifo", .8285}}},
      {"cloudphysics-io",
       4897,
       {{"fifo", .8054},
        {"lru", .8049},
        {"2q", .7742},
        {"arc", .7728},
        {"lirs", .7518},
        {"sieve", .7907},
        {"s3-fifo", .7525},
        {"qd-lp-fifo", .7470}}},
      {"arc-oltp",
       1869,
       {{"fifo", .6341},
        {"lru", .5836},
        {"2q", .5411},
        {"arc", .5461},
        {"lirs", .5837},
        {"sieve", .5970},
        {"s3-fifo", .5354},
        {"qd-lp-fifo", .5376}}},
      {"cache2k-web07",
       2048,
       {{"fifo", .4688},
        {"lru", .4434},
        {"2q", .4302},
        {"arc", .4194},
        {"lirs", .4261},
        {"sieve", .4207},
        {"s3-fifo", .4188},
        {"qd-lp-fifo", .4160}}},
      {"cache2k-web12",
       1376,
       {{"fifo", .3546},
        {"lru", .3151},
        {"2q", .2849},
        {"arc", .2911},
        {"lirs", .2982},
        {"sieve", .2832},
        {"s3-fifo", .2774},
        {"qd-lp-fifo", .2809}}},
      {"lirs-sprite",
       708,
       {{"fifo", .1805},
        {"lru", .1349},
        {"2q", .1426},
        {"arc", .1447},
        {"lirs", .1596},
        {"sieve", .1807},
        {"s3-fifo", .1385},
        {"qd-lp-fifo", .1369}}},
      {"lirs-multi2",
       568,
       {{"fifo", .7021},
        {"lru", .6308},
        {"2q", .6243},
        {"arc", .6017},
        {"lirs", .4836},
        {"sieve", .6384},
        {"s3-fifo", .5070},
        {"qd-lp-fifo", .5037}}},
  };
  for (const Reference& reference : references) {
    const auto trace =
        simulate::read_trace(std::string(folder) + "/" + reference.trace + ".oracleGeneral.zst");
    ASSERT_TRUE(trace) << trace.error().message();
    for (const auto& [policy, ratio] : reference.ratios) {
      const double ours = static_cast<double>(misses_of(policy, *trace, reference.capacity)) /
                          static_cast<double>(trace->accesses.size());
      EXPECT_NEAR(ours, ratio, ratio * 0.005 + 0.00005) << policy << " on " << reference.trace;
    }
  }
}

}  // namespace
}  // namespace cachefs
