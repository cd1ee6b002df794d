#include "simulate/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <string_view>

#include "cachefs/units.h"

namespace cachefs::simulate {
namespace {

constexpr double kWidth = 720;
constexpr double kHeight = 400;
constexpr double kLeft = 60;
constexpr double kRight = 150;  // the legend
constexpr double kTop = 36;
constexpr double kBottom = 44;

/// Told apart by those who see few colours too: dashes change where colours begin anew.
constexpr std::array<std::string_view, 8> kColours{"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                   "#56b4e9", "#e69f00", "#000000", "#999999"};
constexpr std::array<std::string_view, 2> kDashes{"none", "6 3"};

std::string escape(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '<')
      escaped += "&lt;";
    else if (c == '&')
      escaped += "&amp;";
    else
      escaped += c;
  }
  return escaped;
}

std::string size_text(uint64_t size, Unit unit) {
  return unit == Unit::bytes ? format_size(size) : fmt::format("{}", size);
}

/// Where sizes and ratios are in a chart.
class Axes {
 public:
  explicit Axes(std::span<const PolicyRun> runs) {
    for (const PolicyRun& run : runs) {
      sizes_.insert(run.size);
      highest_ = std::max(highest_, run.misses.ratio());
      lowest_ = std::min(lowest_, run.misses.ratio());
    }
    // Whole tenths, so that the lines have short names.
    lowest_tenths_ = static_cast<int>(std::floor(lowest_ * 10));
    highest_tenths_ = std::max(static_cast<int>(std::ceil(highest_ * 10)), lowest_tenths_ + 1);
    lowest_ = lowest_tenths_ / 10.0;
    highest_ = highest_tenths_ / 10.0;
  }
  [[nodiscard]] double x(uint64_t size) const {
    const double from = std::log(static_cast<double>(*sizes_.begin()));
    const double to = std::log(static_cast<double>(*sizes_.rbegin()));
    const double at = to > from ? (std::log(static_cast<double>(size)) - from) / (to - from) : 0.5;
    return kLeft + at * (kWidth - kLeft - kRight);
  }
  [[nodiscard]] double y(double ratio) const {
    return kTop + (highest_ - ratio) / (highest_ - lowest_) * (kHeight - kTop - kBottom);
  }
  [[nodiscard]] const std::set<uint64_t>& sizes() const { return sizes_; }
  [[nodiscard]] int lowest_tenths() const { return lowest_tenths_; }
  [[nodiscard]] int highest_tenths() const { return highest_tenths_; }

 private:
  std::set<uint64_t> sizes_;
  double lowest_ = 1;
  double highest_ = 0;
  int lowest_tenths_ = 0;
  int highest_tenths_ = 0;
};

std::string grid(const Axes& axes, Unit unit) {
  std::string svg;
  const double right = kWidth - kRight;
  for (int tenths = axes.lowest_tenths(); tenths <= axes.highest_tenths(); ++tenths) {
    const double ratio = tenths / 10.0;
    svg += fmt::format("<line x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#ddd\"/>\n", kLeft,
                       right, axes.y(ratio), axes.y(ratio));
    svg += fmt::format("<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{:.1f}</text>\n", kLeft - 6,
                       axes.y(ratio) + 4, ratio);
  }
  double last = -1e9;
  for (const uint64_t size : axes.sizes()) {
    if (axes.x(size) - last < 60) continue;
    last = axes.x(size);
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", last,
                       kHeight - kBottom + 18, size_text(size, unit));
  }
  return svg;
}

std::string curve(const Axes& axes, const std::string& policy, std::span<const PolicyRun> runs,
                  size_t number) {
  const std::string_view colour = kColours[number % kColours.size()];
  const std::string_view dash = kDashes[number / kColours.size() % kDashes.size()];
  std::map<uint64_t, double> points;
  for (const PolicyRun& run : runs) {
    if (run.policy == policy) points[run.size] = run.misses.ratio();
  }
  std::string line;
  for (const auto& [size, ratio] : points) line += fmt::format("{:.1f},{:.1f} ", axes.x(size), axes.y(ratio));
  std::string svg = fmt::format(
      "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\" stroke-dasharray=\"{}\"/>\n",
      line, colour, dash);
  for (const auto& [size, ratio] : points)
    svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.5\" fill=\"{}\"/>\n", axes.x(size),
                       axes.y(ratio), colour);
  const double y = kTop + 8 + 18 * static_cast<double>(number);
  const double x = kWidth - kRight + 12;
  svg += fmt::format(
      "<line x1=\"{0}\" x2=\"{1}\" y1=\"{2}\" y2=\"{2}\" stroke=\"{3}\" stroke-width=\"1.5\" "
      "stroke-dasharray=\"{4}\"/>\n<text x=\"{5}\" y=\"{6}\">{7}</text>\n",
      x, x + 24, y, colour, dash, x + 30, y + 4, escape(policy));
  return svg;
}

std::string chart(const Curves& curves, Unit unit) {
  const Axes axes(curves.runs);
  std::string svg = fmt::format("<text x=\"{}\" y=\"20\" font-size=\"15\">{}</text>\n{}", kLeft,
                                escape(curves.trace), grid(axes, unit));
  svg += fmt::format("<text x=\"{}\" y=\"{}\">cache size ({}); upwards: share of requests that miss</text>\n",
                     kLeft, kHeight - 8, unit == Unit::objects ? "objects" : "bytes");
  std::vector<std::string> policies;
  for (const PolicyRun& run : curves.runs) {
    if (std::ranges::find(policies, run.policy) == policies.end()) policies.push_back(run.policy);
  }
  for (size_t i = 0; i < policies.size(); ++i) svg += curve(axes, policies[i], curves.runs, i);
  return svg;
}

}  // namespace

std::string plot(std::span<const Curves> charts, Unit unit) {
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
      kWidth, kHeight * static_cast<double>(charts.size()));
  for (size_t i = 0; i < charts.size(); ++i) {
    svg += fmt::format("<g transform=\"translate(0 {})\">\n{}</g>\n", kHeight * static_cast<double>(i),
                       chart(charts[i], unit));
  }
  return svg + "</svg>\n";
}

}  // namespace cachefs::simulate
