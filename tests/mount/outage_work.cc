#include "mount/outage_work.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <map>
#include <new>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "mount/cli_fixture.h"
#include "server/unique_fd.h"

namespace cachefs::test {
namespace {

using server::UniqueFd;

constexpr size_t kPage = 4096;

/// Errors that say nothing of a file, only that its source is not there. ESTALE: it may not be the same file.
bool is_of_outage(int error) { return error == EIO || error == ETIMEDOUT || error == ESTALE; }

/// Of a call that failed though the source is back.
std::string after_the_end(const Progress& progress) {
  return fmt::format("though the source is back: {}: {}", progress.last_failed.load(),
                     strerrorname_np(progress.last_error));
}

/// Differs from page to page and from version to version.
std::vector<char> page(uint64_t index, uint64_t version) {
  std::vector<char> bytes(kPage);
  std::mt19937_64 random(index * 1'000'003 + version);
  for (size_t i = 0; i < kPage; i += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(&bytes[i], &word, sizeof word);
  }
  return bytes;
}

void make_file(const std::string& path, uint64_t pages) {
  std::ofstream file(path, std::ios::binary);
  for (uint64_t i = 0; i < pages; ++i) {
    const std::vector<char> bytes = page(i, 0);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
}

/// Reads a large file from its start to its end, again and again. It is opened anew again and again: who has
/// a file open keeps the file system alive that it is on.
class SequentialRead final : public Work {
 public:
  using Work::Work;

  void prepare() override {
    make_file(files_ + "/large", kPages);
    for (uint64_t i = 0; i < kPages; ++i) {
      const std::vector<char> bytes = page(i, 0);
      expected_.insert(expected_.end(), bytes.begin(), bytes.end());
    }
  }
  void step(Progress& progress) override {
    if (!fd_) {
      fd_ = UniqueFd(static_cast<int>(counted(progress, "open a file", [&] {
        return ::open((mount_ + "/large").c_str(), O_RDONLY | O_CLOEXEC);
      })));
      return;
    }
    std::array<char, kChunk> chunk{};
    const size_t wanted = std::min(kChunk, expected_.size() - offset_);
    const ssize_t size = counted(progress, "read", [&] {
      return ::pread(fd_.get(), chunk.data(), wanted, static_cast<off_t>(offset_));
    });
    if (size < 0) return fd_.reset();
    if (size == 0) return progress.complain(fmt::format("the file ends at {}", offset_));
    if (std::memcmp(chunk.data(), &expected_[offset_], static_cast<size_t>(size)) != 0)
      return progress.complain(fmt::format("wrong bytes at {}", offset_));
    ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);  // the kernel would keep all of it
    offset_ = (offset_ + static_cast<size_t>(size)) % expected_.size();
    if (++reads_ % kReadsPerOpen == 0) fd_.reset();
  }
  void verify(Progress& progress) override {
    fd_.reset();
    offset_ = 0;
    const uint64_t failed = progress.failed;
    for (bool began = false; (!began || offset_ != 0) && !progress.complained;) {
      step(progress);
      began = began || offset_ != 0;
      if (progress.failed != failed) progress.complain(after_the_end(progress));
    }
  }

 private:
  static constexpr uint64_t kPages = 4096;
  static constexpr size_t kChunk = 128 * 1024;
  static constexpr uint64_t kReadsPerOpen = 4;

  std::vector<char> expected_;
  UniqueFd fd_;
  size_t offset_ = 0;
  uint64_t reads_ = 0;
};

/// Writes pages of a file. A write that failed may be there, wholly or not at all, until the page is written
/// again.
class RandomWrites final : public Work {
 public:
  RandomWrites(std::string mount, std::string files, uint64_t seed)
      : Work(std::move(mount), std::move(files)), random_(seed), possible_(kPages, {0}) {}

  void prepare() override { make_file(files_ + "/written", kPages); }
  void step(Progress& progress) override {
    if (!fd_) {
      fd_ = UniqueFd(static_cast<int>(counted(progress, "open a file for writing", [&] {
        return ::open((mount_ + "/written").c_str(), O_RDWR | O_CLOEXEC);
      })));
      return;
    }
    const uint64_t index = random_() % kPages;
    return random_() % 4 == 0 ? look(progress, index) : write(progress, index);
  }
  void verify(Progress& progress) override {
    fd_.reset();
    const UniqueFd shown(::open((mount_ + "/written").c_str(), O_RDONLY | O_CLOEXEC));
    const UniqueFd real(::open((files_ + "/written").c_str(), O_RDONLY | O_CLOEXEC));
    for (uint64_t index = 0; index < kPages; ++index) {
      const auto on_mount = read_page(shown, index);
      if (!on_mount || on_mount != read_page(real, index))
        return progress.complain(fmt::format("page {} is another than on the source", index));
      if (!is_possible(index, *on_mount)) progress.complain(fmt::format("page {} was never so", index));
    }
  }

