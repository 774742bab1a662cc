// Goal: the page's figures are the journal's sums, rounded once, and its charts hold at every size.
// Method: reports made by hand for the edges (nothing metered, more payers than colours, years of hours), and one from
// a simulated journal. The whole page is read and drawn in tests/operator/report_main.py.

#include <catch2/catch.hpp>

#include "agent/cli/report_html.h"
#include "command.h"
#include "platform/text.h"

using namespace nodemeter;
using namespace nodemeter::cli;

namespace {

Report empty_report(std::size_t hours) {
  Report report;
  report.node = "node-1";
  report.start = *parse_time("2026-01-01T00:00:00Z");
  report.end = report.start + std::chrono::hours(hours);
  report.hourly.resize(hours);
  for (std::size_t i = 0; i < hours; ++i) {
    HourState hour;
    hour.hour = std::chrono::floor<std::chrono::seconds>(report.start + std::chrono::hours(i));
    report.hours.push_back(hour);
  }
  report.check = ChainCheck{};
  return report;
}

Payer payer(std::uint8_t n, bool billable = true) {
  Payer one{billable, {}};
  one.subscription.bytes[15] = n;
  return one;
}

void add(Report& report, const Payer& who, std::uint64_t ms, std::size_t hour = 0) {
  report.payers[who][static_cast<std::size_t>(MeterIndex::kBaseVmHours)] += ms;
  if (who.billable) report.hourly[hour][who] += ms;
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t found = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

}  // namespace

TEST_CASE("figures have three decimals and spaces between thousands", "[report]") {
  CHECK(vcore_hours_figure(0) == "0.000");
  CHECK(vcore_hours_figure(1'799) == "0.000");
  CHECK(vcore_hours_figure(1'800) == "0.001");
  CHECK(vcore_hours_figure(3'600'000ull * 999) == "999.000");
  CHECK(vcore_hours_figure(static_cast<WideSum>(3'600'000) * 1'234'567) == "1\u202f234\u202f567.000");
}

TEST_CASE("text from outside cannot leave its place", "[report]") {
  CHECK(html_text("<a href='x' id=\"y\">&amp;") == "&lt;a href=&#39;x&#39; id=&quot;y&quot;&gt;&amp;amp;");
}

TEST_CASE("a report of nothing is a page", "[report]") {
  const std::string page = report_html(empty_report(1));
  CHECK_THAT(page, Catch::Matchers::Contains("<b>0.000</b>") && Catch::Matchers::EndsWith("</html>\n"));
  CHECK(count(page, "<rect class=\"whole\" x=") == 1);
}

TEST_CASE("the seven largest payers have colours, the others share one, and who is not billed has none", "[report]") {
  Report report = empty_report(2);
  for (std::uint8_t n = 1; n <= 10; ++n) add(report, payer(n), 1'000'000ull * n);
  add(report, payer(20, false), 99'000'000);
  const PayerColours colours = colours_of(report);
  CHECK(colours.size() == 10);
  CHECK(colours.at(payer(10)) == "c0");
  CHECK(colours.at(payer(4)) == "c6");
  CHECK(colours.at(payer(3)) == "cx");
  const std::string chart = usage_chart(report, colours);
  CHECK(count(chart, "<rect class=\"c") == 8);  // One bar; the others are one part of it.
  CHECK_THAT(chart, Catch::Matchers::Contains("2026-01-01T00:00:00Z: 15.278 vcore hours"));
  CHECK_THAT(report_html(report), Catch::Matchers::Contains("000000000014 not billed</code>"));
}

TEST_CASE("the chart counts days where hours are too many, and loses nothing", "[report]") {
  Report report = empty_report(24 * 50);
  for (std::size_t hour = 0; hour < report.hourly.size(); ++hour) add(report, payer(1), 3'600'000, hour);
  const std::string chart = usage_chart(report, colours_of(report));
  CHECK(count(chart, "<title>") == 50);
  CHECK(count(chart, ": 24.000 vcore hours") == 50);
  CHECK(count(coverage_chart(report), "<rect class=\"whole\"") == 24 * 50);
}

TEST_CASE("coverage of years shows the newest days", "[report]") {
  const std::string chart = coverage_chart(empty_report(24 * 800));
  CHECK_THAT(chart, Catch::Matchers::Contains("newest 124 days of 800"));
  CHECK(count(chart, "<rect class=\"whole\"") == 24 * 124);
}

TEST_CASE("each state of an hour is told", "[report]") {
  Report report = empty_report(4);
  report.hours[0].not_metered = true;
  report.hours[1].open = true;
  report.hours[2].unobserved_ms = 5'000;
  const std::string chart = coverage_chart(report);
  CHECK_THAT(chart, Catch::Matchers::Contains("00:00:00Z: not in this journal") &&
                        Catch::Matchers::Contains("01:00:00Z: still open") &&
                        Catch::Matchers::Contains("02:00:00Z: with gaps, 5 s not observed") &&
                        Catch::Matchers::Contains("03:00:00Z: complete"));
  CHECK_FALSE(report.complete());
}

TEST_CASE("a page of a journal: sums, delivery, verdict", "[report]") {
  const Directory directory;
  const std::string state = simulated_state(directory);
  const Outcome made = nodemeter_run(
      {"report", "--start", "2026-01-01", "--end", "2026-01-01T03:00:00Z", "--state", state, "--out", "-"});
  INFO(made.err);
  CHECK(made.code == kIncomplete);  // The agent crashed.
  CHECK_THAT(made.out, Catch::Matchers::Contains("<b>12.000</b><span>billable vcore hours") &&
                           Catch::Matchers::Contains("agent down") && Catch::Matchers::Contains("entries holds"));
}

TEST_CASE("a changed journal makes a page that says so, and an error", "[report]") {
  const Directory directory;
  const std::string state = simulated_state(directory);
  const std::string file = (fs::path(state) / "journal" / "data.mdb").string();
  std::string bytes = (std::ostringstream() << std::ifstream(file, std::ios::binary).rdbuf()).str();
  std::size_t changed = 0;
  for (std::size_t at = 0; (at = bytes.find("\"event\":\"arrived\"", at)) != std::string::npos; ++changed)
    bytes[at + 10]++;
  REQUIRE(changed > 0);
  std::ofstream(file, std::ios::binary) << bytes;
  const std::vector<std::string> asked = {"report",  "--start", "2026-01-01", "--end", "2026-01-01T03:00:00Z",
                                          "--state", state,     "--out",      "-"};
  const Outcome made = nodemeter_run(asked);
  CHECK(made.code == kFailed);
  CHECK_THAT(made.err, Catch::Matchers::Contains("does not verify"));
  CHECK_THAT(made.out,
             Catch::Matchers::Contains("<b class=\"bad\">broken</b>") && Catch::Matchers::EndsWith("</html>\n"));
}

TEST_CASE("a journal that does not verify is shown as such", "[report]") {
  Report report = empty_report(1);
  report.check->faults.push_back("entry 7 <b>: digest");
  CHECK_FALSE(report.verified());
  const std::string page = report_html(report);
  CHECK_THAT(page, Catch::Matchers::Contains("<b class=\"bad\">broken</b>") &&
                       Catch::Matchers::Contains("entry 7 &lt;b&gt;: digest"));
  report.check.reset();
  report.check_error = "no <room>";
  CHECK_THAT(report_html(report), Catch::Matchers::Contains("could not be checked: no &lt;room&gt;"));
}
