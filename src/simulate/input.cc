#include "simulate/input.h"

#include <fmt/format.h>
#include <zstd.h>

#include <cerrno>
#include <vector>

namespace cachefs::simulate {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }  // nothing was written
};
using OpenFile = std::unique_ptr<std::FILE, CloseFile>;

class PlainInput final : public Input {
 public:
  PlainInput(std::string path, OpenFile file) : path_(std::move(path)), file_(std::move(file)) {}
  Result<size_t> read(std::span<std::byte> out) override {
    const size_t size = std::fread(out.data(), 1, out.size(), file_.get());
    if (size < out.size() && std::ferror(file_.get()) != 0)
      return fail_errno(errno, fmt::format("reading '{}'", path_));
    return size;
  }

 private:
  const std::string path_;
  const OpenFile file_;
};

struct FreeStream {
  void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
};

class ZstdInput final : public Input {
 public:
  ZstdInput(std::string path, std::unique_ptr<Input> packed)
      : path_(std::move(path)), packed_(std::move(packed)), buffer_(ZSTD_DStreamInSize()) {}

  Result<size_t> read(std::span<std::byte> out) override {
    ZSTD_outBuffer to{.dst = out.data(), .size = out.size(), .pos = 0};
    while (to.pos < to.size) {
      if (from_.pos == from_.size) {
        const Result<size_t> size = packed_->read(buffer_);
        if (!size) return size;
        if (*size == 0) break;
        from_ = {.src = buffer_.data(), .size = *size, .pos = 0};
      }
      const size_t left = ZSTD_decompressStream(stream_.get(), &to, &from_);
      if (ZSTD_isError(left) != 0) {
        return fail(std::errc::invalid_argument,
                    fmt::format("'{}' is not what zstd has made: {}", path_, ZSTD_getErrorName(left)));
      }
      whole_ = left == 0;
    }
    if (to.pos < to.size && !whole_)
      return fail(std::errc::invalid_argument, fmt::format("'{}' ends in the middle", path_));
    return to.pos;
  }

 private:
  const std::string path_;
  const std::unique_ptr<Input> packed_;
  std::vector<std::byte> buffer_;
  ZSTD_inBuffer from_{};
  const std::unique_ptr<ZSTD_DStream, FreeStream> stream_{ZSTD_createDStream()};
  bool whole_ = true;  ///< nothing of a frame is missing
};

}  // namespace

Result<std::unique_ptr<Input>> Input::open(const std::string& path) {
  OpenFile file(std::fopen(path.c_str(), "rbe"));
  if (!file) return fail_errno(errno, fmt::format("opening '{}'", path));
  auto plain = std::make_unique<PlainInput>(path, std::move(file));
  if (!path.ends_with(".zst")) return plain;
  return std::make_unique<ZstdInput>(path, std::move(plain));
}

}  // namespace cachefs::simulate
