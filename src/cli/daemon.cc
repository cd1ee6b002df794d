#include "cli/daemon.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>

#include "base/mutex.h"
#include "cachefs/guarded_fs.h"
#include "cachefs/posix_fs.h"
#include "cli/end_requests.h"
#include "cli/kernel_features.h"
#include "cli/output.h"
#include "cli/signal_watcher.h"
#include "cli/source_start.h"
#include "cli/stats_report.h"
#include "mount/mountpoint.h"
#include "mount/session.h"
#include "server/control_listener.h"
#include "server/control_path.h"
#include "server/control_server.h"

namespace cachefs::cli {
namespace {

using server::ControlServer;

constexpr const char* kEnding = "ending";
constexpr std::chrono::milliseconds kPredecessorPatience = std::chrono::seconds(10);

/// How long names and attributes are relied upon; null: for ever.
nlohmann::json attribute_ttl_json(const Coherence& coherence) {
  const std::chrono::nanoseconds ttl = coherence.metadata_ttl();
  if (ttl == Coherence::kForever) return nullptr;
  return std::chrono::duration<double>(ttl).count();
}

/// Whom the locks of the mount's programs keep out.
const char* lock_reach(mount::LockPlace place, LockReach source) {
  if (place == mount::LockPlace::local) return "mount";
  return source == LockReach::machine ? "machine" : "everywhere";
}

/// What a daemon answers to `status` and `stats`. Thread-safe.
class Reporter {
 public:
  Reporter(const MountPlan& plan, const TimeLimits& limits, const GuardedFs& source, const CacheFs& cache)
      : plan_(plan),
        limits_(limits),
        source_(source),
        cache_(cache),
        started_(std::chrono::steady_clock::now()) {}

  void set_state(const char* state) { state_ = state; }
  void set_session(const mount::Session& session) {
    nlohmann::json features = to_json([&](mount::KernelFeature feature) { return session.feature(feature); });
    const MutexLock lock(mutex_);
    kernel_features_ = std::move(features);
    session_ = &session;
  }
  /// The session is about to go.
  void forget_session() {
    const MutexLock lock(mutex_);
    session_ = nullptr;
  }

  [[nodiscard]] nlohmann::json status() const {
    const std::chrono::duration<double> uptime = std::chrono::steady_clock::now() - started_;
    const SourceHealth health = source_.health();
    return {{"pid", ::getpid()},
            {"source", plan_.source},
            {"mountpoint", plan_.mountpoint},
            {"state", state_.load()},
            {"source_state", health.reachable ? "reachable" : "unreachable"},
            {"source_trouble", health.trouble},
            {"source_timeouts", health.timeouts},
            {"source_hanging", health.hanging},
            {"source_hanging_bytes", health.hanging_bytes},
            {"timeout", format_time_limits(limits_)},
            {"coherence", format_coherence(plan_.cache.coherence)},
            {"attr_ttl_seconds", attribute_ttl_json(plan_.cache.coherence)},
            {"ram_size", plan_.cache.max_bytes},
            {"policy", plan_.cache.policy},
            {"nodes", nodes()},
            {"max_nodes", plan_.nodes.known},
            {"locks", plan_.locks == mount::LockPlace::source ? "source" : "local"},
            {"lock_reach", lock_reach(plan_.locks, cache_.capabilities().locks)},
            {"options", plan_.options},
            {"kernel_features", kernel_features()},
            {"uptime_seconds", uptime.count()},
            {"version", CACHEFS_VERSION}};
  }

  [[nodiscard]] std::vector<server::ControlCommand> commands() const {
    return {{"status", [this] { return status(); }}, {"stats", [this] { return to_json(cache_.stats()); }}};
  }

 private:
  [[nodiscard]] nlohmann::json kernel_features() const {
    const MutexLock lock(mutex_);
    return kernel_features_;
  }

  /// How many files the kernel knows.
  [[nodiscard]] size_t nodes() const {
    const MutexLock lock(mutex_);
    return session_ != nullptr ? session_->nodes() : 0;
  }

