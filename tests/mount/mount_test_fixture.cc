#include "mount/mount_test_fixture.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "cachefs/mem_fs.h"
#include "cachefs/posix_fs.h"

namespace cachefs::test {

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

Mounted::Mounted(FileSystem& fs, CacheView* view, const std::string& mountpoint,
                 mount::SessionOptions options) {
  options.mountpoint = mountpoint;
  options.source = "test";
  options.fuse_options = {"allow_other", "suid", "dev"};
  auto session = mount::Session::create(fs, view, options);
  if (!session) throw std::runtime_error(session.error().message());
  session_ = std::move(*session);
  thread_ = std::thread([this] {
    const Result<void> served = session_->run();
    EXPECT_TRUE(served) << served.error().message();
  });
}

Mounted::~Mounted() {
  stop();
  join();
}

void Mounted::join() {
  if (thread_.joinable()) thread_.join();
}

std::string source_name(const testing::TestParamInfo<SourceKind>& info) {
  if (info.param == SourceKind::cached) return "Cached";
  return info.param == SourceKind::memory ? "Memory" : "Posix";
}

void MountFixture::SetUp() {
  if (const std::string obstacle = prepare_mounts(); !obstacle.empty()) {
    ASSERT_EQ(std::getenv("CACHEFS_TEST_REQUIRE_MOUNT"), nullptr) << obstacle;
    GTEST_SKIP() << obstacle;
  }
  std::filesystem::permissions(temporary_.path(), std::filesystem::perms(0755));
  source_directory_ = temporary_.path() / "source";
  mountpoint_ = temporary_.path() / "mount";
  std::filesystem::create_directory(source_directory_);
  std::filesystem::create_directory(mountpoint_);
  if (source_kind() == SourceKind::memory) {
    source_ = make_mem_fs();
  } else {
    auto posix = make_posix_fs(source_directory_.string());
    ASSERT_TRUE(posix) << posix.error().message();
    source_ = std::move(*posix);
  }
  failing_ = make_hooked_fs(decorate(*source_), fault_);
  counted_ = make_hooked_fs(*failing_, counter_);
  if (source_kind() == SourceKind::cached) {
    auto cache = CacheFs::create(*counted_, cache_options());
    ASSERT_TRUE(cache) << cache.error().message();
    cache_ = std::move(*cache);
  }
  FileSystem& served = cache_ != nullptr ? static_cast<FileSystem&>(*cache_) : *counted_;
  mount::SessionOptions options = session_options();
  options.on_unmounted = [this] {
    on_unmounted();
    fault_.recover();
  };
  mounted_ = std::make_unique<Mounted>(served, cache_.get(), mountpoint_.string(), std::move(options));
  ASSERT_EQ(chmod(mountpoint_.c_str(), 0777), 0);
}

void MountFixture::TearDown() {
  fault_.recover();
  mounted_.reset();
}

std::string MountFixture::at(std::string_view name) const { return (mountpoint_ / name).string(); }

WatchedThread::WatchedThread(std::function<void()> work)
    : thread_([this, task = std::move(work)] {
        id_ = gettid();
        task();
        ended_ = true;
      }) {}

bool WatchedThread::ends_or_is_in_state(char wanted) const {
  return eventually([&] { return ended_ || (id_ != 0 && state() == wanted); });
}

bool WatchedThread::ends() const {
  return eventually([this] { return ended_.load(); });
}

char WatchedThread::state() const {
  std::ifstream status("/proc/self/task/" + std::to_string(id_) + "/stat");
  std::string text;
  std::getline(status, text);
  const size_t name_end = text.rfind(')');
  return name_end != std::string::npos && name_end + 2 < text.size() ? text[name_end + 2] : '?';
}

void drop_kernel_caches() {
  std::ofstream control("/proc/sys/vm/drop_caches");
  control << "2" << std::flush;
  EXPECT_TRUE(control) << "the kernel cannot be told to forget here";
}

bool make_kernel_forget_all(const Mounted& mounted) {
  return eventually([&] {
    drop_kernel_caches();
    return mounted.nodes() == 1;
  });
}

std::string contents_of(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::string("?") + strerrorname_np(errno);
  std::string text;
  char chunk[4096];
  ssize_t size = 0;
  while ((size = read(fd, chunk, sizeof chunk)) > 0) text.append(chunk, static_cast<size_t>(size));
  if (size < 0) text = std::string("?") + strerrorname_np(errno);
  close(fd);
  return text;
}

int write_file(const std::string& path, std::string_view text, int flags) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
  if (fd < 0) return errno;
  const ssize_t size = write(fd, text.data(), text.size());
  const int error = size == static_cast<ssize_t>(text.size()) ? 0 : size < 0 ? errno : EIO;
  return close(fd) == 0 ? error : errno;
}

int run_as(const Identity& identity, const std::function<int()>& work) {
  const pid_t child = fork();
  if (child == 0) {
    const bool changed = setgroups(identity.groups.size(), identity.groups.data()) == 0 &&
                         setgid(identity.gid) == 0 && setuid(identity.uid) == 0;
    _exit(changed ? work() : 255);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace cachefs::test
