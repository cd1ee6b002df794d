#include "mount/source_place.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <sstream>

#include "cli/mount_table.h"
#include "cli/unmount.h"
#include "mount/cli_fixture.h"
#include "server/unique_fd.h"

namespace cachefs::test {
namespace {

using server::UniqueFd;

constexpr const char* kSshd = "/usr/sbin/sshd";
constexpr const char* kSftpServer = "/usr/lib/openssh/sftp-server";
/// Where sshd shuts itself in as root. Debian makes it when the service starts.
constexpr const char* kPrivilegeSeparation = "/run/sshd";

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/// One that is free now.
uint16_t free_port() {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(socket.get(), generic, size) != 0 || ::getsockname(socket.get(), generic, &size) != 0) return 0;
  return ntohs(address.sin_port);
}

bool answers(uint16_t port) {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = loopback(port);
  return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

void make_key(const std::string& path) {
  const Finished made = run_command({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path});
  ASSERT_EQ(made.exit_code, 0) << made.errors;
}

class Directory final : public SourcePlace {
 public:
  explicit Directory(std::string files) : path_(std::move(files)) {}
  [[nodiscard]] const std::string& path() const override { return path_; }

 private:
  const std::string path_;
};

class Slowfs final : public SourcePlace {
 public:
  Slowfs(const std::string& files, const std::string& place) : slow_(files, place) {}
  [[nodiscard]] const std::string& path() const override { return slow_.path(); }

 private:
  const SlowSource slow_;
};

/// sshd on the loopback interface, for one user with one key, all of it in a directory of the test's own.
class SshServer {
 public:
  explicit SshServer(std::filesystem::path room) : room_(std::move(room)) { start(); }
  ~SshServer() {
    server_.reset();
    if (made_separation_) ::rmdir(kPrivilegeSeparation);
  }
  SshServer(const SshServer&) = delete;
  SshServer& operator=(const SshServer&) = delete;

  /// For ssh -F: how to reach it as the host "loopback".
  [[nodiscard]] std::string client_config() const { return room_ / "ssh_config"; }
  [[nodiscard]] bool runs() const { return server_ != nullptr && server_->is_running(); }
  [[nodiscard]] std::string printed() const { return server_ == nullptr ? "" : server_->printed(); }

 private:
  void start() {
    make_key(room_ / "host_key");
    make_key(room_ / "user_key");
    std::filesystem::copy_file(room_ / "user_key.pub", room_ / "authorized_keys");
    made_separation_ = ::geteuid() == 0 && ::mkdir(kPrivilegeSeparation, 0755) == 0;
    constexpr int kTries = 5;  // somebody else may take the port before the server does
    for (int attempt = 0; attempt < kTries && !runs(); ++attempt) start_at(free_port());
    ASSERT_TRUE(runs()) << printed();
  }

  void start_at(uint16_t port) {
    std::ofstream(room_ / "sshd_config") << fmt::format(
        "ListenAddress 127.0.0.1:{}\nHostKey {}\nPidFile none\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM "
        "no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
        "AllowTcpForwarding no\nSubsystem sftp {}\n",
        port, (room_ / "host_key").string(), (room_ / "authorized_keys").string(), kSftpServer);
    std::ofstream(client_config()) << fmt::format(
        "Host loopback\n  HostName 127.0.0.1\n  Port {}\n  IdentityFile {}\n  IdentitiesOnly yes\n"
        "  UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking accept-new\n"
        "  BatchMode yes\n",
        port, (room_ / "user_key").string(), (room_ / "known_hosts").string());
    server_ = std::make_unique<ChildProcess>(
        std::vector<std::string>{kSshd, "-D", "-e", "-f", room_ / "sshd_config"}, SIGTERM,
        room_ / "sshd.log");
    EXPECT_TRUE(eventually([&] { return answers(port) || !server_->is_running(); }));
  }

  const std::filesystem::path room_;
  bool made_separation_ = false;
  std::unique_ptr<ChildProcess> server_;
};

/// sshfs without a cache of its own, so that what it shows is what the server has.
class Sshfs final : public SourcePlace {
 public:
  Sshfs(const std::string& files, const std::filesystem::path& room) : server_(room), place_(room / "sshfs") {
    std::filesystem::create_directory(place_);
    client_ = std::make_unique<ChildProcess>(
        std::vector<std::string>{"sshfs", "-f", "-F", server_.client_config(), "-o",
                                 "dir_cache=no,attr_timeout=0,entry_timeout=0,negative_timeout=0",
                                 "loopback:" + files, place_},
        SIGTERM, room / "sshfs.log");
    const bool mounted = eventually([&] { return is_mount(place_) || !client_->is_running(); });
    EXPECT_TRUE(mounted && is_mount(place_)) << client_->printed() << server_.printed();
  }
  ~Sshfs() override {
    client_.reset();
    unmount_if_mounted(place_);
  }
  [[nodiscard]] const std::string& path() const override { return place_; }

 private:
  const SshServer server_;
  const std::string place_;
  std::unique_ptr<ChildProcess> client_;
};

[[noreturn]] void become(const std::vector<std::string>& arguments, int end_signal, int log) {
  ::prctl(PR_SET_PDEATHSIG, end_signal);
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  std::vector<char*> words;
  words.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  ::execvp(words[0], words.data());
  ::_exit(127);
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& arguments, int end_signal, const std::string& log)
    : end_signal_(end_signal), log_(log) {
  const UniqueFd output(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  pid_ = ::fork();
  if (pid_ == 0) become(arguments, end_signal, output.get());
}

ChildProcess::~ChildProcess() {
  if (pid_ <= 0) return;
  ::kill(pid_, end_signal_);
  const bool ended = eventually([&] { return !is_running(); });
  EXPECT_TRUE(ended) << printed();
  if (!ended) ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

bool ChildProcess::is_running() const { return pid_ > 0 && test::is_running(pid_); }

std::string ChildProcess::printed() const {
  std::ostringstream text;
  text << std::ifstream(log_).rdbuf();
  return text.str();
}

bool is_mount(const std::string& place) {
  const auto table = cli::read_mount_table();
  return table && cli::mounted_at(*table, place).has_value();
}

void unmount_if_mounted(const std::string& place) {
  if (!is_mount(place)) return;
  EXPECT_TRUE(cli::unmount(place, cli::UnmountKind::detach)) << place;
}

std::unique_ptr<SourcePlace> make_source_place(std::string_view kind, const std::string& files,
                                               const std::filesystem::path& room) {
  if (kind == "Slowfs") return std::make_unique<Slowfs>(files, room / "slow");
  if (kind == "Sshfs") return std::make_unique<Sshfs>(files, room);
  return std::make_unique<Directory>(files);
}

bool can_make_source_place(std::string_view kind) {
  if (kind != "Sshfs") return true;
  const Finished found = run_command({"sh", "-c", "command -v sshfs ssh ssh-keygen"});
  return found.exit_code == 0 && ::access(kSshd, X_OK) == 0 && ::access(kSftpServer, X_OK) == 0;
}

}  // namespace cachefs::test
