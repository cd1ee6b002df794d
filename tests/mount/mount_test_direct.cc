// What goes past the kernel's pages: mapped all the same, and at the same time.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "mount/mount_test_fixture.h"

namespace cachefs::test {
namespace {

using mount::KernelFeature;

auto deadline() { return std::chrono::steady_clock::now() + kDeadline; }

std::function<bool(Operation)> is(Operation wanted) {
  return [wanted](Operation operation) { return operation == wanted; };
}

constexpr size_t kPage = 4096;
constexpr size_t kPages = 8;

/// The first page of a file, mapped shared.
class Mapping {
 public:
  explicit Mapping(int fd) : bytes_(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) {}
  ~Mapping() {
    if (valid()) munmap(bytes_, kPage);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  [[nodiscard]] bool valid() const { return bytes_ != MAP_FAILED; }
  [[nodiscard]] volatile char& at(size_t offset) const { return static_cast<volatile char*>(bytes_)[offset]; }
  void sync() const { EXPECT_EQ(msync(bytes_, kPage, MS_SYNC), 0); }

 private:
  void* const bytes_;
};

class DirectFiles : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (!mounted_->has(KernelFeature::direct_mmap)) GTEST_SKIP() << "this kernel does not offer it";
    ASSERT_EQ(write_file(at("file"), std::string(kPages * kPage, '-')), 0);
  }
  [[nodiscard]] int open_file(int flags) const { return open(at("file").c_str(), flags | O_CLOEXEC); }
};
INSTANTIATE_TEST_SUITE_P(, DirectFiles,
                         testing::Values(SourceKind::memory, SourceKind::posix, SourceKind::cached),
                         source_name);

TEST_P(DirectFiles, OpenForAppendingCanBeMapped) {
  const int fd = open_file(O_RDWR | O_APPEND);
  const Mapping mapping(fd);
  ASSERT_TRUE(mapping.valid());
  EXPECT_EQ(mapping.at(0), '-');
  mapping.at(1) = 'm';
  mapping.sync();
  EXPECT_EQ(contents_of(at("file")).substr(0, 3), "-m-") << "where it belongs, not at the end";
  EXPECT_EQ(contents_of(at("file")).size(), kPages * kPage);
  close(fd);
}

TEST_P(DirectFiles, MappingsSeeWhatIsWrittenPastThem) {
  const int fd = open_file(O_RDWR | O_APPEND);
  const int direct = open_file(O_RDWR | O_DIRECT);
  const Mapping mapping(fd);
  ASSERT_TRUE(mapping.valid());
  EXPECT_EQ(mapping.at(0), '-');
  alignas(kPage) static std::array<char, kPage> page;
  page.fill('d');
  ASSERT_EQ(pwrite(direct, page.data(), kPage, 0), static_cast<ssize_t>(kPage));
  EXPECT_EQ(mapping.at(0), 'd');
  mapping.at(0) = 'm';
  ASSERT_EQ(pread(direct, page.data(), kPage, 0), static_cast<ssize_t>(kPage));
  EXPECT_EQ(page[0], 'm') << "what is only in the mapping is written first";
  close(direct);
  close(fd);
}

/// Where somebody looks whether the file has changed.
class DirectCachedFiles : public DirectFiles {};
INSTANTIATE_TEST_SUITE_P(, DirectCachedFiles, testing::Values(SourceKind::cached), source_name);

TEST_P(DirectCachedFiles, MappingsSeeAForeignChangeThatAnOpenFinds) {
  const int fd = open_file(O_RDWR | O_APPEND);
  const Mapping mapping(fd);
  ASSERT_TRUE(mapping.valid());
  EXPECT_EQ(mapping.at(0), '-');
  std::ofstream(source_directory() / "file") << std::string(kPages * kPage, 'f');
  close(open_file(O_RDONLY));
  EXPECT_TRUE(eventually([&] { return mapping.at(0) == 'f'; }));
  close(fd);
}

/// Writers of one page each.
class Writers {
 public:
  explicit Writers(int fd) : fd_(fd) {}
  void start(size_t page) {
    threads_.push_back(std::make_unique<WatchedThread>([this, page] {
      alignas(kPage) std::array<char, kPage> bytes;
      bytes.fill(static_cast<char>('a' + page));
      written_ += pwrite(fd_, bytes.data(), kPage, static_cast<off_t>(page * kPage));
    }));
  }
  [[nodiscard]] const WatchedThread& last() const { return *threads_.back(); }
  size_t join() {
    threads_.clear();
    return written_;
  }

