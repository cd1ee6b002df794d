// The control socket survives whatever a client does.
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <thread>
#include <vector>

#include "server/control_client.h"
#include "server/control_listener.h"
#include "server/control_path.h"
#include "server/control_protocol.h"
#include "server/control_server.h"
#include "server/listening_sockets.h"

namespace cachefs::server {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;

class ControlSocket : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "control-test.XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override {
    server_.reset();
    listener_.reset();
    EXPECT_TRUE(std::filesystem::is_empty(directory_)) << "the socket was left";
    std::filesystem::remove_all(directory_);
  }

  void start() {
    auto listener = ControlListener::bind(directory_, "socket", 10s);
    ASSERT_TRUE(listener) << listener.error().message();
    listener_ = std::move(*listener);
    auto server =
        ControlServer::start(*listener_, {{"status", [] { return nlohmann::json{{"pid", ::getpid()}}; }}});
    ASSERT_TRUE(server);
    server_ = std::move(*server);
  }
  [[nodiscard]] std::string path() const { return directory_ + "/socket"; }
  [[nodiscard]] UniqueFd connect() const { return std::move(*connect_control(path(), 10s)); }
  void expect_alive() const {
    const auto reply = ask(path(), ::geteuid(), "status", 10s);
    ASSERT_TRUE(reply) << reply.error().message();
    EXPECT_EQ(reply->pid, ::getpid());
    EXPECT_EQ(reply->result.value("pid", 0), ::getpid());
  }
  static void send(const UniqueFd& socket, std::string_view text) {
    ASSERT_EQ(::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  /// What comes until the server has closed, or has nothing to say.
  static std::string receive_line(const UniqueFd& socket) {
    std::string line;
    for (char c = 0; ::recv(socket.get(), &c, 1, 0) == 1 && c != '\n';) line += c;
    return line;
  }

  std::string directory_;
  std::unique_ptr<ControlListener> listener_;
  std::unique_ptr<ControlServer> server_;
};

TEST_F(ControlSocket, Answers) {
  start();
  expect_alive();
  struct stat status{};
  ASSERT_EQ(::lstat(path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
}

TEST_F(ControlSocket, GarbageGetsAnErrorObject) {
  start();
  const UniqueFd client = connect();
  for (const std::string_view garbage :
       {"", "hello", "[]", "{\"version\":1", "null", "{\"version\":2,\"command\":\"status\"}",
        "{\"version\":1}", "{\"version\":1,\"command\":7}", "{\"version\":1,\"command\":\"frobnicate\"}",
        "\xff\xfe\x00\x01"}) {
    send(client, std::string(garbage) + "\n");
    const auto reply = nlohmann::json::parse(receive_line(client), nullptr, false);
    EXPECT_TRUE(reply.is_object() && reply.contains("error")) << garbage;
  }
  expect_alive();
}

TEST_F(ControlSocket, DeepNestingGetsAnErrorObject) {
  start();
  const UniqueFd client = connect();
  send(client, std::string(kControlLineMax, '[') + "\n");
  EXPECT_THAT(receive_line(client), HasSubstr("\"error\""));
  expect_alive();
}

TEST_F(ControlSocket, EndlessLineIsCutOff) {
  start();
  const UniqueFd client = connect();
  send(client, std::string(kControlLineMax + 1, 'x'));
  EXPECT_THAT(receive_line(client), AllOf(HasSubstr("\"error\""), HasSubstr("65536")));
  EXPECT_EQ(receive_line(client), "");  // closed
  expect_alive();
}

TEST_F(ControlSocket, ManyRequestsAtOnceAreAllAnswered) {
  start();
  const UniqueFd client = connect();
  std::string requests;
  for (int i = 0; i < 100; ++i) requests += encode_request("status") + "\n";
  send(client, requests);
  ::shutdown(client.get(), SHUT_WR);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(decode_answer(receive_line(client)));
  EXPECT_EQ(receive_line(client), "");
}

TEST_F(ControlSocket, RequestsMayComeInPieces) {
  start();
  const UniqueFd client = connect();
  for (const char c : encode_request("status") + "\n") send(client, std::string(1, c));
  EXPECT_TRUE(decode_answer(receive_line(client)));
}

TEST_F(ControlSocket, SilentClientsDoNotBlockOthers) {
  start();
  std::vector<UniqueFd> clients;
  for (size_t i = 0; i < 3 * ControlServer::kConnectionsMax; ++i) {
    clients.push_back(connect());
    if (i % 2 == 0) send(clients.back(), "{\"unfinished\"");
  }
  expect_alive();
}

TEST_F(ControlSocket, ClientThatNeverReadsDoesNotBlockOthers) {
  start();
  const UniqueFd client = connect();
  const std::string requests(10'000, '\n');
  for (;;) {  // until neither side takes more
    if (::send(client.get(), requests.data(), requests.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
      pollfd writable{.fd = client.get(), .events = POLLOUT, .revents = 0};
      if (::poll(&writable, 1, 100) == 0) break;
    }
  }
  expect_alive();
}

TEST_F(ControlSocket, ClientsThatVanishAreForgotten) {
  start();
  for (int i = 0; i < 500; ++i) send(connect(), encode_request("status") + "\n");
  expect_alive();
}

TEST_F(ControlSocket, LeftoverIsReplaced) {
  const auto address = control_address(path());
  {
    const UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(dead.get(), address->pointer(), sizeof(sockaddr_un)), 0);
  }
  EXPECT_TRUE(ask(path(), ::geteuid(), "status", 1s).error().is(std::errc::connection_refused));
  start();
  expect_alive();
}

TEST_F(ControlSocket, LivingOneIsNotReplaced) {
  start();
  const auto second = ControlListener::bind(directory_, "socket", 50ms);
  ASSERT_FALSE(second);
  EXPECT_TRUE(second.error().is(std::errc::address_in_use));
  expect_alive();
}

TEST_F(ControlSocket, NextOneWaitsForTheEndOfTheLast) {
  start();
  std::thread ending([&] {
    server_.reset();
    listener_.reset();
  });
  const auto next = ControlListener::bind(directory_, "socket", 10s);
  ending.join();
  EXPECT_TRUE(next);
}

TEST_F(ControlSocket, ListenerAloneKeepsThePlaceWithoutAnAnswer) {
  start();
  server_.reset();
  const auto pid = listener_at(path(), ::geteuid(), 10s);
  ASSERT_TRUE(pid) << pid.error().message();
  EXPECT_EQ(*pid, ::getpid());
  EXPECT_TRUE(ask(path(), ::geteuid(), "status", 20ms).error().is(std::errc::timed_out));
}

TEST_F(ControlSocket, AnothersSocketIsNotRemoved) {
  start();
  std::filesystem::remove(path());
  std::ofstream(path()) << "";
  server_.reset();
  listener_.reset();
  EXPECT_TRUE(std::filesystem::remove(path()));
}

TEST_F(ControlSocket, UnsafeDirectoryIsRefused) {
  EXPECT_TRUE(check_control_directory(directory_, ::geteuid()));
  EXPECT_FALSE(check_control_directory(directory_, ::geteuid() + 1));
  std::filesystem::permissions(directory_, std::filesystem::perms::others_exec,
                               std::filesystem::perm_options::add);
  EXPECT_THAT(check_control_directory(directory_, ::geteuid()).error().message(), HasSubstr("not 0700"));
  const std::string link = directory_ + "/link";
  std::filesystem::create_directory_symlink(directory_, link);
  EXPECT_THAT(check_control_directory(link, ::geteuid()).error().message(), HasSubstr("not a directory"));
  std::filesystem::remove(link);
}

TEST_F(ControlSocket, ListeningSocketIsBelievedInASafeDirectoryOfItsOwnerAlone) {
  const std::string name = std::filesystem::path(directory_).filename().string() + ".sock";
  const auto listener = ControlListener::bind(directory_, name, 10s);
  ASSERT_TRUE(listener) << listener.error().message();
  ASSERT_EQ(find_listening(name, ::geteuid()).size(), 1U);
  EXPECT_EQ(find_listening(name, ::geteuid()).front().path, directory_ + "/" + name);
  EXPECT_TRUE(find_listening(name, ::geteuid() + 1).empty());
  std::filesystem::permissions(directory_, std::filesystem::perms::all);
  EXPECT_TRUE(find_listening(name, ::geteuid()).empty());
}

TEST(ControlPath, NamesAreDistinctAndReadable) {
  EXPECT_NE(control_socket_name("/mnt/a"), control_socket_name("/srv/a"));
  EXPECT_THAT(control_socket_name("/mnt/my photos"), testing::EndsWith("-my_photos.sock"));
  EXPECT_LT(control_socket_name("/mnt/" + std::string(255, 'x')).size(), 64U);
}

TEST(ControlPath, ListeningSocketsAreFoundByName) {
  std::istringstream table(
      "Num       RefCount Protocol Flags    Type St Inode Path\n"
      "0000000000000000: 00000002 00000000 00010000 0001 01 17 /run/cachefs/name\n"
      "0000000000000000: 00000002 00000000 00010000 0001 01 18 /a directory/name\n"
      "0000000000000000: 00000002 00000000 00010000 0001 01 19 /run/cachefs/slowfs-name\n"
      "0000000000000000: 00000003 00000000 00000000 0001 03 20 /run/connected/name\n"
      "0000000000000000: 00000003 00000000 00000000 0001 03 21\n"
      "0000000000000000: 00000002 00000000 00010000 0001 01 22 @a name with\n"
      "line: 00000002 00000000 00010000 0001 01 23 /run/cachefs/name\n"
      "0000000000000000: 00000002 00000000 00010000 0001 01 24 relative/name\n");
  const auto found = find_listening(table, "name");
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].inode, 17U);
  EXPECT_EQ(found[1].path, "/a directory/name");
}

}  // namespace
}  // namespace cachefs::server
