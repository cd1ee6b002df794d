#include "base/slab_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>

#include "base/check.h"

#if defined(__SANITIZE_ADDRESS__)
#define CACHEFS_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CACHEFS_POISONS 1
#endif
#endif
#ifdef CACHEFS_POISONS
#include <sanitizer/asan_interface.h>
#endif

namespace cachefs {
namespace {

constexpr size_t kPage = 4096;
// Address space is asked for in these units; memory comes only when touched.
constexpr size_t kSmallExtent = 1024UL * 1024;
constexpr size_t kLargeExtent = 16 * kSmallExtent;
constexpr size_t kLargeSlab = 64UL * 1024;
constexpr uint32_t kObjectsPerSlab = 64;  // one bit each in Slab::free
constexpr uint32_t kNoSlab = UINT32_MAX;
constexpr size_t kStepsPerDoubling = 4;  // classes at most 25 % apart
constexpr unsigned kSmallestShift = 6;   // log2(SlabPool::kSmallestClass)

constexpr size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

/// Sizes of class 0, 1, 2, ...: 64, 80, 96, 112, 128, 160, ...; from 16 KiB on whole pages by themselves.
constexpr size_t class_size(size_t index) {
  const size_t base = SlabPool::kSmallestClass << (index / kStepsPerDoubling);
  return base + base / kStepsPerDoubling * (index % kStepsPerDoubling);
}

constexpr size_t class_index(size_t size) {
  if (size <= SlabPool::kSmallestClass) return 0;
  const auto doubling = static_cast<size_t>(std::bit_width(size - 1)) - 1 - kSmallestShift;
  const size_t base = SlabPool::kSmallestClass << doubling;
  const size_t step = base / kStepsPerDoubling;
  return doubling * kStepsPerDoubling + (size - base + step - 1) / step;
}

constexpr size_t kClassCount = class_index(SlabPool::kLargestBuffer) + 1;
static_assert(class_size(class_index(128 * 1024)) == 128 * 1024);
static_assert(class_index(65) == 1 && class_index(80) == 1 && class_index(81) == 2);

/// Small classes share a slab of eight objects or one page; a large buffer is a slab of its own.
constexpr size_t slab_size(size_t object_size) {
  constexpr size_t kLargeObject = 16U * 1024;
  if (object_size >= kLargeObject) return round_up(object_size, kPage);
  return round_up(std::max(object_size * 8, kPage), kPage);
}

void poison([[maybe_unused]] void* data, [[maybe_unused]] size_t size) {
#ifdef CACHEFS_POISONS
  ASAN_POISON_MEMORY_REGION(data, size);
#endif
}
void unpoison([[maybe_unused]] void* data, [[maybe_unused]] size_t size) {
#ifdef CACHEFS_POISONS
  ASAN_UNPOISON_MEMORY_REGION(data, size);
#endif
}

}  // namespace

/// The slabs of one class. A slab is `absent` (no memory behind it, not in the budget), else `present`;
/// present ones with a free object are in the list `partial`.
struct SlabPool::SizeClass {
  struct Slab {
    uint64_t free = 0;  ///< a bit for each free object
    uint32_t previous = kNoSlab;
    uint32_t next = kNoSlab;
    bool present = false;
  };

  explicit SizeClass(size_t size)
      : object_size(size),
        slab_bytes(slab_size(size)),
        objects(static_cast<uint32_t>(std::min<size_t>(slab_bytes / size, kObjectsPerSlab))),
        slabs_per_extent(static_cast<uint32_t>(
            std::max<size_t>(1, (slab_bytes < kLargeSlab ? kSmallExtent : kLargeExtent) / slab_bytes))),
        all_free(objects == kObjectsPerSlab ? ~uint64_t{0} : (uint64_t{1} << objects) - 1) {}

  ~SizeClass() {
    for (std::byte* extent : extents) {
      unpoison(extent, slabs_per_extent * slab_bytes);
      munmap(extent, slabs_per_extent * slab_bytes);
    }
  }

  /// What a slab costs in the budget: its memory and its entry here.
  [[nodiscard]] uint64_t cost() const { return slab_bytes + sizeof(Slab); }

  [[nodiscard]] std::byte* address(uint32_t slab) const {
    return extents[slab / slabs_per_extent] + (slab % slabs_per_extent) * slab_bytes;
  }

  void link(uint32_t index) REQUIRES(mutex) {
    slabs[index].previous = kNoSlab;
    slabs[index].next = partial;
    if (partial != kNoSlab) slabs[partial].previous = index;
    partial = index;
  }

  void unlink(uint32_t index) REQUIRES(mutex) {
    Slab& slab = slabs[index];
    if (slab.previous != kNoSlab) slabs[slab.previous].next = slab.next;
    if (slab.next != kNoSlab) slabs[slab.next].previous = slab.previous;
    if (partial == index) partial = slab.next;
  }

  /// Takes an empty slab out, for its memory to be given back outside the lock.
  void detach(uint32_t index) REQUIRES(mutex) {
    unlink(index);
    slabs[index].present = false;
  }

  /// Adds address space; false if the system has none.
  bool grow() REQUIRES(mutex) {
    const size_t bytes = slabs_per_extent * slab_bytes;
    void* memory =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return false;
    poison(memory, bytes);
    extents.push_back(static_cast<std::byte*>(memory));
    const auto first = static_cast<uint32_t>(slabs.size());
    slabs.resize(slabs.size() + slabs_per_extent);
    for (uint32_t i = slabs_per_extent; i-- > 0;) absent.push_back(first + i);
    return true;
  }

