#include "model/model_world.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace cachefs::model {
namespace {

constexpr size_t kHandlesMax = 4;
constexpr size_t kLargestFile = 5UL * 16 * 1024 + 1000;  // more than five of the smallest blocks

std::string whole_content(File& file) {
  std::string content(2 * kLargestFile, '\0');
  size_t done = 0;
  for (;;) {
    const auto count = file.read_at(done, std::as_writable_bytes(std::span(content).subspan(done)));
    if (!count || *count == 0) break;
    done += *count;
  }
  content.resize(done);
  return content;
}

int error_of(const Result<void>& result) { return result ? 0 : result.error().to_errno(); }

template <typename Value>
Result<void> outcome(const Result<Value>& result) {
  if (!result) return std::unexpected(result.error());
  return {};
}

Result<void> write_range(const PathContext& context, const std::string& path, uint64_t offset,
                         const std::string& data) {
  auto file = open(context, path, {.read = false, .write = true});
  if (!file) return std::unexpected(file.error());
  auto written = (*file)->write_at(offset, std::as_bytes(std::span(data)));
  return outcome(written);
}

Result<void> append_to(const PathContext& context, const std::string& path, const std::string& data) {
  auto file = open(context, path, {.read = false, .write = true, .append = true});
  if (!file) return std::unexpected(file.error());
  auto written = (*file)->append(std::as_bytes(std::span(data)));
  return outcome(written);
}

}  // namespace

World::World(FileSystem& source, const WorldOptions& options, uint64_t seed)
    : rng_(seed),
      options_(options),
      source_(source),
      plain_(make_mem_fs({.case_sensitive = source.capabilities().case_sensitive})) {
  auto made = CacheFs::create(source, options.cache);
  if (made) cache_ = std::move(*made);
  for (const char* directory : {"/d0", "/d1", "/d0/e"}) {
    ignore(mkdir(source_, directory), "compared below");
    ignore(mkdir(*plain_, directory), "compared below");
  }
}

World::~World() { handles_.clear(); }

bool World::fails(const std::string& what) {
  failure_ = fmt::format("{} (last operation: {})", what, last_);
  return false;
}

/// Whether the source shows by now that something changed.
bool World::certain() const {
  return options_.clock == nullptr ? source_.capabilities().timestamp_granule.count() == 0
                                   : options_.clock->now() >= certain_since_;
}

std::string World::random_directory() {
  static constexpr std::array<const char*, 4> kDirectories{"", "/d0", "/d1", "/d0/e"};
  return kDirectories[random(kDirectories.size())];
}

std::string World::random_path() {
  const bool upper = !source_.capabilities().case_sensitive && random(3) == 0;
  return random_directory() + (upper ? "/F" : "/f") + std::to_string(random(4));
}

std::string World::random_content() {
  std::string content(1 + (random(3) == 0 ? random(kLargestFile) : random(5000)), '\0');
  const uint64_t stamp = rng_();
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(stamp >> (i % 8 * 8));
  return content;
}

template <typename Run>
bool World::mutate(const char* name, Through through, Run run) {
  last_ = fmt::format("{} {} through the {}", name, paths_, through == Through::cache ? "cache" : "source");
  FileSystem& side = through == Through::cache ? static_cast<FileSystem&>(*cache_) : source_;
  const Result<void> real = run(PathContext(side));
  const Result<void> plain = run(PathContext(*plain_));
  if (error_of(real) != error_of(plain)) {
    return fails(fmt::format("errno {} where {} is right", error_of(real), error_of(plain)));
  }
  after_mutation(through);
  return true;
}

void World::after_mutation(Through through) {
  note_contents(through);
  if (options_.clock == nullptr) return;
  const auto granule = source_.capabilities().timestamp_granule;
  // Within a granule a change may hide behind another one; our own changes make it longer.
  if (through == Through::source || !certain()) certain_since_ = options_.clock->now() + 2 * granule;
  // What the cache may still believe of names and attributes is over.
  if (through == Through::source) options_.clock->advance(options_.cache.coherence.metadata_ttl());
}

