// Recorded accesses, read from a file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cachefs/error.h"

namespace cachefs::simulate {

struct Access {
  uint32_t object = 0;  ///< numbered from 0 in the order of their first access
  uint32_t size = 1;    ///< bytes; at least 1
};

/// Accesses are counted in 32 bits.
constexpr uint64_t kAccessesMax = UINT32_MAX - 1;

struct Trace {
  std::string name;  ///< the file's, without folder and endings
  std::vector<Access> accesses;
  std::vector<uint64_t> key_hashes;  ///< of the objects
  bool has_sizes = false;            ///< else each object has 1 byte
  uint64_t object_bytes = 0;         ///< the sum over the objects of the size at their first access

  [[nodiscard]] uint32_t objects() const { return static_cast<uint32_t>(key_hashes.size()); }
};

/// Formats, by the endings of the name:
///
/// - `.oracleGeneral`, `.oracleGeneral.bin`: records of 24 bytes, little-endian: uint32 time, uint64 object,
///   uint32 size, int64 next access (unused);
/// - `.csv`: with a first line of names, of which `key` (or `id`, `object`) and, if it is there, `size`
/// count;
///   or without, as text is;
/// - all else is text: on each line a key, or time, key and size. In CSV commas stand between them, in text
///   blanks. Empty lines and those that begin with # count for nothing.
///
/// Each may be compressed by zstd (`.zst`). Errors name the file, and the line or record; more than
/// kAccessesMax accesses are one. Throws std::bad_alloc where memory does not suffice: 8 bytes for each
/// access, and some fifty for each object.
Result<Trace> read_trace(const std::string& path);

}  // namespace cachefs::simulate
