#include "cli/svg_chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>

#include "cli/output.h"
#include "core/error.h"

namespace ratel::cli {
namespace {

// Okabe and Ito's palette, its yellow left out: too pale on white.
constexpr std::array<const char*, 6> kColors = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#000000"};
constexpr double kWidth = 830, kLeft = 68, kRight = 806, kTop = 44, kBottom = 364;
constexpr double kLegendTop = kBottom + 56;
constexpr size_t kMostPoints = 738;  // one a pixel
constexpr double kLargest = 1e38;    // that can be drawn: numbers of an SVG file are single precision
constexpr double kFarOutside = 1e5;  // of the page
constexpr double kRowHeight = 20;
constexpr double kFontSize = 13;
constexpr double kSample = 38;  // the piece of line before a name, and the space after it

struct Line {
  const Series* series;
  std::vector<double> x, y, mean;
};

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();
  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

/// A place on the page for every point of the data.
struct Frame {
  Range x, y;
  Scale x_scale = Scale::linear;
  [[nodiscard]] double along_x(double value) const { return x_scale == Scale::log ? std::log(value) : value; }
  [[nodiscard]] double page_x(double value) const {
    return kLeft + (along_x(value) - along_x(x.low)) / (along_x(x.high) - along_x(x.low)) * (kRight - kLeft);
  }
  [[nodiscard]] double page_y(double value) const {
    const double place = kBottom - (value - y.low) / (y.high - y.low) * (kBottom - kTop);
    return std::clamp(place, -kFarOutside, kFarOutside);
  }
};

/// Text as XML takes it: what is no character of it becomes U+FFFD, or a space.
std::string escaped(std::string_view text) {
  std::string valid = as_utf8(text), result;
  for (const std::string_view none : {"\xef\xbf\xbe", "\xef\xbf\xbf"})
    for (size_t at = valid.find(none); at != std::string::npos; at = valid.find(none, at))
      valid.replace(at, 3, "\ufffd");
  for (const char c : valid) {
    if (c == '&')
      result += "&amp;";
    else if (c == '<')
      result += "&lt;";
    else if (c == '>')
      result += "&gt;";
    else
      result += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return result;
}

/// The points that can be drawn, and at most kMostPoints of them: means over neighbours, which on a logarithmic axis
/// are fewer at its left.
Line prepared(const Series& series, const Chart& chart) {
  check(series.x.size() == series.y.size(), "plot: a series has ", series.x.size(), " x and ", series.y.size(), " y");
  const bool is_log = chart.x_scale == Scale::log;
  std::vector<double> x, y;
  for (size_t i = 0; i < series.x.size(); ++i)
    if (can_be_drawn(series.x[i], series.y[i], chart.x_scale)) {
      x.push_back(series.x[i]);
      y.push_back(series.y[i]);
    }
  const std::vector<double> mean = series.marks ? y : smoothed(y, chart.smoothing.value_or(y.size() / 60));
  Line line{&series, {}, {}, {}};
  const size_t stride = (x.size() + kMostPoints - 1) / kMostPoints;
  for (size_t begin = 0; begin < x.size();) {
    const size_t span = is_log ? std::clamp<size_t>(begin / (kMostPoints / 8), 1, 8 * stride) : stride;
    const size_t end = std::min(begin + span, x.size());
    double sum_x = 0, sum_y = 0, sum_mean = 0;
    for (size_t i = begin; i < end; ++i) sum_x += x[i], sum_y += y[i], sum_mean += mean[i];
    const auto count = static_cast<double>(end - begin);
    line.x.push_back(sum_x / count);
    line.y.push_back(sum_y / count);
    line.mean.push_back(sum_mean / count);
    begin = end;
  }
  return line;
}

Frame frame_of(const std::vector<Line>& lines, Scale x_scale) {
  Frame frame;
  frame.x_scale = x_scale;
  for (const Line& line : lines) {
    for (const double x : line.x) frame.x.include(x);
    for (const double y : line.mean) frame.y.include(y);
  }
  // The start of training falls from ln V; the part worth reading begins after a twentieth of the way.
  const double start = frame.x.low + (frame.x.high - frame.x.low) / 20;
  Range body;
  for (const Line& line : lines)
    for (size_t i = 0; i < line.x.size(); ++i)
      if (line.x[i] >= start) {
        body.include(line.mean[i]);
        body.include(line.y[i]);
      }
  if (x_scale == Scale::linear && body.low < body.high) {
    frame.y.low = std::min(frame.y.low, body.low);  // a learning rate starts low, and keeps its start
    frame.y.high = body.high;
  }
  // What lies as near as doubles do has no round numbers between: it is drawn as one place is.
  const double size = std::max(std::abs(frame.x.low), std::abs(frame.x.high));
  if (frame.x.high - frame.x.low <= size * 1e-9) frame.x.high += std::max(1.0, std::abs(frame.x.high) * 1e-6);
  const double margin = std::max((frame.y.high - frame.y.low) * 0.04, 1e-9 + std::abs(frame.y.high) * 1e-6);
  frame.y.low -= margin;
  frame.y.high += margin;
  return frame;
}

std::string label_of(double value, double step) {
  if (step == 0) return "0";  // a chart file's own tick there
  const double size = std::abs(value);
  if (size >= 1e12) return brief(value / 1e12, 4) + "T";
  if (size >= 1e9) return brief(value / 1e9, 4) + "G";
  if (size >= 1e6) return brief(value / 1e6, 4) + "M";
  if (size >= 1e4) return brief(value / 1e3, 4) + "k";
  if (size > 0 && step < 1e-4) return brief(value, 3);
  return fixed(value, std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9))));
}

