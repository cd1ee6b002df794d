// Whoever changes a file's content drops its set-id bits, and nobody runs it with them any more.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <fstream>

#include "mount/mount_test_fixture.h"

namespace cachefs::test {
namespace {

constexpr unsigned kUser = 12345;
constexpr unsigned kGroup = 23456;

struct Setting {
  SourceKind source;
  Coherence coherence;
  bool killpriv;
};

std::string setting_name(const testing::TestParamInfo<Setting>& info) {
  std::string name = source_name({info.param.source, 0});
  if (info.param.source == SourceKind::cached) name += format_coherence(info.param.coherence);
  name += info.param.killpriv ? "" : "WithoutKillpriv";
  std::erase_if(name, [](unsigned char c) { return std::isalnum(c) == 0; });
  return name;
}

std::vector<Setting> settings(const std::vector<bool>& killpriv_values) {
  std::vector<Setting> all;
  for (const bool killpriv : killpriv_values) {
    for (const SourceKind source : {SourceKind::memory, SourceKind::posix, SourceKind::cached}) {
      all.push_back({source, {}, killpriv});
    }
    for (const char* mode : {"strict", "ttl=1h", "immutable"})
      all.push_back({SourceKind::cached, parse_coherence(mode).value(), killpriv});
  }
  return all;
}

class SetIdBits : public MountFixture, public testing::WithParamInterface<Setting> {
 protected:
  [[nodiscard]] SourceKind source_kind() const override { return GetParam().source; }
  [[nodiscard]] CacheOptions cache_options() const override { return {.coherence = GetParam().coherence}; }
  [[nodiscard]] mount::SessionOptions session_options() const override {
    mount::KernelFeatures features = mount::KernelFeatures::all();
    features.set(mount::KernelFeature::killpriv_v2, GetParam().killpriv);
    mount::SessionOptions options;
    options.kernel_features = features;
    return options;
  }