void World::note_contents(Through through) {
  for (Handle& handle : handles_) {
    std::string content = whole_content(*handle.plain);
    if (content == handle.contents.back()) continue;
    handle.contents.push_back(std::move(content));
    if (through == Through::cache) handle.oldest_allowed = handle.contents.size() - 1;
    if (through == Through::source && (!source_.capabilities().shows_changes || !certain()))
      handle.any_version = true;
  }
  if (through == Through::source && !source_.capabilities().stable_identity) handles_.clear();
}

bool World::random_mutation() {
  const Through through = random(4) == 0 ? Through::source : Through::cache;
  const std::string a = random_path();
  const std::string b = random_path();
  const std::string data = random_content();
  const uint64_t offset = random(kLargestFile);
  paths_ = a + " " + b;
  const bool links = source_.capabilities().stable_identity;
  switch (random(11)) {
    case 0:
      return mutate("write_file", through, [&](const PathContext& on) { return write_file(on, a, data); });
    case 1:
      return mutate("write_range", through,
                    [&](const PathContext& on) { return write_range(on, a, offset, data); });
    case 2:
      return mutate("append", through, [&](const PathContext& on) { return append_to(on, a, data); });
    case 3:
      return mutate("truncate", through, [&](const PathContext& on) { return truncate(on, a, offset); });
    case 4:
      return mutate("rename", through, [&](const PathContext& on) { return rename(on, a, b); });
    case 5:
      if (!links) return true;
      return mutate("link", through, [&](const PathContext& on) { return link(on, a, b); });
    case 6:
      return mutate("remove", through, [&](const PathContext& on) { return remove(on, a); });
    case 7:
      return mutate("chmod", through,
                    [&](const PathContext& on) { return chmod(on, a, 0600 + offset % 0100); });
    case 8:
      return mutate("symlink", through, [&](const PathContext& on) { return symlink(on, "/d1/f1", a); });
    case 9:
      return mutate("mkdir", through, [&](const PathContext& on) { return mkdir(on, a); });
    default:
      return mutate("overwrite", through, [&](const PathContext& on) { return write_range(on, a, 0, data); });
  }
}

bool World::check_file(const std::string& path) {
  last_ = "reading " + path;
  const auto cached = read_file(*cache_, path);
  const auto plain = read_file(*plain_, path);
  if (error_of(outcome(cached)) != error_of(outcome(plain))) {
    return fails(
        fmt::format("errno {} where {} is right", error_of(outcome(cached)), error_of(outcome(plain))));
  }
  if (!plain || !certain() || *cached == *plain) return true;
  const auto differ =
      std::mismatch(cached->begin(), cached->end(), plain->begin(), plain->end()).first - cached->begin();
  return fails(fmt::format("{} of {} bytes, wrong from byte {}", cached->size(), plain->size(), differ));
}

bool World::check_attributes(const std::string& path) {
  last_ = "attributes of " + path;
  const auto cached = lstat(*cache_, path);
  const auto plain = lstat(*plain_, path);
  if (error_of(outcome(cached)) != error_of(outcome(plain))) {
    return fails(
        fmt::format("errno {} where {} is right", error_of(outcome(cached)), error_of(outcome(plain))));
  }
  if (!plain) return true;
  if (cached->size != plain->size && plain->kind != FileKind::directory) {
    return fails(fmt::format("size {} where {} is right", cached->size, plain->size));
  }
  if (cached->mode != plain->mode || cached->kind != plain->kind) return fails("mode or kind is wrong");
  if (cached->nlink != plain->nlink && plain->kind != FileKind::directory) {
    return fails(fmt::format("link count {} where {} is right", cached->nlink, plain->nlink));
  }
  return true;
}

bool World::check_directory(const std::string& path) {
  last_ = "listing " + path;
  const auto cached = read_directory(*cache_, path);
  const auto plain = read_directory(*plain_, path);
  if (cached.has_value() != plain.has_value()) return fails("one can be listed, the other cannot");
  if (!plain || !certain()) return true;
  const auto same = [](const DirectoryEntry& x, const DirectoryEntry& y) {
    return x.name == y.name && x.kind == y.kind;
  };
  if (std::equal(cached->begin(), cached->end(), plain->begin(), plain->end(), same)) return true;
  return fails(fmt::format("{} entries where {} are right, or others", cached->size(), plain->size()));
}