std::string text_at(double x, double y, std::string_view anchor, std::string_view text, std::string_view more = {}) {
  return concat_text("<text x=\"", fixed(x, 1), "\" y=\"", fixed(y, 1), "\" text-anchor=\"", anchor, "\"", more, ">",
                     escaped(text), "</text>\n");
}

std::string axes(const Frame& frame, const Chart& chart) {
  std::string out;
  const auto line = [&](double x1, double y1, double x2, double y2, std::string_view color) {
    out += concat_text("<path d=\"M", fixed(x1, 1), ",", fixed(y1, 1), "L", fixed(x2, 1), ",", fixed(y2, 1),
                       "\" stroke=\"", color, "\"/>\n");
  };
  const auto ticks_of = [](const Range& range, int count) {
    std::vector<double> ticks = round_ticks(range.low, range.high, count);
    const double step = ticks.size() > 1 ? ticks[1] - ticks[0] : 1;
    return std::pair(ticks, step);
  };
  const auto [y_ticks, y_step] = ticks_of(frame.y, 6);
  for (const double tick : y_ticks) {
    const double y = frame.page_y(tick);
    line(kLeft, y, kRight, y, "#e4e4e4");
    out += text_at(kLeft - 8, y + 4, "end", label_of(tick, y_step));
  }
  const bool is_log = frame.x_scale == Scale::log;
  auto [x_ticks, x_step] = is_log ? std::pair(log_ticks(frame.x.low, frame.x.high), 0.0) : ticks_of(frame.x, 8);
  if (!chart.x_ticks.empty()) x_ticks = chart.x_ticks;
  for (const double tick : x_ticks) {
    if (!(tick >= frame.x.low && tick <= frame.x.high)) continue;
    const double x = frame.page_x(tick);
    line(x, kBottom, x, kBottom + 5, "#444");
    const bool has_own_digits = is_log || !chart.x_ticks.empty();
    out += text_at(x, kBottom + 19, "middle", label_of(tick, has_own_digits ? std::abs(tick) : x_step));
  }
  line(kLeft, kBottom, kRight, kBottom, "#444");
  line(kLeft, kTop, kLeft, kBottom, "#444");
  out += text_at((kLeft + kRight) / 2, kBottom + 40, "middle", chart.x_label);
  out += text_at(-(kTop + kBottom) / 2, 18, "middle", chart.y_label, " transform=\"rotate(-90)\"");
  out += text_at(kLeft, 26, "start", chart.title, R"( font-size="16" font-weight="600")");
  return out;
}