  SlabBuffer take_object(uint32_t index) REQUIRES(mutex) {
    Slab& slab = slabs[index];
    const auto object = static_cast<uint32_t>(std::countr_zero(slab.free));
    slab.free &= slab.free - 1;
    if (slab.free == 0) unlink(index);
    std::byte* data = address(index) + object * object_size;
    unpoison(data, object_size);
    return {data, index, 0, static_cast<uint8_t>(object)};
  }

  const size_t object_size;
  const size_t slab_bytes;
  const uint32_t objects;
  const uint32_t slabs_per_extent;
  const uint64_t all_free;

  Mutex mutex;
  uint32_t partial GUARDED_BY(mutex) = kNoSlab;
  std::vector<Slab> slabs GUARDED_BY(mutex);
  std::vector<uint32_t> absent GUARDED_BY(mutex);
  std::vector<std::byte*> extents;  // grows under the mutex
};

SlabPool::SlabPool(Budget& budget, uint64_t spare_bytes) : budget_(budget), spare_limit_(spare_bytes) {
  classes_.reserve(kClassCount);
  for (size_t i = 0; i < kClassCount; ++i) classes_.push_back(std::make_unique<SizeClass>(class_size(i)));
}

SlabPool::~SlabPool() { trim(); }

SlabPool::SizeClass& SlabPool::class_of(uint8_t index) const { return *classes_[index]; }

size_t SlabPool::capacity_for(size_t size) { return class_size(class_index(size)); }
size_t SlabPool::capacity(const SlabBuffer& buffer) { return class_size(buffer.size_class); }

SlabBuffer SlabPool::allocate(size_t size) {
  CACHEFS_CHECK(size <= kLargestBuffer, "SlabPool: buffer too large");
  const size_t index = class_index(size);
  SizeClass& of = *classes_[index];
  for (bool trimmed = false;; trimmed = true) {
    {
      MutexLock lock(of.mutex);
      uint32_t slab = of.partial;
      if (slab != kNoSlab) {
        if (of.slabs[slab].free == of.all_free) spare_bytes_.fetch_sub(of.cost(), std::memory_order_relaxed);
      } else if ((!of.absent.empty() || of.grow()) && budget_.try_reserve(of.cost())) {
        slab = of.absent.back();
        of.absent.pop_back();
        of.slabs[slab].present = true;
        of.slabs[slab].free = of.all_free;
        of.link(slab);
      }
      if (slab != kNoSlab) {
        SlabBuffer buffer = of.take_object(slab);
        buffer.size_class = static_cast<uint8_t>(index);
        return buffer;
      }
    }
    if (trimmed || spare_bytes() == 0) return {};
    trim();
  }
}

void SlabPool::free(SlabBuffer buffer) {
  SizeClass& of = class_of(buffer.size_class);
  {
    MutexLock lock(of.mutex);
    SizeClass::Slab& slab = of.slabs[buffer.slab];
    const uint64_t bit = uint64_t{1} << buffer.object;
    CACHEFS_CHECK(slab.present && (slab.free & bit) == 0, "SlabPool: buffer freed twice");
    poison(buffer.data, of.object_size);
    if (slab.free == 0) of.link(buffer.slab);
    slab.free |= bit;
    if (slab.free != of.all_free) return;
    if (spare_bytes_.fetch_add(of.cost(), std::memory_order_relaxed) + of.cost() <= spare_limit_) return;
    spare_bytes_.fetch_sub(of.cost(), std::memory_order_relaxed);
    of.detach(buffer.slab);
  }
  discard(of, buffer.slab);
}

void SlabPool::discard(SizeClass& of, uint32_t slab) {
  std::byte* memory = nullptr;
  {
    MutexLock lock(of.mutex);
    memory = of.address(slab);
  }
  unpoison(memory, of.slab_bytes);
  madvise(memory, of.slab_bytes, MADV_DONTNEED);
  poison(memory, of.slab_bytes);
  budget_.release(of.cost());
  MutexLock lock(of.mutex);
  of.absent.push_back(slab);
}

void SlabPool::trim() {
  for (auto& of : classes_) {
    std::vector<uint32_t> empty;  // its memory goes back after the lock: that is slow
    {
      MutexLock lock(of->mutex);
      for (uint32_t slab = of->partial; slab != kNoSlab; slab = of->slabs[slab].next) {
        if (of->slabs[slab].free == of->all_free) empty.push_back(slab);
      }
      for (const uint32_t slab : empty) of->detach(slab);
    }
    spare_bytes_.fetch_sub(empty.size() * of->cost(), std::memory_order_relaxed);
    for (const uint32_t slab : empty) discard(*of, slab);
  }
}

void SlabPool::check_invariants() const {
  uint64_t spare = 0;
  for (const auto& of : classes_) {
    MutexLock lock(of->mutex);
    size_t present = 0;
    for (const auto& slab : of->slabs) {
      present += slab.present ? 1U : 0U;
      if (slab.present && slab.free == of->all_free) spare += of->cost();
    }
    CACHEFS_CHECK(present + of->absent.size() <= of->slabs.size(),
                  "S1: a slab is present, absent or on its way");
    for (uint32_t slab = of->partial; slab != kNoSlab; slab = of->slabs[slab].next) {
      CACHEFS_CHECK(of->slabs[slab].present && of->slabs[slab].free != 0,
                    "S2: partial slabs have a free object");
    }
  }
  CACHEFS_CHECK(spare == spare_bytes(), "S3: spare_bytes is what the empty slabs cost");
}

}  // namespace cachefs