 private:
  static constexpr uint64_t kPages = 256;

  void write(Progress& progress, uint64_t index) {
    const std::vector<char> bytes = page(index, ++version_);
    const ssize_t size = counted(progress, "write", [&] {
      return ::pwrite(fd_.get(), bytes.data(), kPage, static_cast<off_t>(index * kPage));
    });
    if (size >= 0 && size != static_cast<ssize_t>(kPage)) progress.complain("a short write");
    if (size > 0) possible_[index].clear();
    possible_[index].insert(version_);
    if (size < 0) fd_.reset();
  }
  void look(Progress& progress, uint64_t index) {
    std::vector<char> bytes(kPage);
    const ssize_t size = counted(progress, "read what was written", [&] {
      return ::pread(fd_.get(), bytes.data(), kPage, static_cast<off_t>(index * kPage));
    });
    if (size < 0) return fd_.reset();
    if (size != static_cast<ssize_t>(kPage)) return progress.complain("a short read");
    if (!is_possible(index, bytes)) progress.complain(fmt::format("page {} reads as it never was", index));
  }
  [[nodiscard]] bool is_possible(uint64_t index, const std::vector<char>& bytes) const {
    return std::ranges::any_of(possible_[index],
                               [&](uint64_t version) { return bytes == page(index, version); });
  }
  static std::optional<std::vector<char>> read_page(const UniqueFd& fd, uint64_t index) {
    std::vector<char> bytes(kPage);
    const ssize_t size = ::pread(fd.get(), bytes.data(), kPage, static_cast<off_t>(index * kPage));
    return size == static_cast<ssize_t>(kPage) ? std::optional(bytes) : std::nullopt;
  }

  std::mt19937_64 random_;
  std::vector<std::set<uint64_t>> possible_;  ///< versions, by the page
  uint64_t version_ = 0;
  UniqueFd fd_;
};

std::optional<std::set<std::string>> names_in(const std::string& directory) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(directory.c_str()), &::closedir);
  if (!stream) return std::nullopt;
  std::set<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());  // NOLINT(concurrency-mt-unsafe): one thread
    if (entry == nullptr) break;
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.insert(name);
  }
  return errno == 0 ? std::optional(names) : std::nullopt;
}

/// Makes, renames and removes names. After a change that failed its names may be there or not.
class NameStorm final : public Work {
 public:
  NameStorm(std::string mount, std::string files, uint64_t seed)
      : Work(std::move(mount), std::move(files)), random_(seed) {}

  void prepare() override { ::mkdir((files_ + "/names").c_str(), 0755); }
  void step(Progress& progress) override {
    switch (random_() % 4) {
      case 0:
        return create(progress);
      case 1:
        return rename(progress);
      case 2:
        return list(progress);
      default:
        return known_.size() > kNamesMax ? remove(progress) : create(progress);
    }
  }
  void verify(Progress& progress) override {
    const auto shown = names_in(mount_ + "/names");
    const auto real = names_in(files_ + "/names");
    if (!shown || shown != real) return progress.complain("other names than on the source");
    check(progress, *shown);
  }

 private:
  static constexpr size_t kNamesMax = 20;

  [[nodiscard]] std::string at(const std::string& name) const { return mount_ + "/names/" + name; }
  std::string new_name() { return fmt::format("name{}", ++number_); }
  std::string any_name() {
    auto at = known_.begin();
    std::advance(at, static_cast<ptrdiff_t>(random_() % known_.size()));
    return *at;
  }