bool World::open_handle(const std::string& path) {
  last_ = "opening " + path;
  const bool write = random(2) == 0;
  auto cached = open(*cache_, path, {.read = true, .write = write});
  auto plain = open(*plain_, path, {.read = true, .write = write});
  if (error_of(outcome(cached)) != error_of(outcome(plain))) return fails("open differs");
  if (!plain) return true;
  if (handles_.size() == kHandlesMax) handles_.erase(handles_.begin());
  std::string content = whole_content(**plain);
  handles_.push_back(
      {.cached = std::move(*cached), .plain = std::move(*plain), .contents = {std::move(content)}});
  handles_.back().any_version = !certain();
  return true;
}

bool World::read_handle(Handle& handle) {
  last_ = "reading a handle";
  const uint64_t offset = random(kLargestFile);
  const size_t wanted = 1 + random(40000);
  std::string out(wanted, '\0');
  const auto count = handle.cached->read_at(offset, std::as_writable_bytes(std::span(out)));
  if (!count) return fails("read failed: " + count.error().message());
  out.resize(*count);
  if (handle.any_version) return true;
  for (size_t i = handle.oldest_allowed; i < handle.contents.size(); ++i) {
    const std::string& content = handle.contents[i];
    if (out != (offset < content.size() ? content.substr(offset, wanted) : "")) continue;
    handle.oldest_allowed = i;
    return true;
  }
  return fails(fmt::format("{} bytes at {} are of no single version", out.size(), offset));
}

bool World::write_handle(Handle& handle) {
  last_ = "writing a handle";
  const std::string data = random_content();
  const uint64_t offset = random(kLargestFile);
  const auto cached = handle.cached->write_at(offset, std::as_bytes(std::span(data)));
  const auto plain = handle.plain->write_at(offset, std::as_bytes(std::span(data)));
  if (error_of(outcome(cached)) != error_of(outcome(plain))) return fails("writing a handle differs");
  after_mutation(Through::cache);
  return true;
}

bool World::use_handle() {
  if (handles_.empty()) return true;
  Handle& handle = handles_[random(handles_.size())];
  return random(3) == 0 ? write_handle(handle) : read_handle(handle);
}

void World::forget_or_wait() {
  switch (random(8)) {
    case 0:
      cache_->invalidate(random_path());
      break;
    case 1:
      cache_->invalidate_prefix(random_directory());
      break;
    case 2:
      cache_->clear();
      break;
    default:
      if (options_.clock != nullptr) options_.clock->advance(std::chrono::milliseconds(random(3000)));
  }
}

bool World::random_check() {
  switch (random(8)) {
    case 0:
      return check_attributes(random_path());
    case 1:
      return check_directory(random_directory());
    case 2:
      return open_handle(random_path());
    case 3:
    case 4:
      return use_handle();
    default:
      return check_file(random_path());
  }
}

bool World::step() {
  const uint64_t kind = random(20);
  if (kind == 0) {
    forget_or_wait();
    return true;
  }
  const bool right = kind < 8 ? random_mutation() : random_check();
  const CacheStats stats = cache_->stats();
  if (stats.bytes_used > stats.bytes_limit) return fails("over the limit");
  return right;
}

bool World::compare_all() {
  if (options_.clock != nullptr) options_.clock->advance(std::chrono::seconds(10));
  for (const char* directory : {"", "/d0", "/d1", "/d0/e"}) {
    if (!check_directory(directory[0] == '\0' ? "/" : directory)) return false;
    for (int i = 0; i < 4; ++i) {
      const std::string path = fmt::format("{}/f{}", directory, i);
      if (!check_attributes(path) || !check_file(path)) return false;
    }
  }
  return true;
}

}  // namespace cachefs::model
