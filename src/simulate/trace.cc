#include "simulate/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>
#include <unordered_map>

#include "base/hash.h"
#include "simulate/input.h"

namespace cachefs::simulate {
namespace {

/// Numbers objects by their keys' hashes: two keys of one hash would be one object, which of a billion keys
/// happens once in forty traces.
class TraceBuilder {
 public:
  explicit TraceBuilder(std::string name) { trace_.name = std::move(name); }
  /// False: those were too many.
  [[nodiscard]] bool add(uint64_t key_hash, uint32_t size) {
    if (trace_.accesses.size() == kAccessesMax) return false;
    size = std::max<uint32_t>(size, 1);
    const auto [at, is_new] = numbers_.try_emplace(key_hash, trace_.objects());
    if (is_new) {
      trace_.key_hashes.push_back(key_hash);
      trace_.object_bytes += size;
    }
    trace_.accesses.push_back({.object = at->second, .size = size});
    return true;
  }
  void note_sizes() { trace_.has_sizes = true; }
  Trace take() { return std::move(trace_); }

 private:
  Trace trace_;
  std::unordered_map<uint64_t, uint32_t> numbers_;
};

std::unexpected<Error> wrong(const std::string& path, std::string_view what) {
  return fail(std::errc::invalid_argument, fmt::format("'{}': {}", path, what));
}

std::unexpected<Error> too_many(const std::string& path) {
  return wrong(path, fmt::format("has more than {} accesses; cut it into parts", kAccessesMax));
}

template <typename T>
T little_endian(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return std::endian::native == std::endian::little ? value : std::byteswap(value);
}

Result<void> read_oracle_general(const std::string& path, Input& input, TraceBuilder& trace) {
  constexpr size_t kRecord = 24;
  std::vector<std::byte> buffer(kRecord * 4096);
  for (uint64_t records = 0;;) {
    const Result<size_t> size = input.read(buffer);
    if (!size) return std::unexpected(size.error());
    if (*size % kRecord != 0)
      return wrong(path, fmt::format("ends within record {}; each has {} bytes",
                                     records + *size / kRecord + 1, kRecord));
    if (*size == 0) return {};
    for (size_t at = 0; at < *size; at += kRecord) {
      const std::byte* record = &buffer[at];
      trace.note_sizes();
      if (!trace.add(mix64(little_endian<uint64_t>(record + 4)), little_endian<uint32_t>(record + 12)))
        return too_many(path);
    }
    records += *size / kRecord;
  }
}

using Fields = std::vector<std::string_view>;

std::string_view without_blanks(std::string_view text) {
  constexpr std::string_view kBlanks = " \t";
  text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
  const size_t last = text.find_last_not_of(kBlanks);
  return last == std::string_view::npos ? text : text.substr(0, last + 1);
}

Fields split(std::string_view line, bool at_commas) {
  const std::string_view between = at_commas ? "," : " \t";
  Fields fields;
  while (!line.empty()) {
    const size_t end = std::min(line.find_first_of(between), line.size());
    if (at_commas || end != 0) fields.push_back(without_blanks(line.substr(0, end)));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return fields;
}

/// Which fields count.
struct Columns {
  static constexpr size_t kNone = std::numeric_limits<size_t>::max();
  size_t key = 0;
  size_t size = kNone;
};

std::optional<Columns> columns_of_names(const Fields& names) {
  Columns columns{.key = names.size()};
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == "key" || names[i] == "id" || names[i] == "object") columns.key = std::min(columns.key, i);
    if (names[i] == "size") columns.size = i;
  }
  return columns.key < names.size() ? std::optional(columns) : std::nullopt;
}

std::optional<uint32_t> number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return static_cast<uint32_t>(std::min<uint64_t>(value, std::numeric_limits<uint32_t>::max()));
}

class LineReader {
 public:
  LineReader(const std::string& path, bool at_commas, TraceBuilder& trace)
      : path_(path), at_commas_(at_commas), trace_(trace) {}

  Result<void> take(std::string_view line) {
    constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
    if (line_ == 0 && line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
    ++line_;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.front() == '#') return {};
    const Fields fields = split(line, at_commas_);
    if (fields.empty()) return {};
    if (at_commas_ && !std::exchange(begun_, true)) {
      named_ = columns_of_names(fields);
      if (named_) return {};
    }
    return add(fields);
  }

 private:
  Result<void> add(const Fields& fields) {
    if (!named_ && fields.size() != 1 && fields.size() != 3)
      return wrong_line(fmt::format("has {} fields; give a key, or time, key and size", fields.size()));
    const Columns columns = named_ ? *named_ : fields.size() == 3 ? Columns{.key = 1, .size = 2} : Columns{};
    if (columns.key >= fields.size() || (columns.size != Columns::kNone && columns.size >= fields.size()))
      return wrong_line(fmt::format("has {} fields, fewer than the first line names", fields.size()));
    const std::optional<uint32_t> size = columns.size == Columns::kNone ? 1 : number(fields[columns.size]);
    if (!size) return wrong_line(fmt::format("'{}' is not a size in bytes", fields[columns.size]));
    if (columns.size != Columns::kNone) trace_.note_sizes();
    return trace_.add(hash_bytes(fields[columns.key]), *size) ? Result<void>() : too_many(path_);
  }
  std::unexpected<Error> wrong_line(const std::string& what) const {
    return wrong(path_, fmt::format("line {}: {}", line_, what));
  }

  const std::string& path_;
  const bool at_commas_;
  TraceBuilder& trace_;
  std::optional<Columns> named_;
  uint64_t line_ = 0;
  bool begun_ = false;
};

Result<void> read_lines(const std::string& path, Input& input, LineReader reader) {
  constexpr size_t kLineMax = 1 << 20;
  std::vector<std::byte> buffer(1 << 16);
  std::string rest;
  while (true) {
    const Result<size_t> size = input.read(buffer);
    if (!size) return std::unexpected(size.error());
    rest.append(reinterpret_cast<const char*>(buffer.data()), *size);
    size_t begin = 0;
    for (size_t end = rest.find('\n'); end != std::string::npos; end = rest.find('\n', begin)) {
      const Result<void> taken = reader.take(std::string_view(rest).substr(begin, end - begin));
      if (!taken) return taken;
      begin = end + 1;
    }
    rest.erase(0, begin);
    if (rest.size() > kLineMax) return wrong(path, "has a line of more than 1 MiB: it is no text");
    if (*size == 0) return rest.empty() ? Result<void>() : reader.take(rest);
  }
}

/// Takes the ending away, if it is there.
bool strip(std::string& name, std::string_view ending) {
  if (!name.ends_with(ending)) return false;
  name.resize(name.size() - ending.size());
  return true;
}

}  // namespace

Result<Trace> read_trace(const std::string& path) {
  Result<std::unique_ptr<Input>> input = Input::open(path);
  if (!input) return std::unexpected(input.error());
  std::string name = path.substr(path.rfind('/') + 1);
  strip(name, ".zst");
  strip(name, ".bin");
  const bool oracle_general = strip(name, ".oracleGeneral");
  const bool csv = !oracle_general && strip(name, ".csv");
  TraceBuilder trace(name);
  const Result<void> read = oracle_general ? read_oracle_general(path, **input, trace)
                                           : read_lines(path, **input, LineReader(path, csv, trace));
  if (!read) return std::unexpected(read.error());
  Trace result = trace.take();
  if (result.accesses.empty()) return wrong(path, "has no accesses");
  return result;
}

}  // namespace cachefs::simulate
