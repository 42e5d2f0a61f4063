#pragma once

#include <string>
#include <vector>

namespace ratel::cli {

enum class Stroke { solid, dashed };

/// One line of a chart. Points with a y that is not finite are left out.
struct Series {
  std::string name;
  std::vector<double> x, y;
  size_t color = 0;  ///< index into a palette that colour-blind readers can tell apart
  Stroke stroke = Stroke::solid;
};

struct Chart {
  std::string title, x_label, y_label;
  std::vector<Series> series;
};

/// A line chart as an SVG document of 800 x 420: axes with ticks, a legend with the last value of each line, every
/// point pale and its running mean strong. A steep start is cut off at the top, so that the rest can be read.
/// Long series are drawn in at most a point a pixel. Throws Error(usage) where no series has a point.
std::string render_svg(const Chart& chart);

/// About `count` round numbers (1, 2 or 5 times a power of ten apart) that lie within [low, high].
std::vector<double> round_ticks(double low, double high, int count);

/// The mean of y over the points up to `reach` to either side, fewer at the start, where as many are taken to the right
/// as there are to the left: a steep start is not drawn out.
std::vector<double> smoothed(const std::vector<double>& y, size_t reach);

/// Pixels that a text of 13 px takes at most, by the widths of DejaVu Sans, the widest of the fonts that are asked for.
double text_width(std::string_view text);

}  // namespace ratel::cli
