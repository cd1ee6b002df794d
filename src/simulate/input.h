// The bytes of a file, decompressed if need be.
#pragma once

#include <cstddef>
#include <cstdio>
#include <memory>
#include <span>
#include <string>

#include "cachefs/error.h"

namespace cachefs::simulate {

class Input {
 public:
  virtual ~Input() = default;
  /// Fills `out` but at the end, where it is short. Errors name the file.
  virtual Result<size_t> read(std::span<std::byte> out) = 0;

  /// A file whose name ends with .zst is decompressed.
  static Result<std::unique_ptr<Input>> open(const std::string& path);
};

}  // namespace cachefs::simulate
