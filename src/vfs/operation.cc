// The names of operations, and the hook that counts them.
#include "cachefs/decorators.h"

namespace cachefs {

std::string_view operation_name(Operation operation) {
  static constexpr std::array<std::string_view, kOperationCount> kNames{
      "lookup",         "attributes", "set_attributes", "open",        "create",         "make",
      "link",           "remove",     "rename",         "read_link",   "open_directory", "read_directory",
      "sync_directory", "statistics", "get_xattr",      "list_xattrs", "set_xattr",      "remove_xattr",
      "set_lock",       "test_lock",  "release_lock",   "read",        "write",          "append",
      "sync",           "allocate",   "seek",           "copy_range",  "flush",          "close"};
  return kNames[static_cast<size_t>(operation)];
}

bool moves_data(Operation operation) {
  return operation == Operation::read || operation == Operation::write || operation == Operation::append ||
         operation == Operation::copy_range;
}

bool is_part_of_closing(Operation operation) {
  return operation == Operation::flush || operation == Operation::close;
}

Result<void> OperationCounter::before(Operation operation, uint64_t /*bytes*/) {
  counts_[static_cast<size_t>(operation)].fetch_add(1, std::memory_order_relaxed);
  return {};
}

void OperationCounter::after(Operation operation, uint64_t bytes, bool /*ok*/) {
  if (!moves_data(operation)) return;
  (operation == Operation::read ? read_bytes_ : write_bytes_).fetch_add(bytes, std::memory_order_relaxed);
}

uint64_t OperationCounter::count(Operation operation) const {
  return counts_[static_cast<size_t>(operation)].load(std::memory_order_relaxed);
}

uint64_t OperationCounter::writes() const {
  return count(Operation::write) + count(Operation::append) + count(Operation::copy_range);
}

uint64_t OperationCounter::metadata() const {
  uint64_t sum = 0;
  for (size_t i = 0; i < kOperationCount; ++i) {
    const auto operation = static_cast<Operation>(i);
    if (!moves_data(operation) && !is_part_of_closing(operation)) sum += count(operation);
  }
  return sum;
}

void OperationCounter::reset() {
  for (auto& count : counts_) count.store(0, std::memory_order_relaxed);
  read_bytes_.store(0, std::memory_order_relaxed);
  write_bytes_.store(0, std::memory_order_relaxed);
}

}  // namespace cachefs
