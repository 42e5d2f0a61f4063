#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ratel::cli {

enum class Stroke { solid, dashed, dotted };
enum class Scale { linear, log };

/// One line of a chart. Points that cannot be drawn are left out.
struct Series {
  std::string name;
  std::vector<double> x, y;
  size_t color = 0;  ///< index into a palette that colour-blind readers can tell apart
  Stroke stroke = Stroke::solid;
  bool marks = false;  ///< a dot on every point, and no smoothing: for series of few points
};

struct Chart {
  std::string title, x_label, y_label;
  std::vector<Series> series;
  Scale x_scale = Scale::linear;
  std::vector<double> x_ticks = {};      ///< those of them within the axis; empty: round numbers
  std::optional<size_t> smoothing = {};  ///< points to either side of a running mean; 0: none; else a sixtieth of all
};

/// Whether a point has a place: both numbers finite and within single precision, and x above 0 on a logarithmic axis.
bool can_be_drawn(double x, double y, Scale x_scale);

/// A line chart as an SVG document, 830 wide: axes with round ticks, every point pale and its running mean strong, and
/// below the axes a legend in as many columns as fit, with the last value of each line; the document grows with it, and
/// names too long for the page are cut. A steep start is cut off at the top, so that the rest can be read. Long series
/// are drawn in at most a point a pixel. Throws Error(usage) where no series has a point.
std::string render_svg(const Chart& chart);

/// About `count` round numbers (1, 2 or 5 times a power of ten apart) that lie within [low, high].
std::vector<double> round_ticks(double low, double high, int count);
/// The same for a logarithmic axis: powers of ten, and 2 and 5 times these where there are few. low > 0.
std::vector<double> log_ticks(double low, double high);

/// The mean of y over the points up to `reach` to either side, fewer at the start, where as many are taken to the right
/// as there are to the left: a steep start is not drawn out.
std::vector<double> smoothed(const std::vector<double>& y, size_t reach);

/// Pixels that a text of 13 px takes at most, by the widths of DejaVu Sans, the widest of the fonts that are asked for.
double text_width(std::string_view text);

}  // namespace ratel::cli
