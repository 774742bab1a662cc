// The two charts of a report, as SVG in whole units.

#include <algorithm>

#include "agent/cli/report_html.h"
#include "platform/text.h"

namespace nodemeter::cli {

namespace {

// More bars than this are less than a pixel wide on a printed page.
constexpr std::size_t kBarsMax = 1'100;
constexpr std::int64_t kLeft = 60;
constexpr std::int64_t kWidth = 1'000;
constexpr std::int64_t kHeight = 260;
constexpr std::int64_t kTop = 10;
constexpr WideSum kVcoreHour = 3'600'000;

// Coordinates are in thousandths, so that bars of many hours still have whole edges.
constexpr std::int64_t kScale = 1'000;

std::string coordinate(std::int64_t thousandths) {
  const std::string rest = std::to_string(thousandths % kScale);
  return std::to_string(thousandths / kScale) + "." + std::string(3 - rest.size(), '0') + rest;
}

std::string rectangle(const std::string& style, std::int64_t x, std::int64_t y, std::int64_t width,
                      std::int64_t height) {
  return "<rect class=\"" + style + "\" x=\"" + coordinate(x) + "\" y=\"" + coordinate(y) + "\" width=\"" +
         coordinate(width) + "\" height=\"" + coordinate(height) + "\"/>";
}

std::string label(const std::string& style, std::int64_t x, std::int64_t y, const std::string& text) {
  return "<text class=\"" + style + "\" x=\"" + std::to_string(x) + "\" y=\"" + std::to_string(y) + "\">" + text +
         "</text>";
}

struct Bar {
  UtcTime at{};
  WideSum total = 0;
  std::map<std::string, WideSum> parts;  // By colour.
};

std::vector<Bar> bars_of(const Report& report, const PayerColours& colours, std::size_t hours_each) {
  std::vector<Bar> bars;
  for (std::size_t hour = 0; hour < report.hourly.size(); ++hour) {
    if (hour % hours_each == 0) bars.push_back({report.start + std::chrono::hours(hour), 0, {}});
    for (const auto& [payer, sum] : report.hourly[hour]) {
      bars.back().parts[colours.at(payer)] += sum;
      bars.back().total += sum;
    }
  }
  return bars;
}

// A round number of vcore hours that is at least `most`, and so are its quarters.
WideSum round_above(WideSum most) {
  for (WideSum power = kVcoreHour / 100;; power *= 10) {
    for (const WideSum step : {10u, 12u, 16u, 20u, 24u, 28u, 32u, 40u, 48u, 60u, 80u}) {
      if (step * power >= most) return step * power;
    }
  }
}

std::string grid(WideSum above) {
  std::string out;
  constexpr int kLines = 4;
  for (int i = 0; i <= kLines; ++i) {
    const std::int64_t y = kTop + kHeight - kHeight * i / kLines;
    out += "<line class=\"grid\" x1=\"" + std::to_string(kLeft) + "\" x2=\"" + std::to_string(kLeft + kWidth) +
           "\" y1=\"" + std::to_string(y) + "\" y2=\"" + std::to_string(y) + "\"/>";
    out += label("axis end", kLeft - 6, y + 4,
                 decimal_text(above * static_cast<unsigned>(i), 1, static_cast<std::uint64_t>(kVcoreHour) * kLines));
  }
  return out;
}

// Some eight instants under the chart, of whole days where it is long enough.
std::string times(const Report& report) {
  const auto hours = static_cast<std::int64_t>(report.hourly.size());
  constexpr std::int64_t kSteps[] = {1, 2, 3, 6, 12, 24, 48, 72, 168, 336, 720, 2160, 8760};
  std::int64_t step = kSteps[std::size(kSteps) - 1];
  for (const std::int64_t candidate : kSteps) {
    if (hours / candidate <= 9) {
      step = candidate;
      break;
    }
  }
  std::string out;
  const std::int64_t first = report.start.time_since_epoch() / std::chrono::hours(1);
  for (std::int64_t hour = first; hour < first + hours; ++hour) {
    if (hour % step != 0) continue;
    const std::int64_t x = kLeft + kWidth * (hour - first) / hours;
    const std::string at = iso_time(UtcTime{std::chrono::hours(hour)}, true);
    out += label("axis", x, kTop + kHeight + 18, step < 24 ? at.substr(11, 5) : at.substr(5, 5));
    if (step < 24 && (hour == first || hour % 24 == 0)) {
      out += label("axis", x, kTop + kHeight + 32, at.substr(0, 10));
    }
  }
  return out;
}

}  // namespace

std::string usage_chart(const Report& report, const PayerColours& colours) {
  const std::size_t hours_each = report.hourly.size() > kBarsMax ? 24 : 1;
  const std::vector<Bar> bars = bars_of(report, colours, hours_each);
  WideSum most = kVcoreHour / 100;
  for (const Bar& bar : bars) most = std::max(most, bar.total);
  const WideSum above = round_above(most);
  std::string out = "<svg viewBox=\"0 0 1070 310\" role=\"img\" aria-label=\"Billable vcore hours by " +
                    std::string(hours_each == 1 ? "hour" : "day") + "\">" + grid(above);
  const auto count = static_cast<std::int64_t>(bars.size());
  const std::int64_t gap = count <= 120 ? kWidth * kScale / count / 8 : 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const Bar& bar = bars[static_cast<std::size_t>(i)];
    if (bar.total == 0) continue;
    const std::int64_t x = kLeft * kScale + kWidth * kScale * i / count;
    const std::int64_t next = kLeft * kScale + kWidth * kScale * (i + 1) / count;
    out += "<g><title>" + iso_time(bar.at, true) + ": " + vcore_hours_figure(bar.total) + " vcore hours</title>";
    WideSum below = 0;
    for (const auto& [colour, sum] : bar.parts) {
      const auto level = [&](WideSum value) {
        return static_cast<std::int64_t>(value * static_cast<WideSum>(kHeight * kScale) / above);
      };
      const std::int64_t bottom = level(below);
      below += sum;
      const std::int64_t top = level(below);
      out += rectangle(colour, x, (kTop + kHeight) * kScale - top, next - x - gap, top - bottom);
    }
    out += "</g>";
  }
  return out + times(report) + "</svg>\n";
}

