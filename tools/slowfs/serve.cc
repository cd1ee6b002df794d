#include "serve.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <memory>

#include "cachefs/posix_fs.h"
#include "control.h"
#include "faults.h"
#include "mount/session.h"
#include "server/inherited.h"
#include "server/unique_fd.h"

namespace cachefs::slowfs {
namespace {

using server::UniqueFd;

constexpr uint32_t kThreads = 256;  // each waits out its delay: this many overlap
constexpr std::string_view kMounted = "\x06";

std::atomic<mount::Session*> served_session{nullptr};

void on_end_signal(int /*signal*/) {
  if (mount::Session* session = served_session.load()) session->stop();
}

/// Ends the session on the signals that ask a program to end, as long as it lives.
class EndOnSignal {
 public:
  explicit EndOnSignal(mount::Session& session) {
    served_session = &session;
    set_handler(on_end_signal);
  }
  ~EndOnSignal() {
    set_handler(SIG_IGN);
    served_session = nullptr;
  }
  EndOnSignal(const EndOnSignal&) = delete;
  EndOnSignal& operator=(const EndOnSignal&) = delete;

 private:
  static void set_handler(void (*handler)(int)) {
    struct sigaction action{};
    action.sa_handler = handler;
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaction(signal, &action, nullptr);
  }
};

Result<void> check_places(const ServeOptions& options) {
  struct stat status{};
  const std::string& mountpoint = options.mountpoint;
  if (stat(mountpoint.c_str(), &status) != 0)
    return fail_errno(errno, fmt::format("look at '{}'", mountpoint));
  if (!S_ISDIR(status.st_mode)) {
    return fail(std::errc::not_a_directory, fmt::format("mount on '{}'", mountpoint));
  }
  const std::unique_ptr<char, decltype(&std::free)> source(realpath(options.source.c_str(), nullptr),
                                                           &std::free);
  if (!source) return fail_errno(errno, fmt::format("open the source '{}'", options.source));
  if ((mountpoint + "/").starts_with(std::string(source.get()) + "/")) {
    return fail(std::errc::invalid_argument,
                fmt::format("the mount point '{}' is inside the source '{}'; choose one outside", mountpoint,
                            options.source));
  }
  return {};
}

/// Serves in this process. `on_mounted` is called once the mount is live.
Result<void> serve_here(const ServeOptions& options, const std::function<void()>& on_mounted) {
  if (Result<void> checked = check_places(options); !checked) return checked;
  umask(0);
  const Result<std::unique_ptr<FileSystem>> source = make_posix_fs(options.source);
  if (!source) return std::unexpected(source.error());

  const std::unique_ptr<OperationHook> delay = make_delay_hook(options.delay);
  FaultHook fault;
  OperationCounter counter;
  const std::unique_ptr<FileSystem> delayed = make_hooked_fs(**source, *delay);
  const std::unique_ptr<FileSystem> failing = make_hooked_fs(*delayed, fault);
  const std::unique_ptr<FileSystem> counted = make_hooked_fs(*failing, counter);
  Faults faults(counter, fault);

  const mount::SessionOptions session_options{.mountpoint = options.mountpoint,
                                              .source = options.source,
                                              .subtype = "slowfs",
                                              .fuse_options = options.fuse_options,
                                              .kernel_caches = false,
                                              .executor_threads = kThreads,
                                              .on_unmounted = [&fault] { fault.recover(); }};
  const auto session = mount::Session::create(*counted, nullptr, session_options);
  if (!session) return std::unexpected(session.error());
  const auto control = ControlService::start(
      options.mountpoint, [&faults](const nlohmann::json& request) { return faults.run(request); });
  if (!control) return std::unexpected(control.error());
  const EndOnSignal end_on_signal(**session);
  on_mounted();
  return (*session)->run();
}

void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t size = write(fd, text.data(), text.size());
    if (size < 0 && errno != EINTR) return;  // the parent has gone: nobody is left to tell
    if (size > 0) text.remove_prefix(static_cast<size_t>(size));
  }
}

std::string read_all(int fd) {
  std::string text;
  std::array<char, 1024> chunk;
  while (true) {
    const ssize_t size = read(fd, chunk.data(), chunk.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return text;
    text.append(chunk.data(), static_cast<size_t>(size));
  }
}

void leave_terminal() {
  const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null.get(), fd);
}

[[noreturn]] void run_daemon(ServeOptions options, UniqueFd report) {
  setsid();
  report = server::close_inherited(std::move(report));
  const std::unique_ptr<char, decltype(&std::free)> source(realpath(options.source.c_str(), nullptr),
                                                           &std::free);
  if (source) options.source = source.get();  // it stays what it was after the chdir
  if (chdir("/") != 0) write_all(STDERR_FILENO, "slowfs: cannot leave the working directory\n");
  const Result<void> served = serve_here(options, [&report] {
    leave_terminal();
    write_all(report.get(), kMounted);
    report.reset();
  });
  if (!served && report) write_all(report.get(), sentence_of(served.error()));
  _exit(served ? 0 : 1);
}

}  // namespace

std::string sentence_of(const Error& error) {
  const bool explains_itself = error.is(std::errc::invalid_argument) && !error.doing().empty();
  return explains_itself ? error.doing() : error.message();
}

std::expected<void, std::string> serve(const ServeOptions& options) {
  if (options.foreground) {
    const Result<void> served = serve_here(options, [] {});
    if (!served) return std::unexpected(sentence_of(served.error()));
    return {};
  }
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return std::unexpected("cannot make a pipe");
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  const pid_t child = fork();
  if (child < 0) return std::unexpected("cannot start the serving process");
  if (child == 0) run_daemon(options, std::move(writing));
  writing.reset();
  const std::string answer = read_all(reading.get());
  if (answer == kMounted) return {};
  waitpid(child, nullptr, 0);
  return std::unexpected(answer.empty() ? "the serving process died before the mount was live" : answer);
}

}  // namespace cachefs::slowfs
