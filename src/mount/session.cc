#include "mount/session.h"

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <latch>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "mount/connection.h"
#include "mount/mount_state.h"
#include "mount/mountpoint.h"
#include "mount/refuser.h"
#include "mount/request_loop.h"
#include "mount/session_setup.h"
#include "mount/write_back.h"

namespace cachefs::mount {
namespace {

constexpr uint32_t kReadAheadKib = 1024;
constexpr std::chrono::seconds kStopGrace{2};
/// For closing what the kernel has not given back; most of it is not open for writing any more.
/// Behind a guard (GuardedFs) it bounds classes without a limit too. Requests that ran before have that of
/// their class alone: where there is none, the end of a mount waits for them, until it is told a second time.
constexpr std::chrono::seconds kCloseGrace{10};
constexpr std::chrono::milliseconds kLookAgain{10};

/// Puts a descriptor in a state of error in place of the device: libfuse then knows that nothing is mounted
/// any more, and does not unmount what may meanwhile have been mounted in the same place.
void sever(fuse_session* session) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return;
  ::close(ends[0]);
  dup2(ends[1], fuse_session_fd(session));
  ::close(ends[1]);
}

/// Leaves the calling thread the standard streams and `kept`, in a table of descriptors of its own. A thread
/// that waits for its own mount waits on while the process is killed: only the end of the connection wakes
/// it, which comes when nobody has the device open any more.
void part_from_descriptors_but(int kept) {
  constexpr int kFirst = STDERR_FILENO + 1;
  if (close_range(static_cast<unsigned>(kept) + 1, ~0U, CLOSE_RANGE_UNSHARE) != 0) return;
  if (kept > kFirst) close_range(kFirst, static_cast<unsigned>(kept) - 1, 0);
}

}  // namespace

class Session::Impl {
 public:
  Impl(FileSystem& fs, CacheView* view, const SessionOptions& options)
      : options_(options), state_(fs, view, options) {}
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Result<void> mount();
  Result<void> run();
  void stop() const;
  void abandon();
  [[nodiscard]] FeatureState feature(KernelFeature feature) const { return state_.kernel.state(feature); }
  [[nodiscard]] size_t nodes() const { return state_.nodes.size(); }

 private:
  Result<void> answer_init();
  void set_read_ahead();
  void begin();
  void finish() EXCLUDES(mutex_);
  [[nodiscard]] bool is_in_place() const;
  void unmount() const;
  void wait_for_stop() EXCLUDES(mutex_);
  std::optional<WriteBack> hold_if_written();
  void write_back(const WriteBack& mount) EXCLUDES(mutex_);
  void write_back_without_mount() EXCLUDES(mutex_);
  bool wait_for_loop_end(std::chrono::steady_clock::time_point deadline) EXCLUDES(mutex_);

  const SessionOptions options_;
  MountState state_;
  fuse_session* session_ = nullptr;
  std::string device_;  ///< MAJOR:MINOR of the mount
  bool mounted_ = false;
  int stop_event_ = -1;

  Mutex mutex_;
  ConditionVariable loop_ended_changed_;
  bool loop_ended_ GUARDED_BY(mutex_) = false;
  RequestLoop loop_;
  std::thread stopper_;
  std::latch stopper_parted_{1};
  Result<void> written_back_;  ///< of the stopper, who cannot log; read after it has ended
};

Session::Impl::~Impl() {
  if (mounted_ && !is_in_place()) sever(session_);
  if (mounted_) fuse_session_unmount(session_);
  if (session_ != nullptr) fuse_session_destroy(session_);
  if (stop_event_ >= 0) ::close(stop_event_);
}

Result<void> Session::Impl::mount() {
  const std::string doing = "mounting on '" + options_.mountpoint + "'";
  if (options_.locks == LockPlace::source && !state_.locks)
    return fail(std::errc::no_lock_available, doing + ": the source has no locks");
  stop_event_ = eventfd(0, EFD_CLOEXEC);
  if (stop_event_ < 0) return fail_errno(errno, doing);
  const LogCapture log;
  session_ = new_session(options_, state_);
  if (session_ == nullptr) return log.error(EINVAL, doing);
  errno = 0;
  if (fuse_session_mount(session_, options_.mountpoint.c_str()) != 0) return log.error(errno, doing);
  mounted_ = true;
  if (const int error = state_.kernel.enter(session_); error != 0) return fail_errno(error, doing);
  return answer_init();
}

/// The kernel's first request, answered here so that what depends on its answer can follow at once.
Result<void> Session::Impl::answer_init() {
  fuse_buf buffer{};
  int received = 0;
  do {
    received = fuse_session_receive_buf(session_, &buffer);
  } while (received == -EINTR);
  if (received > 0) fuse_session_process_buf(session_, &buffer);
  std::free(buffer.mem);
  if (received <= 0) return fail_errno(received < 0 ? -received : ENODEV, "greeting the kernel");
  device_ = device_of(options_.mountpoint).value_or("");
  set_read_ahead();
  return {};
}

/// Not before the answer to INIT is written, which sets it anew.
void Session::Impl::set_read_ahead() {
  if (!state_.kernel_caches) state_.kernel.give_up(KernelFeature::read_ahead);
  if (!state_.kernel.wants(KernelFeature::read_ahead)) return;
  state_.kernel.found(KernelFeature::read_ahead, raise_read_ahead(device_, kReadAheadKib));
}

Result<void> Session::Impl::run() {
  begin();
  const uint32_t readers = loop_.start(session_, reader_threads());
  if (readers > kReadersOnly) state_.places.release(readers - kReadersOnly);
  const int status = loop_.wait();
  finish();
  if (status < 0) return fail_errno(-status, "serving '" + options_.mountpoint + "'");
  return {};
}

