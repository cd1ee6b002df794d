// Mounts whose files processes lock.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "mount/lock_process.h"
#include "mount/mount_test_fixture.h"

namespace cachefs::test {

using mount::LockPlace;

struct LockCase {
  const char* name;
  LockPlace place;
  SourceKind source;
};

inline std::string case_name(const testing::TestParamInfo<LockCase>& tested) { return tested.param.name; }

class MountLocksTest : public MountFixture, public testing::WithParamInterface<LockCase> {
 protected:
  void SetUp() override {
    MountFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_EQ(write_file(at("file"), "0123456789"), 0);
    ASSERT_EQ(one_.open(0, at("file")), 0);
    ASSERT_EQ(other_.open(0, at("file")), 0);
  }
  void TearDown() override {
    EXPECT_TRUE(one_.kill());
    EXPECT_TRUE(other_.kill());
    MountFixture::TearDown();
  }
  [[nodiscard]] SourceKind source_kind() const override { return GetParam().source; }
  [[nodiscard]] mount::SessionOptions session_options() const override {
    mount::SessionOptions options;
    options.locks = GetParam().place;
    return options;
  }
  [[nodiscard]] bool at_source() const { return GetParam().place == LockPlace::source; }
  [[nodiscard]] std::string on_source() const { return (source_directory() / "file").string(); }
  void hang(Operation which) {
    fault_.hang_if([which](Operation operation) { return operation == which; });
  }
  bool hangs() { return fault_.wait_for_hanging(1, std::chrono::steady_clock::now() + kDeadline); }

  const std::string obstacle_ = prepare_mounts();  ///< before there are processes that must see the mount
  LockProcess one_;
  LockProcess other_;
};
}  // namespace cachefs::test
