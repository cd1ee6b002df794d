#include "support/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>

#include "support/measure.h"

namespace cachefs::bench {

Descriptor::Descriptor(const std::string& path, int flags)
    : fd_(open(path.c_str(), flags | O_CLOEXEC, 0644)) {
  if (fd_ < 0) give_up(fmt::format("open {}: {}", path, std::strerror(errno)));
}

Descriptor::~Descriptor() { close(fd_); }

void Descriptor::read_exactly(uint64_t offset, std::span<std::byte> out) const {
  const ssize_t size = pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
  if (size != static_cast<ssize_t>(out.size()))
    give_up(fmt::format("a read gave {} bytes of {}", size, out.size()));
}

void Descriptor::write_exactly(uint64_t offset, std::span<const std::byte> data) const {
  const ssize_t size = pwrite(fd_, data.data(), data.size(), static_cast<off_t>(offset));
  if (size != static_cast<ssize_t>(data.size()))
    give_up(fmt::format("a write took {} bytes of {}", size, data.size()));
}

void make_file(const std::string& path, uint64_t size) {
  std::vector<std::byte> chunk(std::min<uint64_t>(size, 1024 * 1024));
  Random random(size);
  for (std::byte& byte : chunk) byte = static_cast<std::byte>(random.below(256));
  const Descriptor file(path, O_WRONLY | O_CREAT | O_TRUNC);
  for (uint64_t offset = 0; offset < size; offset += chunk.size())
    file.write_exactly(offset, std::span(chunk).first(std::min<uint64_t>(chunk.size(), size - offset)));
}

void make_sparse_file(const std::string& path, uint64_t size) {
  const Descriptor file(path, O_WRONLY | O_CREAT | O_TRUNC);
  require(ftruncate(file.get(), static_cast<off_t>(size)) == 0, "a sparse file cannot be made");
}

std::vector<std::string> make_tree(const std::string& root, const TreeShape& shape) {
  std::vector<std::string> paths;
  for (int directory = 0; directory < shape.directories; ++directory) {
    const std::string name = fmt::format("d{:03}", directory);
    std::filesystem::create_directories(root + "/" + name);
    for (int file = 0; file < shape.files; ++file) {
      paths.push_back(fmt::format("{}/file-{:05}", name, file));
      make_file(root + "/" + paths.back(), shape.size);
    }
  }
  return paths;
}

void read_whole(const std::string& path, std::span<std::byte> buffer) {
  const Descriptor file(path, O_RDONLY);
  ssize_t size = 0;
  do {
    size = read(file.get(), buffer.data(), buffer.size());
    require(size >= 0, "read " + path + " failed");
  } while (size == static_cast<ssize_t>(buffer.size()));
}

uint64_t count_names(const std::string& path) {
  DIR* const directory = opendir(path.c_str());
  require(directory != nullptr, "opendir " + path + " failed");
  uint64_t names = 0;
  while (const dirent* entry = readdir(directory)) names += entry->d_name[0] == '.' ? 0 : 1;
  closedir(directory);
  return names;
}

void wait_until_settled(const std::string& root, int age_ms) {
  int64_t newest_ms = 0;
  const auto look_at = [&](const std::string& path) {
    struct stat stat{};
    require(lstat(path.c_str(), &stat) == 0, "lstat " + path + " failed");
    newest_ms = std::max<int64_t>(newest_ms, stat.st_ctim.tv_sec * 1000 + stat.st_ctim.tv_nsec / 1'000'000);
  };
  look_at(root);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) look_at(entry.path());
  timespec now{};
  do {
    poll(nullptr, 0, 10);
    clock_gettime(CLOCK_REALTIME, &now);
  } while (now.tv_sec * 1000 + now.tv_nsec / 1'000'000 < newest_ms + age_ms);
}

}  // namespace cachefs::bench
