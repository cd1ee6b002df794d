// Whether a source can be reached, for those that know no more than their root's attributes tell.
#pragma once

#include "cachefs/file_system.h"

namespace cachefs {

class RootReachability final : public Reachability {
 public:
  explicit RootReachability(FileSystem& source) : source_(source) {}

  Result<void> check() override {
    const Result<Attributes> answer = source_.attributes(*source_.root(), Caller::self());
    return answer ? Result<void>() : std::unexpected(answer.error());
  }
  [[nodiscard]] uint64_t epoch() const override { return 0; }

 private:
  FileSystem& source_;
};

}  // namespace cachefs
