// What the binary makes of bytes, numbers and places before a person sees them.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <fstream>
#include <limits>

#include "cli/machine.h"
#include "cli/output.h"
#include "cli/run_log.h"
#include "cli/svg_chart.h"
#include "cli/training_view.h"
#include "core/error.h"
#include "test/support/temporary_folder.h"

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

BOOST_AUTO_TEST_CASE(the_line_of_a_step_leaves_out_what_does_not_fit_least_important_first) {
  train::StepReport report;
  report.step = 123456;
  report.steps = 1000000;
  report.loss = 10.12345;
  report.sparse_loss = 10.54321;
  report.learning_rate = 2.9999e-5;
  report.grad_norm = 0.0012345;
  report.tokens_per_second = 123456;
  report.eta_seconds = 200;
  report.memory_live = 60 << 20;
  report.memory_peak = 98 << 20;
  const std::string all =
      "step 123456/1000000  loss 10.1235 (sparse 10.5432)  lr 3e-05  norm 0.00123  123.5k tok/s  MFU n/a  60.0/98.0 "
      "MiB  "
      "ETA 3 min 20 s";
  BOOST_TEST(progress_text(report) == all);
  const std::string narrow = progress_text(report, 79);
  BOOST_TEST(narrow == "step 123456/1000000  loss 10.1235 (sparse 10.5432)  ETA 3 min 20 s");
  std::string before = all;
  for (size_t width = all.size(); width > 0; --width) {
    const std::string text = progress_text(report, width);
    BOOST_TEST((text.size() <= width || text == "step 123456/1000000"), text);
    BOOST_TEST(text.size() <= before.size());
    before = text;
  }
  report.mfu = 0.4321;
  report.memory_peak = int64_t{3} << 30;
  report.sparse_loss.reset();
  const std::string known = progress_text(report);
  BOOST_TEST(known.find("  MFU 43.2%  60.0 MiB/3.0 GiB  ") != std::string::npos, known);
  BOOST_TEST(known.find("sparse") == std::string::npos, known);
}

BOOST_AUTO_TEST_CASE(a_validation_is_a_line) {
  train::ValidationReport report;
  report.step = 100;
  report.loss = 2.12341;
  BOOST_TEST(validation_text(report) == "validation after step 100: loss 2.1234");
  report.sparse_loss = 2.5;
  report.is_best = true;
  BOOST_TEST(validation_text(report) == "validation after step 100: loss 2.1234 (sparse 2.5000), the lowest so far");
}