std::string path_of(const Frame& frame, const std::vector<double>& x, const std::vector<double>& y,
                    std::string_view style) {
  std::string points;
  for (size_t i = 0; i < x.size(); ++i)
    points += concat_text(i == 0 ? "M" : "L", fixed(frame.page_x(x[i]), 1), ",", fixed(frame.page_y(y[i]), 1));
  return concat_text("<path d=\"", points, "\" fill=\"none\" stroke-linejoin=\"round\" clip-path=\"url(#frame)\" ",
                     style, "/>\n");
}

std::string color_of(const Series& series) { return kColors[series.color % kColors.size()]; }

std::string style_of(const Series& series, double width) {
  constexpr std::string_view kDashes[] = {"", R"( stroke-dasharray="7 4")",
                                          R"( stroke-dasharray="0.1 4.5" stroke-linecap="round")"};
  return concat_text("stroke=\"", color_of(series), "\" stroke-width=\"", width, "\"",
                     kDashes[static_cast<size_t>(series.stroke)]);
}

/// Hollow on a broken line, so that what lies below it is seen.
std::string mark_at(double x, double y, const Series& series) {
  const bool is_hollow = series.stroke != Stroke::solid;
  const std::string look =
      is_hollow ? concat_text(R"(white" stroke-width="1.5" stroke=")", color_of(series)) : color_of(series);
  return concat_text("<circle cx=\"", fixed(x, 1), "\" cy=\"", fixed(y, 1), "\" r=\"", is_hollow ? 2.6 : 3.2,
                     "\" fill=\"", look, "\"/>\n");
}

std::string marks_of(const Frame& frame, const Line& line) {
  std::string out;
  for (size_t i = 0; i < line.x.size(); ++i)
    if (const double y = frame.page_y(line.mean[i]); y >= kTop && y <= kBottom)
      out += mark_at(frame.page_x(line.x[i]), y, *line.series);
  return out;
}

/// The text in at most `width` pixels; where it is longer its middle goes, since names differ at both ends.
std::string fitted(const std::string& text, double width) {
  if (text_width(text) <= width) return text;
  std::vector<std::string> characters;
  for (const char c : text) {
    if (characters.empty() || (static_cast<unsigned char>(c) & 0xc0u) != 0x80u) characters.emplace_back();
    characters.back() += c;
  }
  std::string result;
  for (size_t kept = characters.size() - 1; kept > 0; --kept) {
    result.clear();
    for (size_t i = 0; i < kept / 2; ++i) result += characters[i];
    result += "\u2026";
    for (size_t i = characters.size() - (kept - kept / 2); i < characters.size(); ++i) result += characters[i];
    if (text_width(result) <= width) break;
  }
  return result;
}

struct Legend {
  std::vector<std::string> names;
  double column = 0;  // its width
  size_t columns = 1, rows = 1;
};

Legend legend_of(const std::vector<Line>& lines) {
  constexpr double kGap = 18, kRoom = kRight - kLeft;
  Legend legend;
  double longest = 0;
  for (const Line& line : lines) {
    const double last = line.mean.back(), size = std::abs(last);
    const std::string value = " " + (size >= 0.01 && size < 1e4 ? fixed(last, 3) : brief(last, 4));
    legend.names.push_back(fitted(line.series->name, kRoom - kSample - text_width(value)) + value);
    longest = std::max(longest, text_width(legend.names.back()));
  }
  legend.column = kSample + longest + kGap;
  legend.columns = std::clamp<size_t>(static_cast<size_t>((kRoom + kGap) / legend.column), 1, lines.size());
  legend.rows = (lines.size() + legend.columns - 1) / legend.columns;
  return legend;
}

std::string drawn(const Legend& legend, const std::vector<Line>& lines) {
  std::string out;
  for (size_t i = 0; i < lines.size(); ++i) {
    const size_t column = i / legend.rows, row = i % legend.rows;
    const double x = kLeft + legend.column * static_cast<double>(column);
    const double y = kLegendTop + kRowHeight * (static_cast<double>(row) + 0.5);
    out += concat_text("<path d=\"M", fixed(x, 1), ",", fixed(y, 1), "h30\" ", style_of(*lines[i].series, 2.2), "/>\n");
    if (lines[i].series->marks) out += mark_at(x + 15, y, *lines[i].series);
    out += text_at(x + kSample, y + 4, "start", legend.names[i]);
  }
  return out;
}

}  // namespace

