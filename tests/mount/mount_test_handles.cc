// File handles (name_to_handle_at, open_by_handle_at) of files that the kernel has forgotten.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <random>
#include <thread>

#include "cachefs/posix_fs.h"
#include "mount/mount_test_fixture.h"
#include "support/scale.h"

namespace cachefs::test {
namespace {

constexpr int kConnectable = 0x002;  ///< AT_HANDLE_CONNECTABLE (Linux 6.13)

/// As the kernel makes them of a node: the number in two halves, the generation, and perhaps the same of the
/// directory.
class FileHandle {
 public:
  static constexpr int kAlone = 0x81;
  static constexpr int kWithParent = 0x82;

  FileHandle() { header().handle_bytes = MAX_HANDLE_SZ; }
  FileHandle(int type, uint64_t number, uint32_t generation) : FileHandle() {
    header().handle_type = type;
    header().handle_bytes = 3 * sizeof(uint32_t);
    set_number(number);
    set_word(2, generation);
  }
  /// 0 or an errno value.
  int take(const std::string& path, int flags = 0) {
    int mount_id = 0;
    return name_to_handle_at(AT_FDCWD, path.c_str(), &header(), &mount_id, flags) == 0 ? 0 : errno;
  }
  /// A descriptor, or a negative errno value.
  [[nodiscard]] int open_in(int mount, int flags) const {
    FileHandle copy = *this;
    const int fd = open_by_handle_at(mount, &copy.header(), flags | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
  }

  [[nodiscard]] uint64_t number() const { return uint64_t{word(0)} << 32 | word(1); }
  [[nodiscard]] uint32_t generation() const { return word(2); }
  void set_number(uint64_t number, size_t first_word = 0) {
    set_word(first_word, static_cast<uint32_t>(number >> 32));
    set_word(first_word + 1, static_cast<uint32_t>(number));
  }
  void set_word(size_t index, uint32_t value) {
    std::memcpy(header().f_handle + index * sizeof value, &value, sizeof value);
  }
  file_handle& header() { return *reinterpret_cast<file_handle*>(bytes_.data()); }
  [[nodiscard]] const file_handle& header() const {
    return *reinterpret_cast<const file_handle*>(bytes_.data());
  }

 private:
  [[nodiscard]] uint32_t word(size_t index) const {
    uint32_t value = 0;
    std::memcpy(&value, header().f_handle + index * sizeof value, sizeof value);
    return value;
  }
  alignas(file_handle) std::array<char, sizeof(file_handle) + MAX_HANDLE_SZ> bytes_{};
};

class FileHandles : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (mounted_ == nullptr) return;
    ASSERT_EQ(mkdir(at("d").c_str(), 0755), 0);
    ASSERT_EQ(mkdir(at("d/e").c_str(), 0755), 0);
    ASSERT_EQ(write_file(at("d/e/file"), "content"), 0);
    root_ = open(at("").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ASSERT_GE(root_, 0);
  }
  void TearDown() override {
    if (root_ >= 0) close(root_);
    MountTest::TearDown();
  }

  [[nodiscard]] FileHandle handle_of(const std::string& name, int flags = 0) const {
    FileHandle handle;
    EXPECT_EQ(handle.take(at(name), flags), 0) << name;
    return handle;
  }
  void forget_all() { ASSERT_TRUE(make_kernel_forget_all(*mounted_)) << mounted_->nodes() << " are known"; }
  /// What the file of the handle holds; "?" with an errno name if it cannot be opened.
  [[nodiscard]] std::string read(const FileHandle& handle) const {
    const int fd = handle.open_in(root_, O_RDONLY);
    if (fd < 0) return std::string("?") + strerrorname_np(-fd);
    std::string text = contents_of(fmt::format("/proc/self/fd/{}", fd));
    close(fd);
    return text;
  }
  /// Where the kernel says that it is.
  [[nodiscard]] std::string path_of(const FileHandle& handle, int flags) const {
    const int fd = handle.open_in(root_, flags);
    if (fd < 0) return std::string("?") + strerrorname_np(-fd);
    std::error_code error;
    std::string path = std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", fd), error).string();
    close(fd);
    return path;
  }
  [[nodiscard]] std::string source(const std::string& name) const {
    return (source_directory() / name).string();
  }

