// How a source that does not answer is tried.
#include "vfs/source_monitor.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "cachefs/mem_fs.h"

namespace cachefs {
namespace {

using namespace std::chrono_literals;

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

/// A descriptor with an exceptional condition for as long as wanted, as the table of mounts has: urgent data.
class Urgency {
 public:
  Urgency() {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(listener, generic, size), 0);
    EXPECT_EQ(::listen(listener, 1), 0);
    EXPECT_EQ(::getsockname(listener, generic, &size), 0);
    sender_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(::connect(sender_, generic, size), 0);
    receiver_ = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    ::close(listener);
  }
  ~Urgency() {
    ::close(sender_);
    ::close(receiver_);
  }
  Urgency(const Urgency&) = delete;
  Urgency& operator=(const Urgency&) = delete;

  [[nodiscard]] int fd() const { return receiver_; }
  void begin() const { EXPECT_EQ(::send(sender_, "!", 1, MSG_OOB), 1); }

 private:
  int sender_ = -1;
  int receiver_ = -1;
};

/// A source whose checks hang until they are let go.
class HangingSource final : public Reachability {
 public:
  Result<void> check() override {
    ++tries;
    ++hanging;
    while (hangs) std::this_thread::yield();
    --hanging;
    return error == 0 ? Result<void>() : fail_errno(error);
  }
  [[nodiscard]] uint64_t epoch() const override { return 0; }
  [[nodiscard]] int event() const override {
    ++looks;
    return urgency.fd();
  }

  mutable std::atomic<uint64_t> looks{0};  ///< rounds of the monitor
  std::atomic<uint64_t> tries{0};
  std::atomic<uint64_t> hanging{0};
  std::atomic<bool> hangs{true};
  std::atomic<int> error{0};  ///< what a check that returns says
  Urgency urgency;
};

class Monitor : public testing::Test {
 protected:
  void SetUp() override {
    monitor_ = SourceMonitor::start(source_, {.interval = 1ms, .patience = 1ms, .on_change = [] {}});
  }
  void TearDown() override {
    reachability().hangs = false;
    EXPECT_TRUE(eventually([&] { return reachability().hanging == 0; }));
    monitor_->stop();
  }
  void go_round(uint64_t times) {
    const uint64_t wanted = reachability().looks + times;
    ASSERT_TRUE(eventually([&] { return reachability().looks >= wanted; }));
  }
  HangingSource& reachability() { return source_->hanging_source; }

  /// As a MemFs, but for its reachability.
  class Source final : public FileSystem {
   public:
    [[nodiscard]] const Capabilities& capabilities() const override { return base_->capabilities(); }
    NodeRef root() override { return base_->root(); }
    Result<Entry> lookup(Node&, std::string_view, const Caller&) override { return none(); }
    Result<Attributes> attributes(Node& node, const Caller& caller) override {
      return base_->attributes(node, caller);
    }
    Result<Attributes> set_attributes(Node&, const AttributeChange&, const Caller&) override {
      return none();
    }
    Result<OpenedFile> open(Node&, const OpenFlags&, const Caller&) override { return none(); }
    Result<CreatedFile> create(Place, const CreateOptions&, const Caller&) override { return none(); }
    Result<Entry> make(Place, const NewNode&, const Caller&) override { return none(); }
    Result<Entry> link(Node&, Place, const Caller&) override { return none(); }
    Result<void> remove(Place, RemoveKind, const Caller&) override { return none(); }
    Result<void> rename(Place, Place, RenameMode, const Caller&) override { return none(); }
    Result<std::string> read_link(Node&, const Caller&) override { return none(); }
    Result<std::unique_ptr<DirectoryStream>> open_directory(Node&, const Caller&) override { return none(); }
    Result<void> sync_directory(Node&) override { return none(); }
    Result<FileSystemStatistics> statistics(Node&) override { return none(); }
    Reachability* reachability() override { return &hanging_source; }

    HangingSource hanging_source;

   private:
    static std::unexpected<Error> none() { return fail(std::errc::operation_not_supported); }
    const std::unique_ptr<FileSystem> base_ = make_mem_fs({});
  };

  const std::shared_ptr<Source> source_ = std::make_shared<Source>();
  std::shared_ptr<SourceMonitor> monitor_;
};

TEST_F(Monitor, TriesThatHangAreNotMadeWithoutEnd) {
  constexpr uint64_t kTriesMax = 4;
  monitor_->doubt(std::chrono::steady_clock::now(), Error(std::errc::timed_out));
  ASSERT_TRUE(eventually([&] { return reachability().tries >= kTriesMax; }));
  go_round(50);
  EXPECT_EQ(reachability().tries, kTriesMax);
}

TEST_F(Monitor, WhenSomethingIsMountedItIsTriedThoughMuchHangs) {
  constexpr uint64_t kTriesMax = 4;
  constexpr uint64_t kTriesEver = 64;
  monitor_->doubt(std::chrono::steady_clock::now(), Error(std::errc::timed_out));
  ASSERT_TRUE(eventually([&] { return reachability().tries >= kTriesMax; }));
  reachability().urgency.begin();  // for ever: at every round
  ASSERT_TRUE(eventually([&] { return reachability().tries >= kTriesEver; }));
  go_round(50);
  EXPECT_EQ(reachability().tries, kTriesEver);
}

TEST_F(Monitor, OneThatReturnsMakesAllWellAgain) {
  const auto begun = std::chrono::steady_clock::now();
  monitor_->doubt(begun, Error(std::errc::timed_out));
  ASSERT_TRUE(eventually([&] {
    monitor_->timed_out(begun);
    return !monitor_->state().reachable;
  }));
  EXPECT_TRUE(monitor_->refusal());
  reachability().hangs = false;
  EXPECT_TRUE(eventually([&] { return monitor_->state().reachable; }));
  EXPECT_FALSE(monitor_->refusal());
}

TEST_F(Monitor, AnAnswerTellsMoreThanSilence) {
  const auto begun = std::chrono::steady_clock::now();
  reachability().error = ENOTCONN;
  reachability().hangs = false;
  ASSERT_TRUE(eventually([&] {
    monitor_->timed_out(begun);
    return !monitor_->state().reachable;
  }));
  EXPECT_TRUE(eventually([&] {
    const std::optional<Error> refusal = monitor_->refusal();
    return refusal && refusal->is(std::errc::io_error);
  }));
  monitor_->timed_out(begun);
  EXPECT_TRUE(monitor_->refusal().value().is(std::errc::io_error)) << "what is known is not forgotten";
}

}  // namespace
}  // namespace cachefs