  void create(Progress& progress) {
    const std::string name = new_name();
    const UniqueFd fd(static_cast<int>(counted(progress, "create a file", [&] {
      return ::open(at(name).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    })));
    (fd ? known_ : unclear_).insert(name);
  }
  void rename(Progress& progress) {
    if (known_.empty()) return;
    const std::string from = any_name();
    const std::string to = new_name();
    known_.erase(from);
    const bool done =
        counted(progress, "rename a file", [&] { return ::rename(at(from).c_str(), at(to).c_str()); }) == 0;
    (done ? known_ : unclear_).insert(to);
    (done ? gone_ : unclear_).insert(from);
  }
  void remove(Progress& progress) {
    const std::string name = any_name();
    known_.erase(name);
    const bool done = counted(progress, "remove a file", [&] { return ::unlink(at(name).c_str()); }) == 0;
    (done ? gone_ : unclear_).insert(name);
  }
  void list(Progress& progress) {
    std::optional<std::set<std::string>> names;
    counted(progress, "list a directory", [&] {
      names = names_in(mount_ + "/names");
      return names ? 0 : -1;
    });
    if (names) check(progress, *names);
  }
  void check(Progress& progress, const std::set<std::string>& names) {
    for (const std::string& name : known_) {
      if (!names.contains(name)) progress.complain(fmt::format("{} is lost", name));
    }
    for (const std::string& name : gone_) {
      if (names.contains(name)) progress.complain(fmt::format("{} is there again", name));
    }
  }

  std::mt19937_64 random_;
  uint64_t number_ = 0;
  std::set<std::string> known_, gone_, unclear_;
};

/// Lists all of a tree and looks at each file in it.
class Walk final : public Work {
 public:
  using Work::Work;

  void prepare() override {
    for (int i = 0; i < kDirectories; ++i) {
      const std::string directory = fmt::format("{}/tree{}", files_, i);
      ::mkdir(directory.c_str(), 0755);
      for (size_t k = 0; k < kFiles; ++k) std::ofstream(fmt::format("{}/file{}", directory, k)) << "text";
    }
  }
  void step(Progress& progress) override {
    const std::string directory = fmt::format("{}/tree{}", mount_, turn_++ % kDirectories);
    std::optional<std::set<std::string>> names;
    counted(progress, "list a directory", [&] {
      names = names_in(directory);
      return names ? 0 : -1;
    });
    if (!names) return;
    if (names->size() != kFiles) progress.complain(fmt::format("{} names in {}", names->size(), directory));
    for (const std::string& name : *names) {
      struct stat status{};
      const std::string path = fmt::format("{}/{}", directory, name);
      const bool done =
          counted(progress, "look at a file", [&] { return ::stat(path.c_str(), &status); }) == 0;
      if (done && status.st_size != 4) progress.complain(path + " has another size");
      if (!done) return;
    }
  }
  void verify(Progress& progress) override {
    const uint64_t failed = progress.failed;
    for (int i = 0; i < kDirectories; ++i) step(progress);
    if (progress.failed != failed) progress.complain(after_the_end(progress));
  }

 private:
  static constexpr int kDirectories = 20;
  static constexpr size_t kFiles = 10;

  int turn_ = 0;
};

[[noreturn]] void run(Work& work, Progress& progress) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  while (!progress.is_told_to_end && !progress.complained) work.step(progress);
  if (!progress.complained) work.verify(progress);
  ::_exit(0);
}

}  // namespace

void Progress::complain(const std::string& text) {
  if (complained) return;
  text.copy(complaint, sizeof complaint - 1);
  complained = true;
}

ssize_t Work::counted(Progress& progress, const char* what, const std::function<ssize_t()>& call) {
  const auto begun = std::chrono::steady_clock::now();
  const ssize_t result = call();
  const int error = errno;
  const std::chrono::nanoseconds taken = std::chrono::steady_clock::now() - begun;
  if (taken.count() > progress.longest_ns) {
    progress.longest_ns = taken.count();
    progress.longest = what;
  }
  if (result >= 0) {
    ++progress.succeeded;
  } else if (is_of_outage(error)) {
    progress.last_error = error;
    progress.last_failed = what;
    ++progress.failed;
  } else {
    progress.complain(fmt::format("{}: {}", what, strerrorname_np(error)));
  }
  return result;
}

std::unique_ptr<Work> make_work(const std::string& kind, const std::string& mount, const std::string& files,
                                uint64_t seed) {
  if (kind == "SequentialRead") return std::make_unique<SequentialRead>(mount, files);
  if (kind == "RandomWrites") return std::make_unique<RandomWrites>(mount, files, seed);
  if (kind == "NameStorm") return std::make_unique<NameStorm>(mount, files, seed);
  return std::make_unique<Walk>(mount, files);
}

Worker::Worker(std::unique_ptr<Work> work) {
  void* const shared =
      ::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  progress_ = new (shared) Progress;
  child_ = ::fork();
  if (child_ == 0) run(*work, *progress_);
}

Worker::~Worker() {
  if (child_ > 0) {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  ::munmap(progress_, sizeof(Progress));
}

bool Worker::ends() {
  progress_->is_told_to_end = true;
  if (!eventually([&] { return ::waitpid(child_, nullptr, WNOHANG) == child_; })) return false;
  child_ = -1;
  return true;
}

}  // namespace cachefs::test
