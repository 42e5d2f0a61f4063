#include "cli/chart_file.h"

#include <algorithm>
#include <array>
#include <limits>
#include <span>
#include <string_view>

#include "core/text.h"
#include "io/json_choice.h"
#include "io/report.h"

namespace ratel::cli {
namespace {

using io::JsonCursor;

constexpr std::array<std::string_view, 6> kChartKeys{"title", "x_label", "y_label", "x_scale", "x_ticks", "series"};
constexpr std::array<std::string_view, 5> kSeriesKeys{"name", "x", "y", "stroke", "color"};
constexpr std::pair<Scale, std::string_view> kScales[]{{Scale::linear, "linear"}, {Scale::log, "log"}};
constexpr std::pair<Stroke, std::string_view> kStrokes[]{
    {Stroke::solid, "solid"}, {Stroke::dashed, "dashed"}, {Stroke::dotted, "dotted"}};
constexpr int64_t kMostColors = 1000;

void check_keys(const JsonCursor& object, std::span<const std::string_view> known) {
  for (const auto& [key, value] : object.value().as_object(object.where())) {
    if (std::ranges::find(known, key) == known.end())
      fail_input(object.where(), "unknown key ", io::in_quotes(key), suggestion(key, known));
  }
}

std::string text_in(const JsonCursor& object, std::string_view key) {
  const auto found = object.find(key);
  return found ? found->as_string() : std::string();
}

/// The choice of the member; the first where there is none.
template <class E>
E choice_in(const JsonCursor& object, std::string_view key, EnumNames<E> names) {
  const auto found = object.find(key);
  return found ? io::as_choice(*found, names) : names.front().first;
}

std::vector<double> numbers_in(const JsonCursor& list) {
  std::vector<double> numbers;
  for (size_t i = 0; i < list.size(); ++i) {
    const JsonCursor one = list[i];
    numbers.push_back(one.value().is_null() ? std::numeric_limits<double>::quiet_NaN() : one.as_double());
  }
  return numbers;
}

Series series_in(const JsonCursor& object, size_t index) {
  check_keys(object, kSeriesKeys);
  Series series;
  series.name = text_in(object, "name");
  series.x = numbers_in(object["x"]);
  series.y = numbers_in(object["y"]);
  if (series.x.size() != series.y.size())
    fail_input(object.where(), "expected as many y as x, found ", series.x.size(), " x and ", series.y.size(), " y");
  series.stroke = choice_in<Stroke>(object, "stroke", kStrokes);
  series.color = index;
  if (const auto color = object.find("color")) {
    const int64_t value = color->as_int();
    if (value < 0 || value >= kMostColors)
      fail_input(color->where(), "expected 0 to ", kMostColors - 1, ", found ", value);
    series.color = static_cast<size_t>(value);
  }
  series.marks = true;
  return series;
}

}  // namespace

Chart read_chart(const std::string& path) {
  const io::Json json = io::read_json_file(path);
  const JsonCursor root(json, path);
  check_keys(root, kChartKeys);
  Chart chart;
  chart.title = text_in(root, "title");
  chart.x_label = text_in(root, "x_label");
  chart.y_label = text_in(root, "y_label");
  chart.x_scale = choice_in<Scale>(root, "x_scale", kScales);
  if (const auto ticks = root.find("x_ticks")) chart.x_ticks = numbers_in(*ticks);
  chart.smoothing = 0;
  const JsonCursor series = root["series"];
  for (size_t i = 0; i < series.size(); ++i) chart.series.push_back(series_in(series[i], i));
  const auto has_point = [&](const Series& one) {
    for (size_t i = 0; i < one.x.size(); ++i)
      if (can_be_drawn(one.x[i], one.y[i], chart.x_scale)) return true;
    return false;
  };
  if (std::ranges::none_of(chart.series, has_point))
    fail_input(series.where(), "expected a series with a point, found none");
  return chart;
}

}  // namespace ratel::cli