  void make_file(mode_t mode) {
    ASSERT_EQ(write_file(at("file"), "content"), 0);
    ASSERT_EQ(chown(at("file").c_str(), 0, kGroup), 0);
    ASSERT_EQ(chmod(at("file").c_str(), mode), 0);
    ASSERT_EQ(mode_of("file"), mode);
  }
  [[nodiscard]] mode_t mode_of(const char* name) const {
    struct stat status{};
    return stat(at(name).c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
  }
  /// What a user does with a file of mode 06777, and whether it lost its bits.
  void expect_dropped_by(const std::function<bool(int fd)>& change) {
    make_file(06777);
    const int result = run_as({.uid = kUser, .gid = kGroup}, [&] {
      const int fd = open(at("file").c_str(), O_RDWR);
      return fd >= 0 && change(fd) && close(fd) == 0 ? 0 : 1;
    });
    ASSERT_EQ(result, 0);
    EXPECT_EQ(mode_of("file"), 0777U);
  }
};
INSTANTIATE_TEST_SUITE_P(, SetIdBits, testing::ValuesIn(settings({true, false})), setting_name);

TEST_P(SetIdBits, GoWithAWrite) {
  expect_dropped_by([](int fd) { return write(fd, "x", 1) == 1; });
}

TEST_P(SetIdBits, GoWithATruncation) {
  expect_dropped_by([](int fd) { return ftruncate(fd, 1) == 0; });
  expect_dropped_by([this](int) { return truncate(at("file").c_str(), 2) == 0; });
}

TEST_P(SetIdBits, GoWithAnOpenThatTruncates) {
  expect_dropped_by([this](int) { return open(at("file").c_str(), O_WRONLY | O_TRUNC) >= 0; });
}

TEST_P(SetIdBits, GoWithAnAllocation) {
  expect_dropped_by([](int fd) { return fallocate(fd, 0, 0, 10'000) == 0; });
}

TEST_P(SetIdBits, GoWithACopy) {
  ASSERT_EQ(write_file(at("other"), "other content"), 0);
  expect_dropped_by([this](int fd) {
    const int from = open(at("other").c_str(), O_RDONLY);
    return copy_file_range(from, nullptr, fd, nullptr, 5, 0) == 5;
  });
}

TEST_P(SetIdBits, GoWithAnAppend) {
  expect_dropped_by([this](int) {
    const int fd = open(at("file").c_str(), O_WRONLY | O_APPEND);
    return write(fd, "x", 1) == 1;
  });
}

TEST_P(SetIdBits, GoWithAWriteThroughADescriptorThatRootHasOpened) {
  make_file(06777);
  const int fd = open(at("file").c_str(), O_WRONLY);
  EXPECT_EQ(run_as({.uid = kUser, .gid = kGroup}, [&] { return write(fd, "x", 1) == 1 ? 0 : 1; }), 0);
  close(fd);
  EXPECT_EQ(mode_of("file"), 0777U);
}

TEST_P(SetIdBits, GoWithAnotherOwnerWhoeverGivesIt) {
  make_file(06777);
  ASSERT_EQ(chown(at("file").c_str(), kUser, kGroup), 0);
  EXPECT_EQ(mode_of("file"), 0777U);
  ASSERT_EQ(chmod(at("file").c_str(), 06777), 0);
  ASSERT_EQ(run_as({.uid = kUser, .gid = kGroup, .groups = {kGroup + 1}},
                   [&] { return chown(at("file").c_str(), kUser, kGroup + 1) == 0 ? 0 : 1; }),
            0);
  EXPECT_EQ(mode_of("file"), 0777U);
}

TEST_P(SetIdBits, OfTheGroupStayWhereTheGroupMayNotExecute) {
  make_file(02666);
  ASSERT_EQ(run_as({.uid = kUser, .gid = kGroup}, [&] { return write_file(at("file"), "x"); }), 0);
  EXPECT_EQ(mode_of("file"), 02666U);
}

/// What a program may do more than who runs it (capabilities(7)): here no more than to bind low ports.
bool give_rights(const std::string& path) {
  constexpr std::array<uint32_t, 5> kRights{0x02000001, 1U << 10, 0, 0, 0};
  return setxattr(path.c_str(), "security.capability", kRights.data(), sizeof kRights, 0) == 0;
}
bool has_rights(const std::string& path) {
  return getxattr(path.c_str(), "security.capability", nullptr, 0) > 0;
}

/// The kernel asks for it, or leaves it to the source's kernel.
class ProgramRights : public SetIdBits {};
INSTANTIATE_TEST_SUITE_P(, ProgramRights, testing::ValuesIn([] {
                           std::vector<Setting> all = settings({true, false});
                           std::erase_if(all, [](const Setting& setting) {
                             return setting.source == SourceKind::memory;
                           });
                           return all;
                         }()),
                         setting_name);

TEST_P(ProgramRights, GoWithAnyChangeOfItsContent) {
  const std::vector<std::pair<const char*, std::function<bool(int fd)>>> changes{
      {"write", [](int fd) { return write(fd, "x", 1) == 1; }},
      {"append", [this](int) { return write(open(at("file").c_str(), O_WRONLY | O_APPEND), "x", 1) == 1; }},
      {"truncation", [](int fd) { return ftruncate(fd, 1) == 0; }},
      {"truncation by name", [this](int) { return truncate(at("file").c_str(), 2) == 0; }},
      {"allocation", [](int fd) { return fallocate(fd, 0, 0, 10'000) == 0; }},
      {"open", [this](int) { return open(at("file").c_str(), O_WRONLY | O_TRUNC) >= 0; }},
  };
  for (const auto& [name, change] : changes) {
    make_file(0777);
    ASSERT_TRUE(give_rights(at("file")));
    EXPECT_EQ(run_as({.uid = kUser, .gid = kGroup},
                     [&] {
                       const int fd = open(at("file").c_str(), O_RDWR);
                       return fd >= 0 && change(fd) ? 0 : 1;
                     }),
              0)
        << name;
    EXPECT_FALSE(has_rights(at("file"))) << name;
  }
}

TEST_P(ProgramRights, AreTakenAwayByNobodyWhoMayNot) {
  make_file(0777);
  ASSERT_TRUE(give_rights(at("file")));
  EXPECT_EQ(run_as({.uid = kUser, .gid = kGroup},
                   [&] { return removexattr(at("file").c_str(), "security.capability") == 0 ? 0 : errno; }),
            EPERM);
  EXPECT_TRUE(has_rights(at("file")));
}

/// Without the feature it is as the source does it.
class SetIdBitsWithKillpriv : public SetIdBits {};
INSTANTIATE_TEST_SUITE_P(, SetIdBitsWithKillpriv, testing::ValuesIn(settings({true})), setting_name);

TEST_P(SetIdBitsWithKillpriv, GoWithAWriteByRootToo) {
  ASSERT_TRUE(mounted_->has(mount::KernelFeature::killpriv_v2));
  make_file(06777);
  ASSERT_EQ(write_file(at("file"), "x"), 0);
  EXPECT_EQ(mode_of("file"), 0777U);
}

/// Root is in no group that the file belongs to.
TEST_P(SetIdBits, StayAsRootSetsThem) {
  make_file(02755);
  ASSERT_EQ(mkdir(at("shared").c_str(), 0755), 0);
  ASSERT_EQ(chown(at("shared").c_str(), 0, kGroup), 0);
  ASSERT_EQ(chmod(at("shared").c_str(), 02775), 0);
  ASSERT_EQ(write_file(at("file"), ""), 0) << "another right in between";
  ASSERT_EQ(mkdir(at("shared/below").c_str(), 0755), 0);
  EXPECT_EQ(mode_of("shared/below"), 02755U);
  const int fd = open(at("shared/program").c_str(), O_WRONLY | O_CREAT, 06755);
  EXPECT_GE(fd, 0);
  close(fd);
  EXPECT_EQ(mode_of("shared/program"), 06755U);
}

/// The kernel knows the mode from before the write, and for how long it may rely on it.
TEST_P(SetIdBits, OfARewrittenProgramHelpNobody) {
  {
    std::ifstream program("/usr/bin/test", std::ios::binary);
    std::ofstream copy(at("program"), std::ios::binary);
    ASSERT_TRUE(program.is_open());
    copy << program.rdbuf();
  }
  ASSERT_EQ(chmod(at("program").c_str(), 06777), 0);
  const auto run = [&] {  // 0: as root, who owns '/'
    execl(at("program").c_str(), "test", "-O", "/", nullptr);
    return 100;
  };
  ASSERT_EQ(run_as({.uid = kUser, .gid = kGroup}, run), 0) << "the mount honours set-id bits";
  const int written = run_as({.uid = kUser, .gid = kGroup}, [&] {
    const int fd = open(at("program").c_str(), O_WRONLY);
    return pwrite(fd, "\177", 1, 0) == 1 && close(fd) == 0 ? 0 : 1;
  });
  ASSERT_EQ(written, 0);
  // A notification that is just being told can make the kernel ignore one answer about the attributes.
  EXPECT_TRUE(eventually([&] { return run_as({.uid = kUser, .gid = kGroup}, run) == 1; }));
}

}  // namespace
}  // namespace cachefs::test
