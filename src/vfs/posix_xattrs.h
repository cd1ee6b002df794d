// Extended attributes of a PosixFs.
#pragma once

#include "vfs/posix_source.h"

namespace cachefs::posix {

/// Works on every kind of file, symlinks included, by paths through /proc. Callers other than root see and
/// change neither "trusted." nor set "security." attributes: the kernel would allow it to a thread that acts
/// as somebody else, for CAP_SYS_ADMIN stays with the thread.
class PosixXattrs final : public XattrStore {
 public:
  explicit PosixXattrs(PosixSource& source) : source_(source) {}

  Result<std::string> get(Node& node, std::string_view name, const Caller& caller) override;
  Result<std::vector<std::string>> list(Node& node, const Caller& caller) override;
  Result<void> set(Node& node, std::string_view name, std::string_view value, XattrMode mode,
                   const Caller& caller) override;
  Result<void> remove(Node& node, std::string_view name, const Caller& caller) override;

 private:
  PosixSource& source_;
};

}  // namespace cachefs::posix