  const MountPlan& plan_;
  const TimeLimits limits_;
  const GuardedFs& source_;
  const CacheFs& cache_;
  mutable Mutex mutex_;
  nlohmann::json kernel_features_ GUARDED_BY(mutex_) = nlohmann::json::object();  ///< empty until greeted
  const mount::Session* session_ GUARDED_BY(mutex_) = nullptr;
  const std::chrono::steady_clock::time_point started_;
  std::atomic<const char*> state_{"starting"};
};

/// Listens in the first directory that takes a socket: a file system may be full or read-only.
Result<std::unique_ptr<server::ControlListener>> listen_for(const std::string& mountpoint) {
  const auto directories = server::make_control_directories();
  if (!directories) return std::unexpected(directories.error());
  Result<std::unique_ptr<server::ControlListener>> listener;
  for (const std::string& directory : *directories) {
    listener = server::ControlListener::bind(directory, server::control_socket_name(mountpoint),
                                             kPredecessorPatience);
    if (listener || listener.error().is(std::errc::address_in_use)) break;
  }
  return listener;
}

Outcome<std::unique_ptr<server::ControlListener>> make_control(const std::string& mountpoint) {
  auto listener = listen_for(mountpoint);
  if (!listener && listener.error().is(std::errc::address_in_use)) {
    return refuse(
        fmt::format("'{}' is in use: another cachefs is being mounted or is just ending there; look with: "
                    "cachefs status {}",
                    mountpoint, shell_word(mountpoint)));
  }
  if (!listener) return refuse("cannot make the control socket: " + listener.error().message());
  return std::move(*listener);
}

/// Ends the session in order; for somebody tired of waiting for a source that hangs, ends the process at
/// once: all that was acknowledged is at the source, the mount is detached. Thread-safe.
class Stopper {
 public:
  Stopper(mount::Session& session, Reporter& reporter, std::string mountpoint,
          std::function<void()> on_told_to_end)
      : session_(&session),
        reporter_(&reporter),
        mountpoint_(std::move(mountpoint)),
        on_told_to_end_(std::move(on_told_to_end)) {}

  /// From one thread.
  void on_signal(int signal) {
    tell_end();
    switch (requests_.take(signal)) {
      case EndRequest::orderly:
        if (on_told_to_end_) on_told_to_end_();
        return stop_session();
      case EndRequest::at_once:
        return give_up();
      case EndRequest::known:
        return;
    }
  }

  /// The session and the reporter are about to go.
  void forget_session() {
    const MutexLock lock(mutex_);
    session_ = nullptr;
    reporter_ = nullptr;
  }

 private:
  void tell_end() {
    const MutexLock lock(mutex_);
    if (reporter_ != nullptr) reporter_->set_state(kEnding);
  }

  void stop_session() {
    const MutexLock lock(mutex_);
    if (session_ != nullptr) session_->stop();
  }

  [[noreturn]] void give_up() {
    spdlog::warn("told twice to end: not waiting for the source of '{}'", mountpoint_);
    const MutexLock lock(mutex_);
    if (session_ != nullptr) session_->abandon();
    ::_exit(kExitFailed);
  }

  Mutex mutex_;
  mount::Session* session_ GUARDED_BY(mutex_);
  Reporter* reporter_ GUARDED_BY(mutex_);
  const std::string mountpoint_;
  const std::function<void()> on_told_to_end_;
  EndRequests requests_{Clock::system()};
};

/// The device number of the mount, once there is one. Thread-safe.
class OwnDevice {
 public:
  void find(const std::string& mountpoint) {
    const std::string text = mount::device_of(mountpoint).value_or("");
    unsigned major = 0, minor = 0;
    if (std::sscanf(text.c_str(), "%u:%u", &major, &minor) == 2) number_ = makedev(major, minor);
  }
  [[nodiscard]] bool is(uint64_t device) const { return device != 0 && device == number_; }