 private:
  const int fd_;
  std::atomic<size_t> written_{0};
  std::vector<std::unique_ptr<WatchedThread>> threads_;
};

std::string written_pages() {
  std::string text;
  for (size_t page = 0; page < kPages; ++page) text += std::string(kPage, static_cast<char>('a' + page));
  return text;
}

/// The cache makes one change of a file after another.
class DirectSourceFiles : public DirectFiles {};
INSTANTIATE_TEST_SUITE_P(, DirectSourceFiles, testing::Values(SourceKind::memory, SourceKind::posix),
                         source_name);

TEST_P(DirectSourceFiles, WritesToOneFileAreUnderWayAtTheSameTime) {
  const int fd = open_file(O_RDWR | O_DIRECT);
  fault_.hang_if(is(Operation::write));
  Writers writers(fd);
  for (size_t page = 0; page < kPages; ++page) writers.start(page);
  EXPECT_TRUE(fault_.wait_for_hanging(kPages, deadline()));
  fault_.recover();
  EXPECT_EQ(writers.join(), kPages * kPage);
  close(fd);
  EXPECT_EQ(contents_of(at("file")), written_pages());
}

class SerialDirectFiles : public DirectFiles {
 protected:
  [[nodiscard]] mount::SessionOptions session_options() const override {
    mount::KernelFeatures features = mount::KernelFeatures::all();
    features.set(KernelFeature::parallel_direct_writes, false);
    mount::SessionOptions options;
    options.kernel_features = features;
    return options;
  }
};
INSTANTIATE_TEST_SUITE_P(, SerialDirectFiles, testing::Values(SourceKind::posix, SourceKind::cached),
                         source_name);

TEST_P(SerialDirectFiles, WritesWaitForEachOther) {
  const int fd = open_file(O_RDWR | O_DIRECT);
  fault_.hang_if(is(Operation::write));
  Writers writers(fd);
  writers.start(0);
  EXPECT_TRUE(fault_.wait_for_hanging(1, deadline()));
  writers.start(1);
  EXPECT_TRUE(writers.last().ends_or_is_in_state('D'));
  EXPECT_FALSE(fault_.wait_for_hanging(2, std::chrono::steady_clock::now()));
  fault_.recover();
  EXPECT_EQ(writers.join(), 2 * kPage);
  close(fd);
}

class UnmappableFiles : public MountTest {
 protected:
  [[nodiscard]] mount::SessionOptions session_options() const override {
    mount::SessionOptions options;
    options.kernel_features = {};
    return options;
  }
};
INSTANTIATE_TEST_SUITE_P(, UnmappableFiles, testing::Values(SourceKind::cached), source_name);

TEST_P(UnmappableFiles, ThoseOpenForAppendingFailToMap) {
  const int fd = open(at("file").c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  EXPECT_FALSE(Mapping(fd).valid());
  EXPECT_EQ(errno, ENODEV);
  close(fd);
}

using ParallelLookups = MountTest;
INSTANTIATE_TEST_SUITE_P(, ParallelLookups, testing::Values(SourceKind::posix, SourceKind::cached),
                         source_name);

TEST_P(ParallelLookups, OfOneDirectoryAreUnderWayAtTheSameTime) {
  std::ofstream(source_directory() / "a");
  std::ofstream(source_directory() / "b");
  fault_.hang_if(is(Operation::lookup));
  const WatchedThread first([this] { EXPECT_EQ(access(at("a").c_str(), F_OK), 0); });
  const WatchedThread second([this] { EXPECT_EQ(access(at("b").c_str(), F_OK), 0); });
  EXPECT_TRUE(fault_.wait_for_hanging(2, deadline()));
  fault_.recover();
  EXPECT_TRUE(first.ends() && second.ends());
}

}  // namespace
}  // namespace cachefs::test
