#include "cli/stats_report.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

#include "cachefs/units.h"
#include "cli/output.h"

namespace cachefs::cli {
namespace {

enum class Unit : uint8_t { count, bytes, ratio };

struct Line {
  std::string_view key;
  std::string_view title;
  Unit unit = Unit::count;
};

constexpr std::array<Line, 21> kLines{{
    {"hits", "block hits"},
    {"misses", "block misses"},
    {"hit_ratio", "hit ratio", Unit::ratio},
    {"metadata_hits", "metadata hits"},
    {"metadata_misses", "metadata misses"},
    {"bytes_used", "memory used", Unit::bytes},
    {"bytes_limit", "memory limit", Unit::bytes},
    {"entries", "blocks cached"},
    {"nodes", "files known"},
    {"names", "names known"},
    {"evictions", "evictions"},
    {"expirations", "expired blocks"},
    {"bypasses", "blocks not cached"},
    {"invalidations", "invalidations"},
    {"stale_answers", "answers while unreachable"},
    {"source_reads", "source reads"},
    {"source_read_bytes", "source bytes read", Unit::bytes},
    {"source_writes", "source writes"},
    {"source_write_bytes", "source bytes written", Unit::bytes},
    {"source_metadata_ops", "source metadata requests"},
    {"source_refused", "refused while unreachable"},
}};

std::string with_thousands(uint64_t value) {
  std::string digits = std::to_string(value);
  for (size_t end = digits.size(); end > 3; end -= 3) digits.insert(end - 3, 1, ',');
  return digits;
}

std::string format_value(const nlohmann::json& value, Unit unit) {
  if (unit == Unit::ratio) return fmt::format("{:.1f} %", value.get<double>() * 100);
  if (unit == Unit::bytes) return format_size(value.get<uint64_t>());
  return with_thousands(value.get<uint64_t>());
}

}  // namespace

nlohmann::json to_json(const CacheStats& stats) {
  return {{"hits", stats.hits},
          {"misses", stats.misses},
          {"hit_ratio", stats.hit_ratio()},
          {"metadata_hits", stats.metadata_hits},
          {"metadata_misses", stats.metadata_misses},
          {"evictions", stats.evictions},
          {"expirations", stats.expirations},
          {"bypasses", stats.bypasses},
          {"invalidations", stats.invalidations},
          {"stale_answers", stats.stale_answers},
          {"source_reads", stats.source_reads},
          {"source_read_bytes", stats.source_read_bytes},
          {"source_writes", stats.source_writes},
          {"source_write_bytes", stats.source_write_bytes},
          {"source_metadata_ops", stats.source_metadata_ops},
          {"source_refused", stats.source_refused},
          {"bytes_used", stats.bytes_used},
          {"bytes_limit", stats.bytes_limit},
          {"entries", stats.entries},
          {"nodes", stats.nodes},
          {"names", stats.names}};
}

std::string format_stats(const nlohmann::json& stats) {
  Rows rows;
  for (const Line& line : kLines) {
    const auto value = stats.find(line.key);
    if (value == stats.end() || !value->is_number()) continue;
    rows.emplace_back(line.title, format_value(*value, line.unit));
  }
  return format_rows(rows, Align::right);
}

}  // namespace cachefs::cli
