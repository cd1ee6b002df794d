// Extended attributes.
#include <algorithm>

#include "conformance/fixture.h"

namespace cachefs::conformance {
namespace {

class Xattrs : public FileSystemTest {
 protected:
  void SetUp() override {
    FileSystemTest::SetUp();
    REQUIRE_CAPABILITY(can().xattrs);
    ASSERT_NE(fs().xattrs(), nullptr);
    file_ = make_file("file");
  }
  int set(std::string_view name, std::string_view value, XattrMode mode = XattrMode::create_or_replace) {
    return errno_of(fs().xattrs()->set(*file_.node, name, value, mode, caller()));
  }
  Result<std::string> get(std::string_view name) { return fs().xattrs()->get(*file_.node, name, caller()); }
  std::vector<std::string> list() {
    auto names = fs().xattrs()->list(*file_.node, caller()).value_or(std::vector<std::string>{});
    std::erase_if(names, [](const std::string& name) { return !name.starts_with("user."); });
    std::ranges::sort(names);
    return names;
  }

  Entry file_;
};
RUN_OVER_ALL_FILE_SYSTEMS(Xattrs);

TEST_P(Xattrs, ValueIsKeptWithAnyBytes) {
  const std::string value("a\0b\xff", 4);
  EXPECT_EQ(set("user.name", value), 0);
  EXPECT_EQ(get("user.name").value_or(""), value);
}

TEST_P(Xattrs, EmptyValueIsAValue) {
  EXPECT_EQ(set("user.empty", ""), 0);
  EXPECT_EQ(get("user.empty").value_or("x"), "");
}

TEST_P(Xattrs, MissingNameHasNoData) {
  EXPECT_EQ(errno_of(get("user.missing")), ENODATA);
  EXPECT_EQ(errno_of(fs().xattrs()->remove(*file_.node, "user.missing", caller())), ENODATA);
}

TEST_P(Xattrs, CreateAndReplaceAskForWhatIsThere) {
  EXPECT_EQ(set("user.a", "1", XattrMode::replace), ENODATA);
  EXPECT_EQ(set("user.a", "1", XattrMode::create), 0);
  EXPECT_EQ(set("user.a", "2", XattrMode::create), EEXIST);
  EXPECT_EQ(set("user.a", "3", XattrMode::replace), 0);
  EXPECT_EQ(get("user.a").value_or(""), "3");
}

TEST_P(Xattrs, ListNamesAllAndRemoveForgets) {
  EXPECT_EQ(set("user.a", "1"), 0);
  EXPECT_EQ(set("user.b", "2"), 0);
  EXPECT_EQ(list(), (std::vector<std::string>{"user.a", "user.b"}));
  EXPECT_EQ(errno_of(fs().xattrs()->remove(*file_.node, "user.a", caller())), 0);
  EXPECT_EQ(list(), std::vector<std::string>{"user.b"});
}

TEST_P(Xattrs, UnknownNamespaceIsNotSupported) { EXPECT_EQ(set("nonsense.a", "1"), EOPNOTSUPP); }

TEST_P(Xattrs, FollowTheFileThroughARename) {
  EXPECT_EQ(set("user.a", "1"), 0);
  EXPECT_EQ(rename("file", "renamed"), 0);
  EXPECT_EQ(fs().xattrs()->get(*lookup("renamed").node, "user.a", caller()).value_or(""), "1");
}

}  // namespace
}  // namespace cachefs::conformance