namespace {

constexpr std::size_t kCoverageRowsMax = 124;
constexpr std::int64_t kRowHeight = 16;
constexpr std::int64_t kCellWidth = 40;
constexpr std::int64_t kDateWidth = 84;

const char* state_style(const HourState& hour) {
  if (hour.not_metered) return "none";
  if (hour.open) return "open";
  return hour.complete() ? "whole" : "gap";
}

const char* state_words(const HourState& hour) {
  if (hour.not_metered) return "not in this journal";
  if (hour.open) return "still open";
  return hour.complete() ? "complete" : "with gaps";
}

std::string coverage_row(const std::vector<HourState>& hours, std::size_t from, std::size_t to, std::int64_t y) {
  std::string out = label("axis end", kDateWidth - 6, y + 11, iso_time(hours[from].hour, true).substr(0, 10));
  for (std::size_t i = from; i < to; ++i) {
    const HourState& hour = hours[i];
    const std::int64_t column = hour.hour.time_since_epoch() / std::chrono::hours(1) % 24;
    out += "<g><title>" + iso_time(hour.hour, true) + ": " + state_words(hour);
    if (hour.unobserved_ms != 0) out += ", " + std::to_string(hour.unobserved_ms / 1000) + " s not observed";
    if (hour.gap_ms > 0) out += ", " + std::to_string(hour.gap_ms / 1000) + " s of VM time not proven";
    out += "</title>" +
           rectangle(state_style(hour), (kDateWidth + column * kCellWidth) * kScale, y * kScale,
                     (kCellWidth - 2) * kScale, (kRowHeight - 2) * kScale) +
           "</g>";
  }
  return out;
}

}  // namespace

std::string coverage_chart(const Report& report) {
  const std::vector<HourState>& hours = report.hours;
  std::vector<std::size_t> days;  // Where each begins.
  for (std::size_t i = 0; i < hours.size(); ++i) {
    const bool first = i == 0 || hours[i].hour.time_since_epoch() % std::chrono::hours(24) == std::chrono::hours(0);
    if (first) days.push_back(i);
  }
  const std::size_t skipped = days.size() > kCoverageRowsMax ? days.size() - kCoverageRowsMax : 0;
  const auto rows = static_cast<std::int64_t>(days.size() - skipped);
  std::string out;
  if (skipped != 0) {
    out = "<p>The newest " + std::to_string(rows) + " days of " + std::to_string(days.size()) + " are shown.</p>";
  }
  out += "<svg viewBox=\"0 0 1050 " + std::to_string(20 + rows * kRowHeight) +
         "\" role=\"img\" aria-label=\"Coverage by hour\">";
  for (std::int64_t hour = 0; hour < 24; hour += 3) {
    out +=
        label("axis start", kDateWidth + hour * kCellWidth, 12, (hour < 10 ? "0" : "") + std::to_string(hour) + ":00");
  }
  for (std::size_t day = skipped; day < days.size(); ++day) {
    const std::size_t end = day + 1 < days.size() ? days[day + 1] : hours.size();
    out += coverage_row(hours, days[day], end, 18 + static_cast<std::int64_t>(day - skipped) * kRowHeight);
  }
  return out + "</svg>\n";
}

}  // namespace nodemeter::cli
