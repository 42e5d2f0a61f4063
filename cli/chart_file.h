#pragma once

#include <string>

#include "cli/svg_chart.h"

namespace ratel::cli {

/// Reads a chart that another program describes:
///   {"title": "...", "x_label": "...", "y_label": "...", "x_scale": "linear" or "log", "x_ticks": [1, 2, 4],
///    "series": [{"name": "...", "x": [...], "y": [...], "stroke": "solid", "dashed" or "dotted", "color": 0}, ...]}
/// Only series is needed; of a series, x and y. Without a color series take them in turn. Every point gets a mark and
/// none is smoothed; a y of null leaves its point out. Throws Error(input) naming the member that is wrong, missing, or
/// of no meaning here.
Chart read_chart(const std::string& path);

}  // namespace ratel::cli
