// A PosixFs over a temporary directory, and the same directory without it.
#pragma once

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "cachefs/posix_fs.h"

namespace cachefs {

inline std::string text_of(const Error& error) { return error.message(); }

#define ASSERT_OK(result) ASSERT_TRUE((result).has_value()) << text_of((result).error())
#define EXPECT_OK(result) EXPECT_TRUE((result).has_value()) << text_of((result).error())
#define EXPECT_ERRNO(result, value)                                           \
  do {                                                                        \
    const auto& checked = (result);                                           \
    ASSERT_FALSE(checked.has_value());                                        \
    EXPECT_EQ(checked.error().to_errno(), value) << text_of(checked.error()); \
  } while (false)

class PosixFsTest : public testing::Test {
 protected:
  PosixFsTest() {
    umask(0);
    std::string pattern = std::filesystem::temp_directory_path() / "posix_fs_test.XXXXXX";
    base_ = mkdtemp(pattern.data());
    root_ = base_ / "root";
    std::filesystem::create_directory(root_);
    std::filesystem::create_directory(base_ / "outside");
    write_outside("outside/secret", "secret");
    chmod(base_.c_str(), 0755);
    reopen({});
  }
  ~PosixFsTest() override {
    fs_.reset();
    std::error_code ignored;  // a temporary directory that stays harms no test
    std::filesystem::remove_all(base_, ignored);
  }

  void reopen(const PosixFsOptions& options) {
    fs_.reset();
    auto made = make_posix_fs(root_, options);
    ASSERT_TRUE(made.has_value()) << made.error().message();
    fs_ = std::move(*made);
  }

  /// Without PosixFs: `path` below the base.
  void write_outside(const std::string& path, const std::string& text) const {
    std::ofstream(base_ / path) << text;
  }
  void write_source(const std::string& path, const std::string& text) const {
    std::ofstream(root_ / path) << text;
  }
  [[nodiscard]] std::string read_source(const std::string& path) const {
    std::ifstream in(root_ / path);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  Result<Entry> look_up(const std::string& path) {
    Entry entry{.node = fs_->root(), .attributes = {}};
    for (const auto& part : std::filesystem::path(path)) {
      auto next = fs_->lookup(*entry.node, part.string(), caller_);
      if (!next) return next;
      entry = std::move(*next);
    }
    return entry;
  }
  Result<std::string> read(Node& node) {
    auto opened = fs_->open(node, {}, caller_);
    if (!opened) return std::unexpected(opened.error());
    std::string text(opened->attributes.size, '\0');
    auto size = opened->file->read_at(0, std::as_writable_bytes(std::span(text)));
    if (!size) return std::unexpected(size.error());
    text.resize(*size);
    return text;
  }
  Result<std::unique_ptr<File>> create(Node& directory, std::string_view name) {
    auto created = fs_->create({directory, name}, {}, caller_);
    if (!created) return std::unexpected(created.error());
    return std::move(created->file);
  }

  std::filesystem::path base_;
  std::filesystem::path root_;
  std::unique_ptr<FileSystem> fs_;
  Caller caller_ = Caller::self();
};

inline std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

inline size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all))) - 1;  // the iterator's own
}

}  // namespace cachefs