  int root_ = -1;
};

INSTANTIATE_TEST_SUITE_P(, FileHandles,
                         testing::Values(SourceKind::memory, SourceKind::posix, SourceKind::cached),
                         source_name);

TEST_P(FileHandles, OfAFileThatIsForgottenLeadToIt) {
  EXPECT_TRUE(mounted_->has(mount::KernelFeature::export_support));
  const FileHandle handle = handle_of("d/e/file");
  struct stat before{}, after{};
  ASSERT_EQ(stat(at("d/e/file").c_str(), &before), 0);
  for (int i = 0; i < 3; ++i) {
    forget_all();
    const int fd = handle.open_in(root_, O_RDWR);
    ASSERT_GE(fd, 0) << strerrorname_np(-fd);
    EXPECT_EQ(fstat(fd, &after), 0);
    EXPECT_EQ(after.st_ino, before.st_ino);
    EXPECT_EQ(pwrite(fd, "C", 1, 0), 1);
    close(fd);
    EXPECT_EQ(contents_of(at("d/e/file")), "Content") << "the same as by its name";
  }
}

TEST_P(FileHandles, OfADirectoryThatIsForgottenLeadToItAndItsPath) {
  const FileHandle handle = handle_of("d/e");
  forget_all();
  EXPECT_EQ(path_of(handle, O_RDONLY | O_DIRECTORY), at("d/e"));
  forget_all();
  const int fd = handle.open_in(root_, O_RDONLY | O_DIRECTORY);
  ASSERT_GE(fd, 0) << strerrorname_np(-fd);
  struct stat status{};
  EXPECT_EQ(fstatat(fd, "file", &status, 0), 0);
  EXPECT_EQ(fstatat(fd, "../../d/e/file", &status, 0), 0);
  close(fd);
}

TEST_P(FileHandles, ThatAreConnectableLeadToTheFilesPath) {
  FileHandle handle;
  const int error = handle.take(at("d/e/file"), kConnectable);
  if (error == EINVAL) return;  // the kernel does not know them
  ASSERT_EQ(error, 0);
  forget_all();
  EXPECT_EQ(path_of(handle, O_RDONLY), at("d/e/file"));
  handle.set_word(5, handle.generation());  // no directory
  forget_all();
  EXPECT_EQ(read(handle), "?ESTALE");
}

TEST_P(FileHandles, OfTheRootLeadToIt) {
  const FileHandle handle = handle_of("");
  forget_all();
  EXPECT_EQ(path_of(handle, O_RDONLY | O_DIRECTORY) + "/", at(""));
}

TEST_P(FileHandles, FollowRenamesThroughTheMount) {
  const FileHandle file = handle_of("d/e/file");
  const FileHandle directory = handle_of("d/e");
  forget_all();
  ASSERT_EQ(rename(at("d").c_str(), at("moved").c_str()), 0);
  forget_all();
  EXPECT_EQ(read(file), "content") << "a directory above it was moved";
  EXPECT_EQ(path_of(directory, O_RDONLY | O_DIRECTORY), at("moved/e"));
  ASSERT_EQ(rename(at("moved/e/file").c_str(), at("file").c_str()), 0);
  forget_all();
  EXPECT_EQ(read(file), "content");
  EXPECT_EQ(path_of(directory, O_RDONLY | O_DIRECTORY), at("moved/e"));
}

TEST_P(FileHandles, OfWhatIsRemovedOrReplacedThroughTheMountAreStale) {
  ASSERT_EQ(write_file(at("other"), "another"), 0);
  ASSERT_EQ(write_file(at("gone"), "gone"), 0);
  ASSERT_EQ(mkdir(at("empty").c_str(), 0755), 0);
  const FileHandle replaced = handle_of("d/e/file"), gone = handle_of("gone"), empty = handle_of("empty");
  const FileHandle other = handle_of("other");
  forget_all();
  ASSERT_EQ(rename(at("other").c_str(), at("d/e/file").c_str()), 0);
  ASSERT_EQ(unlink(at("gone").c_str()), 0);
  ASSERT_EQ(write_file(at("gone"), "new"), 0);
  ASSERT_EQ(rmdir(at("empty").c_str()), 0);
  forget_all();
  EXPECT_EQ(read(replaced), "?ESTALE");
  EXPECT_EQ(read(gone), "?ESTALE");
  EXPECT_EQ(path_of(empty, O_RDONLY), "?ESTALE");
  EXPECT_EQ(read(other), "another");
}

TEST_P(FileHandles, OfAFileThatLosesOneOfItsNamesAreStale) {
  const FileHandle handle = handle_of("d/e/file");
  ASSERT_EQ(link(at("d/e/file").c_str(), at("link").c_str()), 0);
  forget_all();
  EXPECT_EQ(read(handle), "content");
  ASSERT_EQ(unlink(at("link").c_str()), 0);
  forget_all();
  EXPECT_EQ(read(handle), "?ESTALE");
  EXPECT_EQ(read(handle_of("d/e/file")), "content");
}

TEST_P(FileHandles, OfWhatTheKernelKnowsAreStaleOnceItIsRemoved) {
  const FileHandle handle = handle_of("d/e/file");
  const int fd = open(at("d/e/file").c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(unlink(at("d/e/file").c_str()), 0);
  close(fd);
  forget_all();
  EXPECT_EQ(read(handle), "?ESTALE");
}

TEST_P(FileHandles, WithWrongNumbersAreStaleAndDoNoHarm) {
  std::random_device device;
  const uint64_t seed = uint64_t{device()} << 32 | device();
  std::cout << "seed " << seed << '\n';
  std::mt19937_64 random(seed);
  for (int i = 0; i < 20; ++i) ASSERT_EQ(write_file(at(fmt::format("f{}", i)), "x"), 0);
  const FileHandle good = handle_of("d/e/file");
  const FileHandle known = handle_of("d");
  const auto wrong_number = [&]() -> uint64_t {
    switch (random() % 8) {
      case 0:
        return random();
      case 1:
        return random() % 64;
      case 2:
        return good.number() + 8 * (random() % 64) + 8;
      case 3:
        return good.number() ^ (uint64_t{1} << random() % 64);
      case 4:
        return good.number() - 1 - random() % 4096;
      case 5:
        return known.number();  // with another's generation
      case 6:
        return ~uint64_t{0} - random() % 4;
      default:
        return reinterpret_cast<uintptr_t>(&random) + 8 * (random() % 64);  // mapped, but no node
    }
  };
  const int rounds = scaled(2'000);
  for (int i = 0; i < rounds; ++i) {
    if (i % 500 == 0) forget_all();
    FileHandle wrong(FileHandle::kAlone, wrong_number(), good.generation());
    if (random() % 4 == 0) {
      wrong = good;
      wrong.set_word(2, good.generation() + 1 + static_cast<uint32_t>(random() % 0xFFFFFFFF));
    }
    if (random() % 4 == 0) {  // with a directory
      wrong.header().handle_type = FileHandle::kWithParent;
      wrong.header().handle_bytes = 6 * sizeof(uint32_t);
      wrong.set_number(wrong_number(), 3);
      wrong.set_word(5, static_cast<uint32_t>(random()));
    }
    const int fd = wrong.open_in(root_, random() % 2 == 0 ? O_RDONLY : O_PATH);
    ASSERT_EQ(fd, -ESTALE) << "seed " << seed << ", round " << i << ", number " << wrong.number();
  }
  EXPECT_EQ(read(good), "content");
  EXPECT_EQ(contents_of(at("d/e/file")), "content");
}

TEST_P(FileHandles, LeadToTheirFilesWhileAllAreForgottenAndMoved) {
  constexpr int kFiles = 8;
  std::vector<FileHandle> handles;
  for (int i = 0; i < kFiles; ++i) {
    const std::string name = fmt::format("d/f{}", i);
    ASSERT_EQ(write_file(at(name), fmt::format("content {}", i)), 0);
    handles.push_back(handle_of(name));
  }
  std::atomic<bool> stop{false};
  std::thread forgetter([&] {
    while (!stop) drop_kernel_caches();
  });
  std::thread mover([&] {
    for (int i = 0; !stop; ++i) {
      const std::string name = fmt::format("d/f{}", i % kFiles);
      if (rename(at(name).c_str(), at(name + "x").c_str()) != 0) std::abort();
      if (rename(at(name + "x").c_str(), at(name).c_str()) != 0) std::abort();
    }
  });
  std::vector<std::thread> readers;
  std::atomic<int> others{0}, stale{0}, right{0};
  for (int reader = 0; reader < 3; ++reader) {
    readers.emplace_back([&, reader] {
      for (int i = 0; i < 300; ++i) {
        const int index = (i + reader) % kFiles;
        const std::string text = read(handles[static_cast<size_t>(index)]);
        ++(text == fmt::format("content {}", index) ? right : text == "?ESTALE" ? stale : others);
      }
    });
  }
  for (std::thread& reader : readers) reader.join();
  stop = true;
  forgetter.join();
  mover.join();
  EXPECT_EQ(others, 0);
  EXPECT_GT(right, 0);
  EXPECT_EQ(stale, 0) << "of " << right + stale;
  for (int i = 0; i < kFiles; ++i)
    EXPECT_EQ(read(handles[static_cast<size_t>(i)]), fmt::format("content {}", i));
}

/// What somebody else does on the source.
class FileHandlesOnASource : public FileHandles {};
INSTANTIATE_TEST_SUITE_P(, FileHandlesOnASource, testing::Values(SourceKind::posix, SourceKind::cached),
                         source_name);

TEST_P(FileHandlesOnASource, OfWhatWasReplacedRemovedOrMovedThereAreStale) {
  ASSERT_EQ(write_file(at("removed"), "removed"), 0);
  ASSERT_EQ(write_file(at("moved"), "moved"), 0);
  const FileHandle replaced = handle_of("d/e/file"), removed = handle_of("removed"),
                   moved = handle_of("moved");
  forget_all();
  ASSERT_EQ(write_file(source("new"), "another"), 0);
  std::filesystem::rename(source("new"), source("d/e/file"));
  std::filesystem::remove(source("removed"));
  ASSERT_EQ(write_file(source("removed"), "again"), 0);
  std::filesystem::rename(source("moved"), source("d/moved"));
  EXPECT_TRUE(eventually([&] { return read(replaced) == "?ESTALE"; })) << read(replaced);
  EXPECT_TRUE(eventually([&] { return read(removed) == "?ESTALE"; })) << read(removed);
  EXPECT_TRUE(eventually([&] { return read(moved) == "?ESTALE"; })) << read(moved);
  EXPECT_EQ(contents_of(at("d/moved")), "moved");
  EXPECT_EQ(read(moved), "moved") << "it was found where it is now";
}

class FewFileHandles : public FileHandles {
  [[nodiscard]] mount::SessionOptions session_options() const override {
    mount::SessionOptions options;
    options.nodes.forgotten = 10;
    return options;
  }
};
INSTANTIATE_TEST_SUITE_P(, FewFileHandles, testing::Values(SourceKind::cached), source_name);

TEST_P(FewFileHandles, LeadToSomeOfWhatWasForgottenLast) {
  constexpr int kFiles = 200;
  std::vector<FileHandle> handles;
  for (int i = 0; i < kFiles; ++i) {
    ASSERT_EQ(write_file(at(fmt::format("f{}", i)), "x"), 0);
    handles.push_back(handle_of(fmt::format("f{}", i)));
  }
  forget_all();
  int good = 0, stale = 0;
  for (const FileHandle& handle : handles) {
    const std::string text = read(handle);
    ++(text == "x" ? good : stale);
    EXPECT_TRUE(text == "x" || text == "?ESTALE") << text;
  }
  EXPECT_GT(good, 0);
  EXPECT_GT(stale, kFiles / 2);
}

class FileHandlesWithoutTheFeature : public FileHandles {
  [[nodiscard]] mount::SessionOptions session_options() const override {
    mount::SessionOptions options;
    options.kernel_features.set(mount::KernelFeature::export_support, false);
    return options;
  }
};
INSTANTIATE_TEST_SUITE_P(, FileHandlesWithoutTheFeature, testing::Values(SourceKind::cached), source_name);

TEST_P(FileHandlesWithoutTheFeature, LeadToWhatTheKernelKnowsAlone) {
  EXPECT_FALSE(mounted_->has(mount::KernelFeature::export_support));
  const FileHandle handle = handle_of("d/e/file");
  const int place = open(at("d/e/file").c_str(), O_PATH | O_CLOEXEC);
  EXPECT_EQ(read(handle), "content");
  close(place);
  forget_all();
  EXPECT_EQ(read(handle), "?ESTALE");
}

/// Mounts of one directory, one after the other.
class RepeatedMount : public testing::Test {
 protected:
  void SetUp() override {
    const std::string obstacle = prepare_mounts();
    ASSERT_EQ(obstacle, "");
    ASSERT_EQ(write_file((source_.path() / "file").string(), "content"), 0);
  }
  void mount(const PosixFsOptions& options = {}) {
    auto posix = make_posix_fs(source_.path().string(), options);
    ASSERT_TRUE(posix) << posix.error().message();
    posix_ = std::move(*posix);
    mounted_ = std::make_unique<Mounted>(*posix_, nullptr, place_.path().string(), mount::SessionOptions{});
  }
  [[nodiscard]] std::string file() const { return (place_.path() / "file").string(); }
  [[nodiscard]] int open_handle(const FileHandle& handle) const {
    const int root = open(place_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int fd = handle.open_in(root, O_RDONLY);
    close(root);
    return fd;
  }

  TemporaryDirectory source_;
  TemporaryDirectory place_;
  std::unique_ptr<FileSystem> posix_;
  std::unique_ptr<Mounted> mounted_;
};

TEST_F(RepeatedMount, HandlesOfAnEarlierOneAreStale) {
  FileHandle earlier, later;
  mount();
  ASSERT_EQ(earlier.take(file()), 0);
  mounted_.reset();
  mount();
  ASSERT_EQ(later.take(file()), 0);
  EXPECT_NE(earlier.generation(), later.generation());
  earlier.set_number(later.number());  // had it been the same
  EXPECT_EQ(open_handle(earlier), -ESTALE);
  ASSERT_TRUE(make_kernel_forget_all(*mounted_));
  EXPECT_EQ(open_handle(earlier), -ESTALE);
  const int fd = open_handle(later);
  EXPECT_GE(fd, 0);
  close(fd);
}

TEST_F(RepeatedMount, WithoutStableIdentityHandlesDoNotOutliveTheKernelsMemory) {
  mount({.stable_identity = false});
  EXPECT_FALSE(mounted_->has(mount::KernelFeature::export_support));
  FileHandle handle;
  ASSERT_EQ(handle.take(file()), 0);
  ASSERT_TRUE(make_kernel_forget_all(*mounted_));
  EXPECT_EQ(open_handle(handle), -ESTALE);
}

}  // namespace
}  // namespace cachefs::test
