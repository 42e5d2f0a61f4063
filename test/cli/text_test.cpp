// What the binary makes of bytes, numbers and places before a person sees them.
#include <boost/test/unit_test.hpp>
#include <cmath>

#include "cli/machine.h"
#include "cli/output.h"
#include "cli/svg_chart.h"
#include "core/error.h"

namespace ratel::cli {
namespace {

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

}  // namespace

BOOST_AUTO_TEST_CASE(what_is_no_utf8_is_replaced_once_a_byte) {
  const std::string r = "\ufffd";
  for (const std::string text : {"plain", "caf\u00e9 \u20ac \U0001f9a1!", "\u0080\u07ff\u0800\ud7ff\ue000\U0010ffff"})
    BOOST_TEST(as_utf8(text) == text);
  BOOST_TEST(as_utf8("a\xff"
                     "b") == "a" + r + "b");
  BOOST_TEST(as_utf8("\xe2\x28") == r + "(");
  BOOST_TEST(as_utf8("\x80\x80") == r + r);
  BOOST_TEST(as_utf8("\xc0\x80") == r + r);                  // overlong
  BOOST_TEST(as_utf8("\xed\xa0\x80") == r + r + r);          // a surrogate
  BOOST_TEST(as_utf8("\xf4\x90\x80\x80") == r + r + r + r);  // beyond U+10FFFF
  BOOST_TEST(as_utf8("end\xe2\x82") == "end" + r + r);
}

BOOST_AUTO_TEST_CASE(numbers_are_written_for_people) {
  BOOST_TEST(with_commas(0) == "0");
  BOOST_TEST(with_commas(-1234567) == "-1,234,567");
  BOOST_TEST(with_commas(999) == "999");
  BOOST_TEST(human_bytes(1023) == "1023 B");
  BOOST_TEST(human_bytes(1536) == "1.5 KiB");
  BOOST_TEST(human_bytes(int64_t{5} << 40) == "5.0 TiB");
  BOOST_TEST(human_seconds(59.4) == "59 s");
  BOOST_TEST(human_seconds(200) == "3 min 20 s");
  BOOST_TEST(human_seconds(90000) == "1 d 1 h");
  BOOST_TEST(human_seconds(std::nan("")) == "?");
}

BOOST_AUTO_TEST_CASE(the_dpkg_status_is_read_by_paragraph) {
  const auto names = installed_packages(
      "Package: here\nStatus: install ok installed\nDescription: x\n Package: no\n\n"
      "Package: gone\nStatus: deinstall ok config-files\n\nPackage: half\nStatus: install ok half-installed\n");
  BOOST_TEST(names == std::vector<std::string>{"here"});
}

BOOST_AUTO_TEST_CASE(ticks_are_round_and_inside) {
  BOOST_TEST((round_ticks(0, 10, 5) == std::vector<double>{0, 2, 4, 6, 8, 10}));
  const auto ticks = round_ticks(1.31, 2.87, 6);
  BOOST_TEST(ticks.front() >= 1.31);
  BOOST_TEST(ticks.back() <= 2.87);
  BOOST_TEST(ticks.size() >= 3u);
  for (const double tick : ticks) BOOST_TEST(std::abs(tick * 2 - std::round(tick * 2)) < 1e-9);
}

BOOST_AUTO_TEST_CASE(smoothing_keeps_constants_lines_and_the_first_point) {
  BOOST_TEST((smoothed({2, 2, 2, 2}, 2) == std::vector<double>{2, 2, 2, 2}));
  BOOST_TEST((smoothed({0, 1, 2, 3, 4}, 1) == std::vector<double>{0, 1, 2, 3, 3.5}));
  BOOST_TEST(smoothed({}, 3).empty());
}

BOOST_AUTO_TEST_CASE(a_legend_holds_its_text) {
  // Widths in DejaVu Sans at 13 px.
  BOOST_TEST(text_width("D=16 W=0 S=0 2.345") >= 146.4);
  BOOST_TEST(text_width("WWWWmmmm") >= 102.0);
  BOOST_TEST(text_width("") == 0.0);
  BOOST_TEST(text_width("\u00e9") == text_width("\u20ac"));  // by characters, not bytes
  const std::string svg = render_svg({"", "x", "y", {{"WWWWmmmm", {1, 2}, {2, 2}, 0, Stroke::solid}}});
  const size_t box = svg.find("<rect x=\"", svg.find("clip-path=\"url"));
  BOOST_REQUIRE(box != std::string::npos);
  const double width = std::stod(svg.substr(svg.find("width=\"", box) + 7));
  BOOST_TEST(width >= 48 + text_width("WWWWmmmm 2.000"));
}

BOOST_AUTO_TEST_CASE(a_chart_draws_every_series_within_its_frame) {
  Chart chart{"a < b & c", "steps", "loss", {}};
  for (size_t k = 0; k < 2; ++k) {
    Series series{k == 0 ? "dense" : "sparse", {}, {}, k, Stroke::solid};
    for (int step = 1; step <= 5000; ++step) {
      series.x.push_back(step);
      series.y.push_back(step == 7 ? std::nan("") : 1.5 + 4 * std::exp(-step / 100.0));
    }
    chart.series.push_back(series);
  }
  const std::string svg = render_svg(chart);
  BOOST_TEST(svg.starts_with("<svg "));
  BOOST_TEST(svg.ends_with("</svg>\n"));
  BOOST_TEST(count(svg, "clip-path=\"url(#frame)\"") == 4u);  // pale and strong
  BOOST_TEST(count(svg, "a &lt; b &amp; c") == 2u);           // heading and <title>
  BOOST_TEST(count(svg, "dense 1.500") == 1u);
  BOOST_TEST(svg.find("nan") == std::string::npos);
  BOOST_TEST(svg.size() < 60000u);  // a point a pixel, not one a step
  BOOST_CHECK_THROW(render_svg({"", "", "", {}}), Error);
  BOOST_CHECK_NO_THROW(render_svg({"one", "x", "y", {{"p", {1}, {2}, 0, Stroke::dashed}}}));
}

}  // namespace ratel::cli
