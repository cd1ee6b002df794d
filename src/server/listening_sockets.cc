#include "server/listening_sockets.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <span>
#include <sstream>

#include "server/control_path.h"
#include "server/unique_fd.h"

namespace cachefs::server {
namespace {

using Bytes = std::span<const std::byte>;

template <typename Header>
std::optional<Header> header_at_start(Bytes bytes) {
  Header header{};
  if (bytes.size() < sizeof header) return std::nullopt;
  std::memcpy(&header, bytes.data(), sizeof header);
  return header;
}

/// Behind a part of that length. Messages and their attributes begin at multiples of 4.
Bytes behind(Bytes bytes, size_t length) {
  return bytes.subspan(std::min(bytes.size(), (length + 3) & ~size_t{3}));
}

struct Answer {
  ListeningSocket socket;
  std::optional<uid_t> owner;  ///< told by Linux 5.3 and later
};

std::optional<Answer> parse_answer(Bytes message) {
  const auto answer = header_at_start<unix_diag_msg>(message);
  if (!answer) return std::nullopt;
  Answer parsed{{.path = {}, .inode = answer->udiag_ino}, std::nullopt};
  Bytes rest = behind(message, sizeof *answer);
  while (const auto attribute = header_at_start<rtattr>(rest)) {
    if (attribute->rta_len < sizeof *attribute || attribute->rta_len > rest.size()) break;
    const Bytes value = rest.first(attribute->rta_len).subspan(sizeof *attribute);
    if (attribute->rta_type == UNIX_DIAG_NAME) {
      parsed.socket.path.assign(reinterpret_cast<const char*>(value.data()), value.size());
      parsed.socket.path.resize(::strnlen(parsed.socket.path.data(), value.size()));  // empty: abstract
    }
    if (attribute->rta_type == UNIX_DIAG_UID) parsed.owner = header_at_start<uid_t>(value);
    rest = behind(rest, attribute->rta_len);
  }
  return parsed;
}

enum class Progress : uint8_t { more, done, failed };

Progress parse_answers(Bytes datagram, std::vector<Answer>& answers) {
  while (const auto header = header_at_start<nlmsghdr>(datagram)) {
    if (header->nlmsg_type == NLMSG_DONE) return Progress::done;
    if (header->nlmsg_type == NLMSG_ERROR || header->nlmsg_len < sizeof *header ||
        header->nlmsg_len > datagram.size())
      return Progress::failed;
    if (auto answer = parse_answer(datagram.first(header->nlmsg_len).subspan(sizeof *header)))
      answers.push_back(std::move(*answer));
    datagram = behind(datagram, header->nlmsg_len);
  }
  return Progress::more;
}

/// All that listen; nullopt if the kernel does not tell.
std::optional<std::vector<Answer>> ask_kernel() {
  const UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!socket) return std::nullopt;
  struct {
    nlmsghdr header;
    unix_diag_req question;
  } request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.question.sdiag_family = AF_UNIX;
  request.question.udiag_states = 1U << TCP_LISTEN;
  request.question.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_UID;
  if (::send(socket.get(), &request, sizeof request, 0) < 0) return std::nullopt;
  std::vector<std::byte> buffer(64 * size_t{1024});
  std::vector<Answer> answers;
  for (;;) {
    const ssize_t size = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (size <= 0) return std::nullopt;
    const Progress progress = parse_answers(Bytes(buffer).first(static_cast<size_t>(size)), answers);
    if (progress == Progress::done) return answers;
    if (progress == Progress::failed) return std::nullopt;
  }
}

bool is_named(const std::string& path, std::string_view name) {
  return path.starts_with('/') && std::string_view(path).substr(path.rfind('/') + 1) == name;
}

/// As in "0000000000000000:", a pointer that may be hidden.
bool is_address(std::string_view word) {
  const auto is_hex = [](unsigned char c) { return std::isxdigit(c) != 0; };
  return word.size() == 2 * sizeof(void*) + 1 && word.ends_with(':') &&
         std::all_of(word.begin(), word.end() - 1, is_hex);
}

std::vector<ListeningSocket> all_named(std::string_view name, uid_t uid) {
  const auto answers = ask_kernel();
  if (!answers) {
    std::ifstream table("/proc/net/unix");
    return find_listening(table, name);
  }
  std::vector<ListeningSocket> found;
  for (const Answer& answer : *answers) {
    if (is_named(answer.socket.path, name) && answer.owner.value_or(uid) == uid)
      found.push_back(answer.socket);
  }
  return found;
}

}  // namespace

std::vector<ListeningSocket> find_listening(std::string_view name, uid_t uid) {
  std::vector<ListeningSocket> found = all_named(name, uid);
  std::erase_if(found, [uid](const ListeningSocket& socket) {
    return !check_control_directory(socket.path.substr(0, socket.path.rfind('/')), uid);
  });
  return found;
}

std::vector<ListeningSocket> find_listening(std::istream& table, std::string_view name) {
  constexpr unsigned long kAccepts = 0x10000;  // __SO_ACCEPTCON
  std::vector<ListeningSocket> found;
  for (std::string line; std::getline(table, line);) {
    // ffff888012345678: 00000002 00000000 00010000 0001 01 24042 /run/cachefs/name
    std::istringstream words(line);
    std::string address, references, protocol, flags, type, state;
    ListeningSocket socket;
    if (!(words >> address >> references >> protocol >> flags >> type >> state >> socket.inode)) continue;
    if (!is_address(address) || (std::strtoul(flags.c_str(), nullptr, 16) & kAccepts) == 0) continue;
    if (std::getline(words >> std::ws, socket.path) && is_named(socket.path, name)) found.push_back(socket);
  }
  return found;
}

}  // namespace cachefs::server
