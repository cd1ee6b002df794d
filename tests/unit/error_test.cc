// Errors: values that always are one errno, and tell what was being done.
#include "cachefs/error.h"

#include <gtest/gtest.h>

namespace cachefs {
namespace {

TEST(Error, IsNeverSuccess) {
  EXPECT_EQ(Error::from_errno(0).to_errno(), EIO);
  EXPECT_EQ(Error::from_errno(-5).to_errno(), EIO);
  EXPECT_EQ(Error::from_errno(ESTALE).to_errno(), ESTALE);
}

TEST(Error, TellsWhatWasBeingDone) {
  const Error error(std::errc::no_such_file_or_directory, "open 'a/b'");
  EXPECT_EQ(error.message(), "open 'a/b': No such file or directory");
  EXPECT_EQ(Error(std::errc::io_error).message(), "Input/output error");
}

TEST(Error, KeepsItsCodeWhenMoreIsTold) {
  const Error error = Error(std::errc::permission_denied, "open 'b'").during("copy 'a'");
  EXPECT_TRUE(error.is(std::errc::permission_denied));
  EXPECT_NE(error.message().find("copy 'a'"), std::string::npos);
  EXPECT_NE(error.message().find("open 'b'"), std::string::npos);
  EXPECT_LT(error.message().find("copy 'a'"), error.message().find("open 'b'"));
}

TEST(Error, AResultHoldsAValueOrAnError) {
  const Result<int> good = 5;
  const Result<int> bad = fail_errno(ENOSPC, "write");
  EXPECT_EQ(good.value_or(0), 5);
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code(), std::errc::no_space_on_device);
}

}  // namespace
}  // namespace cachefs
