// A place for mounts that nobody else sees, and that goes with the test's process, whatever happens.
#pragma once

#include <string>

namespace cachefs::test {

/// Makes the calling process a mount namespace of its own. Returns why mounts cannot be tested here; empty if
/// they can.
std::string prepare_mounts();

}  // namespace cachefs::test