void Session::Impl::begin() {
  stopper_ = std::thread([this] { wait_for_stop(); });
  stopper_parted_.wait();  // before there are descriptors of files, which it would keep open for a moment
  state_.interrupts.start();
  if (state_.locks) state_.locks->start();
  if (!state_.kernel_caches) return;
  state_.notifier.start(session_);
  state_.view->set_listener(&state_.notifier);
}

void Session::Impl::finish() {
  {
    MutexLock lock(mutex_);
    loop_ended_ = true;
  }
  loop_ended_changed_.notify_all();
  std::optional<Refuser> refuser(session_);  // from here on nobody waits for the loop
  stop();                                    // the stopper has no reason to wait any longer
  stopper_.join();
  if (!written_back_) spdlog::error("{}", written_back_.error().message());
  if (options_.on_unmounted) options_.on_unmounted();

  if (state_.locks) state_.locks->stop();
  loop_.join();
  state_.executor.drain();
  if (state_.kernel_caches) state_.view->set_listener(nullptr);
  state_.notifier.stop();  // after all answers: the kernel keeps it waiting for a page that a request uses
  state_.interrupts.stop();
  refuser.reset();
  // What the kernel had no occasion to give back: it does not when a mount is cut off.
  const RequestDeadline limited(std::chrono::steady_clock::now() + kCloseGrace);
  if (state_.locks) state_.locks->release_all();
  state_.files.take_all();
  state_.directories.take_all();
  state_.nodes.clear();
}

void Session::Impl::stop() const {
  const uint64_t one = 1;
  const int saved = errno;
  const ssize_t written = write(stop_event_, &one, sizeof one);
  if (written < 0) std::abort();  // an event counter takes 2^64 of these
  errno = saved;
}

void Session::Impl::abandon() {
  abort_connection(device_, fuse_session_fd(session_));  // first: unmounting may wait for what is dirty
  unmount();
}

/// What is mounted in our place may be somebody else's by now, on top of ours or instead of it.
bool Session::Impl::is_in_place() const {
  return device_.empty() || device_of(options_.mountpoint) == device_;
}

void Session::Impl::unmount() const {
  if (is_in_place()) unmount_lazily(options_.mountpoint);
}

/// The stopper. It opens its own mount and may have to wait for it, so that it neither logs nor has the
/// device.
void Session::Impl::wait_for_stop() {
  part_from_descriptors_but(stop_event_);
  stopper_parted_.count_down();
  uint64_t count = 0;
  while (read(stop_event_, &count, sizeof count) < 0 && errno == EINTR) {
  }
  {
    MutexLock lock(mutex_);
    if (loop_ended_) return;
  }
  std::optional<WriteBack> held = hold_if_written();
  if (held) write_back(*held);
  unmount();
  const auto deadline = std::chrono::steady_clock::now() + kStopGrace;
  while (held && state_.files.any_for_writing()) {
    if (wait_for_loop_end(std::min(deadline, std::chrono::steady_clock::now() + kLookAgain))) return;
    if (std::chrono::steady_clock::now() >= deadline) break;
  }
  held.reset();
  // With no file open the kernel says good-bye by itself.
  if (wait_for_loop_end(deadline)) return;
  write_back_without_mount();
  loop_.leave();
}

/// Only a file that is open for writing can have pages that the kernel has not yet written back.
std::optional<WriteBack> Session::Impl::hold_if_written() {
  if (!state_.kernel_caches || !state_.files.any_for_writing()) return std::nullopt;
  return WriteBack::hold(options_.mountpoint, device_);
}

void Session::Impl::write_back(const WriteBack& mount) {
  written_back_ = mount.run();
  // Not every kernel waits for the answers. One that has more writes than may be under way at once hands out
  // the next when one ends, before its answer is complete.
  do {
    const uint64_t begun = state_.writes.begun;
    if (state_.writes.ended != begun) continue;
    mount.make_round_trip();
    if (state_.writes.begun == begun) return;
  } while (!wait_for_loop_end(std::chrono::steady_clock::now() + kLookAgain));
}

/// Told to drop its pages of a file, the kernel first writes what it has of it: whoever wrote it, and
/// wherever the mount is by now. What else there is to tell keeps nobody waiting here.
void Session::Impl::write_back_without_mount() {
  if (!state_.kernel_caches) return;
  const std::vector<MountNodeRef> written = state_.files.nodes_for_writing();
  const auto left = std::make_shared<std::atomic<size_t>>(written.size());
  for (const MountNodeRef& node : written) state_.notifier.drop_pages(node, 0, 0, [left] { --*left; });
  while (*left != 0) {
    if (wait_for_loop_end(std::chrono::steady_clock::now() + kLookAgain)) return;
  }
}

/// True if it has ended.
bool Session::Impl::wait_for_loop_end(std::chrono::steady_clock::time_point deadline) {
  MutexLock lock(mutex_);
  while (!loop_ended_ && std::chrono::steady_clock::now() < deadline)
    loop_ended_changed_.wait_until(mutex_, deadline);
  return loop_ended_;
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::create(FileSystem& fs, CacheView* view,
                                                 const SessionOptions& options) {
  auto impl = std::make_unique<Impl>(fs, view, options);
  if (const Result<void> mounted = impl->mount(); !mounted) return std::unexpected(mounted.error());
  return std::unique_ptr<Session>(new Session(std::move(impl)));
}

Result<void> Session::run() { return impl_->run(); }
FeatureState Session::feature(KernelFeature feature) const { return impl_->feature(feature); }
size_t Session::nodes() const { return impl_->nodes(); }
void Session::stop() { impl_->stop(); }
void Session::abandon() { impl_->abandon(); }

}  // namespace cachefs::mount