BOOST_AUTO_TEST_CASE(a_log_keeps_what_came_before_its_file_and_adds_on) {
  const test::TemporaryFolder folder;
  const std::string path = folder.file("log.txt", "earlier\n");
  RunLog log;
  log.line("first");
  log.open(path);
  log.line("second");
  std::ifstream in(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  BOOST_REQUIRE(lines.size() == 3u);
  BOOST_TEST(lines[0] == "earlier");
  BOOST_TEST(lines[1].ends_with("Z first"));
  BOOST_TEST(lines[2].ends_with("Z second"));
  BOOST_TEST(lines[1].size() == std::string("2026-01-02T03:04:05Z first").size());
  RunLog none;
  BOOST_CHECK_NO_THROW(none.open(folder / "nowhere/log.txt"));
  BOOST_CHECK_NO_THROW(none.line("x"));
}

BOOST_AUTO_TEST_CASE(the_dpkg_status_is_read_by_paragraph) {
  const auto names = installed_packages(
      "Package: here\nStatus: install ok installed\nDescription: x\n Package: no\n\n"
      "Package: gone\nStatus: deinstall ok config-files\n\nPackage: half\nStatus: install ok half-installed\n");
  BOOST_TEST(names == std::vector<std::string>{"here"});
}

BOOST_AUTO_TEST_CASE(what_is_missing_is_said_by_purpose_with_the_line_that_mends_it) {
  const MissingPackages missing{true, {"build", "tests"}, {{"libx-dev", "tests"}, {"liby-dev", "tests"}}};
  BOOST_TEST(purposes_text(missing) == "build: nothing is missing\ntests: missing libx-dev, liby-dev\n");
  BOOST_TEST(apt_line(missing.packages).ends_with("apt-get install -y --no-install-recommends libx-dev liby-dev"));
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

BOOST_AUTO_TEST_CASE(a_legend_stays_on_the_page_whatever_the_names) {
  // Widths in DejaVu Sans at 13 px.
  BOOST_TEST(text_width("D=16 W=0 S=0 2.345") >= 146.4);
  BOOST_TEST(text_width("WWWWmmmm") >= 102.0);
  BOOST_TEST(text_width("") == 0.0);
  BOOST_TEST(text_width("\u00e9") == text_width("\u20ac"));  // by characters, not bytes
  for (const size_t length : {1u, 20u, 500u})
    for (const size_t lines : {1u, 3u, 12u}) {
      Chart chart{"", "x", "y", {}};
      for (size_t i = 0; i < lines; ++i)
        chart.series.push_back({concat_text(i, std::string(length, 'W'), "\u00e9 end"), {1, 2}, {2, 2}, i});
      const std::string svg = render_svg(chart);
      const double height = std::stod(svg.substr(svg.find("height=\"") + 8));
      size_t entries = 0;
      std::vector<std::pair<double, double>> spans;  // of the entries in the first row
      for (size_t at = svg.find("<text "); at != std::string::npos; at = svg.find("<text ", at + 1)) {
        const size_t begin = svg.find('>', at) + 1;
        const std::string text = svg.substr(begin, svg.find('<', begin) - begin);
        if (!text.ends_with(" end 2.000")) continue;
        const double x = std::stod(svg.substr(at + 9)), y = std::stod(svg.substr(svg.find("y=\"", at) + 3));
        ++entries;
        BOOST_TEST(x + text_width(text) <= 830);
        BOOST_TEST(y + 4 <= height);
        if (spans.empty() || y == spans[0].second) spans.emplace_back(x, y);
        if (spans.size() > 1 && y == spans[0].second) BOOST_TEST(x > spans[spans.size() - 2].first + text_width(text));
      }
      BOOST_TEST(entries == lines);
    }
}

BOOST_AUTO_TEST_CASE(a_logarithmic_axis_has_powers_of_ten) {
  BOOST_TEST((log_ticks(1, 1e4) == std::vector<double>{1, 10, 100, 1000, 10000}));
  const auto few = log_ticks(3, 70);
  BOOST_REQUIRE(few.size() == 4u);  // 5, 10, 20, 50
  BOOST_TEST(few[0] == 5.0);
  BOOST_TEST(few[3] == 50.0);
  Chart chart{"", "steps", "y", {{"p", {0, 1, 10, 100}, {4, 3, 2, 1}, 0}}};
  chart.x_scale = Scale::log;
  const std::string svg = render_svg(chart);  // without the point at 0, which has no place
  const size_t curve = svg.find("<path d=\"M68.0,");
  BOOST_TEST_REQUIRE(svg.find("clip-path=\"url(#frame)\"", curve) != std::string::npos);
  BOOST_TEST(svg.find("L437.0,") != std::string::npos);  // 10, halfway
  BOOST_TEST(svg.find("L806.0,") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(marks_show_every_point_and_smoothing_can_be_turned_off) {
  Chart chart{"", "x", "y", {{"p", {1, 2, 3}, {1, 5, 2}, 0, Stroke::dotted, true}}};
  BOOST_TEST(count(render_svg(chart), "<circle ") == 4u);  // three and the legend's
  Series noisy{"n", {}, {}, 0};
  for (int i = 0; i < 300; ++i) {
    noisy.x.push_back(i);
    noisy.y.push_back(i % 2);
  }
  chart.series = {noisy};
  BOOST_TEST(count(render_svg(chart), "stroke-opacity") == 1u);
  chart.smoothing = 0;
  BOOST_TEST(count(render_svg(chart), "stroke-opacity") == 0u);
}

// Ticks between them could not be told apart, and there was no end to them.
BOOST_AUTO_TEST_CASE(neighbouring_doubles_are_drawn_as_one_place) {
  for (const double x : {1.0, -3.0, 1e9}) {
    Chart chart;
    chart.series.push_back({.name = "a", .x = {x, std::nextafter(x, 1e30)}, .y = {1, 2}});
    const std::string svg = render_svg(chart);
    BOOST_TEST(svg.size() < 20'000u);
    BOOST_TEST(svg.find("nan") == std::string::npos);
  }
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
  BOOST_TEST(count(svg, "dense 1.500<") == 1u);
  BOOST_TEST(svg.find("nan") == std::string::npos);
  BOOST_TEST(svg.size() < 60000u);  // a point a pixel, not one a step
  BOOST_CHECK_THROW(render_svg({"", "", "", {}}), Error);
  for (const double huge : {1e308, -1e308, 1e38, -1e38, std::numeric_limits<double>::max()}) {
    const std::string drawn =
        render_svg({"one", "x", "y", {{"p", {1, 2, huge, 4, 5}, {huge, 2, 3, -huge, 1}, 0, Stroke::solid}}});
    BOOST_TEST(drawn.find("nan") == std::string::npos, huge);
    BOOST_TEST(drawn.find("inf") == std::string::npos, huge);
  }
  const std::string names = render_svg({"bin\xff", "\xc3", "y\xef\xbf\xbf", {{"\x80p", {1}, {2}, 0, Stroke::solid}}});
  BOOST_TEST(as_utf8(names) == names);
  BOOST_TEST(count(names, "bin\ufffd<") == 2u);
  BOOST_TEST(names.find("y\ufffd<") != std::string::npos);
  BOOST_CHECK_NO_THROW(render_svg({"one", "x", "y", {{"p", {1}, {2}, 0, Stroke::dashed}}}));
}

}  // namespace ratel::cli
