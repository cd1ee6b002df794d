// What the tests of the conformance suite have at hand.
#pragma once

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "conformance/registry.h"

namespace cachefs::conformance {

/// 0 for success.
template <typename T>
int errno_of(const Result<T>& result) {
  return result ? 0 : result.error().to_errno();
}

class FileSystemTest : public ::testing::TestWithParam<FileSystemFactory> {
 protected:
  void SetUp() override;

  FileSystem& fs() { return subject_->fs(); }
  const Capabilities& can() { return fs().capabilities(); }
  const Caller& caller() const { return caller_; }
  Node& root() { return *root_; }

  // All fail the test if they cannot; what they return is then empty.
  Entry lookup(Node& directory, std::string_view name);
  Entry lookup(std::string_view name) { return lookup(root(), name); }
  Entry make(Node& directory, std::string_view name, const NewNode& spec);
  Entry make_directory(std::string_view name) { return make(root(), name, {.kind = FileKind::directory}); }
  Entry make_directory(Node& directory, std::string_view name) { return make(directory, name, {}); }
  Entry make_symlink(std::string_view name, std::string_view target) {
    return make(root(), name, {.kind = FileKind::symlink, .target = target});
  }
  Entry make_file(Node& directory, std::string_view name, std::string_view content = {});
  Entry make_file(std::string_view name, std::string_view content = {}) {
    return make_file(root(), name, content);
  }
  std::unique_ptr<File> open(Node& node, const OpenFlags& flags = {.read = true, .write = true});
  Attributes attributes(Node& node);

  std::string read(File& file, uint64_t offset, size_t size);
  std::string content(Node& node);
  void write(File& file, uint64_t offset, std::string_view data);
  std::vector<std::string> names(Node& directory);  ///< sorted

  int lookup_errno(Node& directory, std::string_view name) {
    return errno_of(fs().lookup(directory, name, caller_));
  }
  int lookup_errno(std::string_view name) { return lookup_errno(root(), name); }
  int remove(std::string_view name, RemoveKind kind = RemoveKind::file) {
    return errno_of(fs().remove({root(), name}, kind, caller_));
  }
  int rename(std::string_view from, std::string_view to, RenameMode mode = RenameMode::replace) {
    return errno_of(fs().rename({root(), from}, {root(), to}, mode, caller_));
  }

  /// Returns once a change now gets a later time, and another version, than any change before.
  void pass_granule();

  /// That `change` gives `node` a new version and ctime, and with `Content::yes` a new mtime, else the old
  /// one; that nothing but a change does.
  enum class Content : bool { no, yes };
  template <typename Change>
  void expect_shows(Node& node, Content content, Change change) {
    pass_granule();
    const Attributes before = attributes(node);
    EXPECT_EQ(attributes(node).version, before.version) << "without a change";
    change();
    expect_changed(before, attributes(node), content);
  }

 private:
  void expect_changed(const Attributes& before, const Attributes& after, Content content);

  std::unique_ptr<Subject> subject_;
  NodeRef root_;
  Caller caller_;
};

std::string factory_name(const ::testing::TestParamInfo<FileSystemFactory>& info);

}  // namespace cachefs::conformance

/// Runs a suite derived from FileSystemTest over every file system.
#define RUN_OVER_ALL_FILE_SYSTEMS(suite)                                                                \
  INSTANTIATE_TEST_SUITE_P(All, suite, ::testing::ValuesIn(::cachefs::conformance::all_file_systems()), \
                           ::cachefs::conformance::factory_name)

/// Ends a test that asks for what the file system does not have.
#define REQUIRE_CAPABILITY(condition) \
  if (!(condition)) GTEST_SKIP() << "this file system does not have " #condition