 private:
  std::atomic<uint64_t> number_{0};
};

/// Serves until the end of the mount. The session is gone when this returns.
Outcome<void> run_session(CacheFs& cache, const MountPlan& plan, const TimeLimits& limits, Reporter& reporter,
                          SignalWatcher& signals, OwnDevice& device, const ServeEvents& events) {
  mount::SessionOptions options;
  options.mountpoint = plan.mountpoint;
  options.source = plan.source;
  options.fuse_options = plan.fuse_options;
  options.kernel_features = plan.kernel_features;
  options.limits = limits;
  options.nodes = plan.nodes;
  options.locks = plan.locks;
  options.on_unmounted = [&reporter] { reporter.set_state(kEnding); };
  auto session = mount::Session::create(cache, &cache, options);
  if (!session) {
    return refuse(fmt::format("cannot mount on '{}': {}", plan.mountpoint, session.error().message()));
  }
  device.find(plan.mountpoint);
  reporter.set_session(**session);
  reporter.set_state("mounted");
  const auto stopper = std::make_shared<Stopper>(**session, reporter, plan.mountpoint, events.on_told_to_end);
  signals.watch([stopper](int signal) { stopper->on_signal(signal); });
  events.on_mounted();
  const auto served = (*session)->run();
  stopper->forget_session();
  reporter.forget_session();
  if (!served)
    return refuse(fmt::format("serving '{}' ended: {}", plan.mountpoint, served.error().message()));
  return {};
}

/// A disk of this machine fails by itself where it must, and its requests are too quick to be handed from
/// thread to thread.
TimeLimits usual_limits(const Capabilities& source) {
  const bool is_local = source.local_clock && !source.type.starts_with("fuse");
  return is_local ? TimeLimits::none() : TimeLimits{};
}

void log_health(const SourceHealth& health) {
  if (health.reachable) return spdlog::info("the source answers again");
  spdlog::error("the source cannot be reached: {}", health.trouble);
}

/// A daemon has a descriptor for each file that programs have open for writing: with the usual soft limit one
/// user could use them all up. Nothing here calls select(), which that limit is for.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) spdlog::warn("cannot raise the limit of open files");
}

}  // namespace

Outcome<void> serve(const MountPlan& plan, const ServeEvents& events) {
  ::umask(0);                     // the umask of each caller is applied instead
  std::signal(SIGPIPE, SIG_IGN);  // whoever started this may be gone before it reads that the mount is live
  std::signal(SIGXFSZ, SIG_IGN);  // a write beyond our limit of file size fails (EFBIG), nothing else
  raise_descriptor_limit();
  // Destroyed in reverse: the session (in run_session), the server of the control socket, the cache, the
  // source, the signals. The socket itself goes last, since somebody who connects to it and gets no answer
  // knows that the daemon still runs.
  std::unique_ptr<server::ControlListener> listener;
  auto signals = SignalWatcher::create({SIGTERM, SIGINT, SIGHUP});
  if (!signals) return refuse(signals.error().message());
  // Somebody may show the mount within the source, where nobody must enter it. Shared with requests that
  // hang.
  const auto own_device = std::make_shared<OwnDevice>();
  auto source =
      open_source(plan.source,
                  {.drop_set_id = plan.kernel_features.has(mount::KernelFeature::killpriv_v2),
                   .is_own_mount = [own_device](uint64_t device) { return own_device->is(device); }},
                  start_limit(plan.limits), **signals);
  if (!source) return std::unexpected(source.error());
  if (plan.locks == mount::LockPlace::source && (*source)->locks() == nullptr) {
    return refuse(without_locks(plan.source, (*source)->capabilities().type));
  }
  const TimeLimits limits = plan.limits.value_or(usual_limits((*source)->capabilities()));
  const auto guarded = GuardedFs::create(std::move(*source), {.limits = limits, .on_change = log_health});
  auto cache = CacheFs::create(*guarded, plan.cache);
  if (!cache) return refuse("cannot make the cache: " + cache.error().message());
  guarded->set_on_late_change([&cache] { (*cache)->revalidate(); });
  // Before the cache goes.
  const auto forget_cache = [](GuardedFs* fs) { fs->set_on_late_change({}); };
  const std::unique_ptr<GuardedFs, decltype(forget_cache)> told(guarded.get(), forget_cache);
  Reporter reporter(plan, limits, *guarded, **cache);
  auto made = make_control(plan.mountpoint);
  if (!made) return std::unexpected(made.error());
  listener = std::move(*made);
  auto control = ControlServer::start(*listener, reporter.commands());
  if (!control) return refuse("cannot serve the control socket: " + control.error().message());
  return run_session(**cache, plan, limits, reporter, **signals, *own_device, events);
}

}  // namespace cachefs::cli
