#include "core/access_verdicts.h"

#include <algorithm>
#include <utility>

#include "base/hash.h"

namespace cachefs {
namespace {

constexpr std::array<uint32_t, 3> kRights{4, 2, 1};

/// In whatever order they are.
uint64_t hash_of(std::vector<uint32_t> groups) {
  std::sort(groups.begin(), groups.end());
  return hash_bytes({reinterpret_cast<const char*>(groups.data()), groups.size() * sizeof(uint32_t)});
}

}  // namespace

AccessVerdicts::Verdict AccessVerdicts::key(FileId file, Timestamp changed, const Caller& caller,
                                            uint32_t right) {
  Verdict verdict;
  verdict.file = file;
  verdict.groups = hash_of(caller.groups);
  verdict.changed = changed;
  verdict.uid = caller.uid;
  verdict.gid = caller.gid;
  verdict.right = right;
  return verdict;
}

AccessVerdicts::Place AccessVerdicts::place_of(const Verdict& verdict) {
  uint64_t hash = combine_hashes(static_cast<uint64_t>(verdict.file), verdict.groups);
  hash = combine_hashes(hash, (uint64_t{verdict.uid} << 32 | verdict.gid) + verdict.right);
  return {.shard = hash % kShards, .index = hash / kShards % kVerdictsOfShard};
}

bool AccessVerdicts::is_same(const Verdict& a, const Verdict& b) {
  return a.file == b.file && a.groups == b.groups && a.changed == b.changed && a.uid == b.uid &&
         a.gid == b.gid && a.right == b.right;
}

void AccessVerdicts::allow(FileId file, Timestamp changed, const Caller& caller, uint32_t wanted,
                           MonotonicTime asked_at) {
  for (const uint32_t right : kRights) {
    if ((wanted & right) == 0) continue;
    Verdict verdict = key(file, changed, caller, right);
    verdict.asked_at = asked_at;
    const Place place = place_of(verdict);
    Shard& shard = shards_[place.shard];
    MutexLock lock(shard.mutex);
    if (asked_at < shard.cleared_at) return;
    if (shard.verdicts.empty()) {
      shard.memory = Reservation::of(budget_, kBytesOfShard);
      if (!shard.memory) return;  // the source is asked each time
      shard.verdicts.resize(kVerdictsOfShard);
    }
    Verdict& known = shard.verdicts[place.index];
    if (!is_same(known, verdict) || known.asked_at < asked_at) known = verdict;
  }
}

MonotonicTime AccessVerdicts::asked_at(FileId file, Timestamp changed, const Caller& caller,
                                       uint32_t wanted) const {
  MonotonicTime oldest = MonotonicTime::max();
  for (const uint32_t right : kRights) {
    if ((wanted & right) == 0) continue;
    const Verdict verdict = key(file, changed, caller, right);
    const Place place = place_of(verdict);
    const Shard& shard = shards_[place.shard];
    MutexLock lock(shard.mutex);
    if (shard.verdicts.empty() || !is_same(shard.verdicts[place.index], verdict)) return MonotonicTime::min();
    oldest = std::min(oldest, shard.verdicts[place.index].asked_at);
  }
  return oldest == MonotonicTime::max() ? MonotonicTime::min() : oldest;
}

void AccessVerdicts::clear(MonotonicTime now) {
  for (Shard& shard : shards_) {
    Reservation memory;  // both are given up after the lock, the memory before its reservation
    std::vector<Verdict> released;
    MutexLock lock(shard.mutex);
    std::swap(released, shard.verdicts);
    memory = std::move(shard.memory);
    shard.cleared_at = now;
  }
}

}  // namespace cachefs
