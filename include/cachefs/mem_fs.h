// A file system in memory: complete, and awkward on demand, so that tests can stand in for any source.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "cachefs/clock.h"
#include "cachefs/file_system.h"

namespace cachefs {

enum class InodeNumbers : uint8_t {
  unique,  ///< never used twice
  reused,  ///< the lowest free number, as ext4 does; identities differ by generation
  random,  ///< another at each look-up, as some FUSE file systems do; identity is not stable
  none,    ///< always 0; identity is not stable
};

enum class VersionSource : uint8_t {
  counter,     ///< every change shows at once
  timestamps,  ///< from size, mtime and ctime, kept in steps of timestamp_granule, as PosixFs does
  size_only,   ///< no times: only a change of size shows (Capabilities::shows_changes is false)
};

struct MemFsOptions {
  InodeNumbers inode_numbers = InodeNumbers::unique;
  VersionSource version_source = VersionSource::counter;
  std::chrono::nanoseconds timestamp_granule{0};  ///< 2 s is FAT's
  bool local_clock = true;                        ///< what Capabilities shall say
  bool case_sensitive = true;
  bool enforce_permissions = false;      ///< check mode bits against the Caller, as a kernel does
  uint64_t capacity_bytes = UINT64_MAX;  ///< ENOSPC beyond it
  Clock* clock = &Clock::system();
};

/// Thread-safe. Sparse: holes take no memory. Hard links, open-unlinked files, xattrs, locks, special
/// files, exchange.
std::unique_ptr<FileSystem> make_mem_fs(const MemFsOptions& options = {});

}  // namespace cachefs
