#include "vfs/mem_fs_data.h"

#include <algorithm>
#include <cstring>

namespace cachefs::mem {

bool Space::take(uint64_t pages) {
  uint64_t used = used_.load(std::memory_order_relaxed);
  do {
    if (pages > capacity_ || used > capacity_ - pages) return false;
  } while (!used_.compare_exchange_weak(used, used + pages, std::memory_order_relaxed));
  return true;
}

void SparseData::read(uint64_t offset, std::span<std::byte> out) const {
  auto page = pages_.lower_bound(offset / kPageSize);
  while (!out.empty()) {
    const uint64_t index = offset / kPageSize;
    const size_t within = offset % kPageSize;
    const size_t count = std::min<size_t>(out.size(), kPageSize - within);
    if (page != pages_.end() && page->first < index) ++page;
    if (page != pages_.end() && page->first == index && page->second) {
      std::memcpy(out.data(), page->second->data() + within, count);
    } else {
      std::memset(out.data(), 0, count);
    }
    offset += count;
    out = out.subspan(count);
  }
}

Page* SparseData::writable_page(uint64_t index) {
  auto page = pages_.find(index);
  if (page == pages_.end()) {
    if (!space_.take(1)) return nullptr;
    page = pages_.emplace(index, nullptr).first;
  }
  if (!page->second) page->second = std::make_unique<Page>();
  return page->second.get();
}

size_t SparseData::write(uint64_t offset, std::span<const std::byte> data) {
  size_t written = 0;
  while (written < data.size()) {
    const size_t within = offset % kPageSize;
    const size_t count = std::min<size_t>(data.size() - written, kPageSize - within);
    Page* page = writable_page(offset / kPageSize);
    if (page == nullptr) break;
    std::memcpy(page->data() + within, data.data() + written, count);
    offset += count;
    written += count;
  }
  return written;
}

bool SparseData::reserve(uint64_t offset, uint64_t length) {
  const uint64_t first = offset / kPageSize;
  const uint64_t end = (offset + length + kPageSize - 1) / kPageSize;
  const auto present =
      static_cast<uint64_t>(std::distance(pages_.lower_bound(first), pages_.lower_bound(end)));
  if (!space_.take(end - first - present)) return false;
  for (uint64_t index = first; index < end; ++index) pages_.try_emplace(index, nullptr);
  return true;
}

void SparseData::zero_within(uint64_t index, size_t begin, size_t end) {
  const auto page = pages_.find(index);
  if (page != pages_.end() && page->second) std::memset(page->second->data() + begin, 0, end - begin);
}

Pages SparseData::discard(uint64_t offset, uint64_t length) {
  Pages dropped;
  const uint64_t end = length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
  const uint64_t first_whole = offset / kPageSize + (offset % kPageSize != 0 ? 1 : 0);
  const uint64_t end_whole = end / kPageSize;
  if (first_whole > end_whole) {  // within one page
    zero_within(end_whole, offset % kPageSize, end % kPageSize);
    return dropped;
  }
  if (offset % kPageSize != 0) zero_within(first_whole - 1, offset % kPageSize, kPageSize);
  if (end % kPageSize != 0) zero_within(end_whole, 0, end % kPageSize);
  for (auto page = pages_.lower_bound(first_whole); page != pages_.end() && page->first < end_whole;) {
    dropped.insert(dropped.end(), pages_.extract(page++));
  }
  space_.give_back(dropped.size());
  return dropped;
}

uint64_t SparseData::copy_from(const SparseData& source, uint64_t offset, uint64_t target_offset,
                               uint64_t length, Pages& dropped) {
  Page buffer;
  for (uint64_t copied = 0; copied < length;) {
    const uint64_t at = offset + copied;
    const uint64_t data = std::min(source.next_data(at).value_or(UINT64_MAX), offset + length);
    if (data > at) {
      dropped.merge(discard(target_offset + copied, data - at));
      copied += data - at;
      continue;
    }
    const uint64_t count = std::min(kPageSize - at % kPageSize, length - copied);
    const std::span<std::byte> piece(buffer.data(), count);
    source.read(at, piece);
    const size_t written = write(target_offset + copied, piece);
    copied += written;
    if (written < count) return copied;
  }
  return length;
}

std::optional<uint64_t> SparseData::next_data(uint64_t offset) const {
  auto page = pages_.lower_bound(offset / kPageSize);
  while (page != pages_.end() && !page->second) ++page;
  if (page == pages_.end()) return std::nullopt;
  return std::max(offset, page->first * kPageSize);
}

uint64_t SparseData::next_hole(uint64_t offset) const {
  uint64_t index = offset / kPageSize;
  for (auto page = pages_.lower_bound(index); page != pages_.end() && page->first == index && page->second;
       ++page) {
    ++index;
  }
  return std::max(offset, index * kPageSize);
}

}  // namespace cachefs::mem
