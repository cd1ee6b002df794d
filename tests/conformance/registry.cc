#include "conformance/registry.h"

#include <sys/stat.h>

#include "cachefs/cache_fs.h"
#include "cachefs/decorators.h"
#include "cachefs/guarded_fs.h"
#include "cachefs/mem_fs.h"
#include "cachefs/path_operations.h"
#include "cachefs/posix_fs.h"
#include "support/temporary_directory.h"

namespace cachefs::conformance {
namespace {

class MemSubject final : public Subject {
 public:
  explicit MemSubject(MemFsOptions options) {
    options.clock = &clock_;
    fs_ = make_mem_fs(options);
  }
  FileSystem& fs() override { return *fs_; }
  Clock& clock() override { return clock_; }
  void advance(std::chrono::nanoseconds by) override { clock_.advance(by); }

 private:
  ManualClock clock_;
  std::unique_ptr<FileSystem> fs_;
};

FileSystemFactory memory(std::string name, const MemFsOptions& options) {
  return {.name = std::move(name), .make = [options] { return std::make_unique<MemSubject>(options); }};
}

/// Over a directory of its own below that for temporary files.
class PosixSubject final : public Subject {
 public:
  explicit PosixSubject(const PosixFsOptions& options) {
    umask(0);  // callers bring their own
    auto fs = make_posix_fs(directory_.string(), options);
    if (fs) fs_ = std::move(*fs);
  }
  FileSystem& fs() override { return *fs_; }
  [[nodiscard]] bool good() const { return fs_ != nullptr; }

 private:
  test::TemporaryDirectory directory_;
  std::unique_ptr<FileSystem> fs_;
};

FileSystemFactory posix(std::string name, const PosixFsOptions& options) {
  return {.name = std::move(name), .make = [options]() -> std::unique_ptr<Subject> {
            auto subject = std::make_unique<PosixSubject>(options);
            if (!subject->good()) return nullptr;
            return subject;
          }};
}

std::vector<FileSystemFactory> sources() {
  return {
      memory("Memory", {}),
      memory("MemoryReusedInodes", {.inode_numbers = InodeNumbers::reused}),
      memory("MemoryRandomInodes", {.inode_numbers = InodeNumbers::random}),
      memory("MemoryNoInodes", {.inode_numbers = InodeNumbers::none}),
      memory("MemoryTimestamps", {.version_source = VersionSource::timestamps}),
      memory("MemoryTwoSecondTimestamps",
             {.version_source = VersionSource::timestamps, .timestamp_granule = std::chrono::seconds(2)}),
      memory("MemoryNoTimes", {.version_source = VersionSource::size_only}),
      memory("MemoryAnyCase", {.case_sensitive = false}),
      memory("MemoryPermissions", {.enforce_permissions = true}),
      posix("Posix", {}),
      posix("PosixFewDescriptors", {.max_cached_descriptors = 1}),
      posix("PosixByPath", {.stable_identity = false}),
  };
}

/// A file system that stands on another.
class Layered final : public Subject {
 public:
  using Wrap = std::function<std::unique_ptr<FileSystem>(const std::shared_ptr<Subject>& base)>;

  Layered(std::unique_ptr<Subject> base, const Wrap& wrap) : base_(std::move(base)), fs_(wrap(base_)) {}
  FileSystem& fs() override { return *fs_; }
  Clock& clock() override { return base_->clock(); }
  void advance(std::chrono::nanoseconds by) override { base_->advance(by); }

 private:
  const std::shared_ptr<Subject> base_;
  const std::unique_ptr<FileSystem> fs_;
};

FileSystemFactory over(const FileSystemFactory& base, std::string_view prefix, Layered::Wrap wrap) {
  return {.name = std::string(prefix) + base.name,
          .make = [base, wrap = std::move(wrap)] { return std::make_unique<Layered>(base.make(), wrap); }};
}

/// Lets all pass.
class NoHook final : public OperationHook {
 public:
  Result<void> before(Operation /*operation*/, uint64_t /*bytes*/) override { return {}; }
};

std::unique_ptr<FileSystem> hooked(const std::shared_ptr<Subject>& base) {
  static NoHook hook;
  return make_hooked_fs(base->fs(), hook);
}

std::unique_ptr<FileSystem> guarded(const std::shared_ptr<Subject>& base) {
  return GuardedFs::create(std::shared_ptr<FileSystem>(base, &base->fs()), {});
}

std::unique_ptr<FileSystem> below_root(const std::shared_ptr<Subject>& base) {
  if (!mkdir(base->fs(), "/below")) return nullptr;
  auto fs = sub(base->fs(), "/below");
  return fs ? std::move(*fs) : nullptr;
}

/// Close-to-open: all changes go through the cache, so that everything must be seen at once.
std::unique_ptr<FileSystem> cached(const std::shared_ptr<Subject>& base) {
  CacheOptions options;
  options.clock = &base->clock();
  options.block_size = 16 * kKiB;
  options.max_bytes = 4 * kMiB;
  auto cache = CacheFs::create(base->fs(), options);
  return cache ? std::move(*cache) : nullptr;
}

}  // namespace

std::vector<FileSystemFactory> all_file_systems() {
  std::vector<FileSystemFactory> all = sources();
  const FileSystemFactory plain = all.front();
  for (const FileSystemFactory& base : sources()) all.push_back(over(base, "Cached", cached));
  all.push_back(over(plain, "Hooked", hooked));
  for (const FileSystemFactory& base : sources()) {
    if (base.name == plain.name || base.name == "Posix") all.push_back(over(base, "Guarded", guarded));
  }
  all.push_back(over(plain, "Sub", below_root));
  return all;
}

}  // namespace cachefs::conformance
