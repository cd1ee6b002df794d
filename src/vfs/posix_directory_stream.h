// Reads a directory of a PosixFs.
#pragma once

#include <memory>
#include <vector>

#include "cachefs/file_system.h"
#include "vfs/posix_attributes.h"
#include "vfs/posix_descriptor.h"

namespace cachefs::posix {

/// `fd`: a directory of `device`, open for reading, at its start.
std::unique_ptr<DirectoryStream> make_directory_stream(UniqueFd fd, const InodeNumbers& numbers,
                                                       uint64_t device);

}  // namespace cachefs::posix