bool can_be_drawn(double x, double y, Scale x_scale) {
  // No NaN passes this.
  return std::abs(x) <= kLargest && std::abs(y) <= kLargest && (x_scale == Scale::linear || x > 0);
}

std::vector<double> round_ticks(double low, double high, int count) {
  const double raw = (high - low) / std::max(1, count);
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  const double ratio = raw / power;
  const double step = power * (ratio <= 1 ? 1 : ratio <= 2 ? 2 : ratio <= 5 ? 5 : 10);
  std::vector<double> ticks;
  const double slack = step * 1e-9;
  for (double i = std::ceil((low - slack) / step); i * step <= high + slack; ++i) ticks.push_back(i * step);
  return ticks;
}

std::vector<double> log_ticks(double low, double high) {
  std::vector<double> ticks;
  const bool is_short = high < low * 1e3;
  for (int power = static_cast<int>(std::floor(std::log10(low))); std::pow(10.0, power) <= high; ++power)
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double tick = factor * std::pow(10.0, power);
      if ((factor == 1 || is_short) && tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) ticks.push_back(tick);
    }
  return ticks;
}

std::vector<double> smoothed(const std::vector<double>& y, size_t reach) {
  std::vector<double> sums = {0};
  for (const double value : y) sums.push_back(sums.back() + value);
  std::vector<double> result;
  for (size_t i = 0; i < y.size(); ++i) {
    const size_t here = std::min(reach, i), begin = i - here, end = std::min(i + here + 1, y.size());
    result.push_back((sums[end] - sums[begin]) / static_cast<double>(end - begin));
  }
  return result;
}

double text_width(std::string_view text) {
  constexpr std::string_view kWidest = "mW@%", kWide = "w=+<>~#&^";
  double ems = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xc0u) == 0x80u) continue;  // inside a character
    const bool is_wide = (c >= 'A' && c <= 'Z') || kWide.find(c) != std::string_view::npos;
    ems += byte >= 0x80 || kWidest.find(c) != std::string_view::npos ? 1.0 : is_wide ? 0.87 : 0.64;
  }
  return ems * kFontSize;
}

std::string render_svg(const Chart& chart) {
  std::vector<Line> lines;
  for (const Series& series : chart.series)
    if (Line line = prepared(series, chart); !line.x.empty()) lines.push_back(std::move(line));
  check(!lines.empty(), "plot: there is no point to draw");
  const Frame frame = frame_of(lines, chart.x_scale);
  const Legend legend = legend_of(lines);
  const double height = kLegendTop + kRowHeight * static_cast<double>(legend.rows) + 10;

  std::string out = concat_text(
      R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 )", kWidth, " ", height, "\" width=\"", kWidth,
      R"(" height=")", height, R"(" font-family="system-ui, 'DejaVu Sans', sans-serif" font-size=")", kFontSize,
      "\" fill=\"#222\">\n", "<title>", escaped(chart.title), "</title>\n",
      R"(<rect width="100%" height="100%" fill="#fff"/>)", "\n", R"(<clipPath id="frame"><rect x=")", kLeft, "\" y=\"",
      kTop, "\" width=\"", kRight - kLeft, "\" height=\"", kBottom - kTop, "\"/></clipPath>\n");
  out += axes(frame, chart);
  for (const Line& line : lines)
    if (line.mean != line.y)
      out +=
          path_of(frame, line.x, line.y, concat_text("stroke=\"", color_of(*line.series), R"(" stroke-opacity="0.3")"));
  for (const Line& line : lines) {
    out += path_of(frame, line.x, line.mean, style_of(*line.series, 2.2));
    if (line.series->marks) out += marks_of(frame, line);
  }
  return out + drawn(legend, lines) + "</svg>\n";
}

}  // namespace ratel::cli
