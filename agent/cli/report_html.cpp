#include "agent/cli/report_html.h"

#include <algorithm>

#include "agent/cli/live_text.h"
#include "platform/json_writer.h"
#include "platform/text.h"

namespace nodemeter::cli {

namespace {

constexpr std::size_t kNameShownMax = 64;
constexpr std::size_t kTopVms = 20;
constexpr std::size_t kFaultsShown = 20;
constexpr std::uint64_t kHourMs = 3'600'000;

constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--soft:#5b6570;--line:#d8dee4;--panel:#f6f8fa;--good:#1a7f37;
--bad:#cf222e;--warn:#9a6700;--c0:#0969da;--c1:#e58a00;--c2:#1a936f;--c3:#b5489c;--c4:#4cb3d9;--c5:#c8452f;--c6:#8a7a00;
--cx:#8c959f}
@media (prefers-color-scheme:dark){:root{--paper:#0f1419;--ink:#e6e9ec;--soft:#98a2ad;--line:#2d343c;--panel:#171d24;
--good:#3fb950;--bad:#ff6b61;--warn:#d9a21b;--c0:#4a9eff;--c1:#ffb340;--c2:#3fc79a;--c3:#e07cc4;--c4:#7dd3f5;--c5:#ff7b63;
--c6:#cfc04a;--cx:#707a85}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1100px;padding:28px 24px;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
h1{font-size:26px;line-height:1.2;margin:0}
h2{font-size:18px;margin:36px 0 10px}
header p,.note{color:var(--soft);margin:4px 0 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(180px,1fr));gap:12px;margin:20px 0 0}
.tile{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:12px 14px}
.tile b{display:block;font-size:22px;line-height:1.3;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px}
.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;padding:6px 10px;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
th{color:var(--soft);font-weight:600;white-space:nowrap;overflow-wrap:normal}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tfoot td{font-weight:600;border-bottom:0;border-top:2px solid var(--line)}

code{font:13px/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
td code{font-size:12px;white-space:nowrap}
svg{display:block;width:100%;height:auto}
svg text{fill:var(--soft);font-size:12px}
rect{shape-rendering:crispEdges}
.end{text-anchor:end}.grid{stroke:var(--line);stroke-width:1}
.c0{fill:var(--c0)}.c1{fill:var(--c1)}.c2{fill:var(--c2)}.c3{fill:var(--c3)}.c4{fill:var(--c4)}.c5{fill:var(--c5)}
.c6{fill:var(--c6)}.cx{fill:var(--cx)}
.whole{fill:var(--good);opacity:.75}.gap{fill:var(--bad)}.open{fill:var(--warn);opacity:.8}.none{fill:var(--line)}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:8px 0 0;padding:0;list-style:none;font-size:13px;color:var(--soft)}
.legend svg{display:inline-block;width:12px;height:12px;margin-right:6px;vertical-align:-1px}
.share{width:22%;min-width:90px}.share svg{height:12px;margin-top:5px}
footer{margin-top:40px;padding-top:12px;border-top:1px solid var(--line);color:var(--soft);font-size:13px}
@page{size:A4 landscape;margin:12mm}
@media print{:root{--paper:#fff;--ink:#000;--soft:#444;--line:#bbb;--panel:#fff;--good:#1a7f37;--bad:#cf222e;--warn:#9a6700;
--c0:#0969da;--c1:#e58a00;--c2:#1a936f;--c3:#b5489c;--c4:#4cb3d9;--c5:#c8452f;--c6:#8a7a00;--cx:#8c959f}
body{max-width:none;padding:0;font-size:11pt}.wide{overflow:visible}
table{font-size:8pt}th,td{padding:3px 5px}.n{white-space:normal}td code{font-size:7pt}.share{min-width:40px}
section,tr,svg,.tiles{break-inside:avoid}section.long{break-inside:auto}thead{display:table-header-group}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
)";

std::string tile(const std::string& value, const std::string& what, const std::string& style = "") {
  return "<div class=\"tile\"><b" + (style.empty() ? "" : " class=\"" + style + "\"") + ">" + value + "</b><span>" +
         what + "</span></div>\n";
}

std::string meter_figure(const MeterSums& sums, MeterIndex index) {
  const MeterInfo& info = meter_catalogue()[static_cast<std::size_t>(index)];
  return figure(sums[static_cast<std::size_t>(index)], info.multiplier, info.divisor);
}

// Covered VM time of all that was to be covered, in hundredths of a percent, rounded down: 100 % is never an
// impression.
std::string coverage_text(const Report& report) {
  WideSum covered = 0;
  WideSum presence = 0;
  for (const auto& [id, vm] : report.vms) {
    covered += vm.covered_ms;
    presence += vm.covered_ms + static_cast<std::uint64_t>(std::max<std::int64_t>(0, vm.gap_ms));
  }
  if (presence == 0) return "–";
  const auto hundredths = static_cast<std::uint64_t>(covered * 10'000 / presence);
  const std::string rest = std::to_string(hundredths % 100);
  return std::to_string(hundredths / 100) + "." + std::string(2 - rest.size(), '0') + rest + " %";
}

std::string head(const Report& report) {
  const std::string span = iso_time(report.start, true) + " to " + iso_time(report.end, true);
  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Usage of " +
      html_text(report.node) + ", " + span + "</title>\n<style>" + std::string(kStyle) + "</style></head><body>\n";
  out += "<header><h1>Usage of " + html_text(report.node) + "</h1><p>" + span + ", made " +
         iso_time(report.made, true) + "</p>";
  if (report.simulated) out += "<p class=\"bad\">Simulated: nothing here is a real VM.</p>";
  return out + "</header>\n";
}

std::string tiles(const Report& report) {
  WideSum total = 0;
  for (const auto& [payer, sums] : report.payers) {
    if (payer.billable) total += vcore_ms(sums);
  }
  const std::string covered = coverage_text(report);
  std::string out = "<div class=\"tiles\">\n" + tile(vcore_hours_figure(total), "billable vcore hours") +
                    tile(std::to_string(report.vms.size()), "virtual machines") +
                    tile(covered, "of VM time covered", covered == "100.00 %" ? "good" : "warn");
  if (report.delivers) {
    const bool all = report.journal.acknowledged >= report.journal.last_sequence;
    out +=
        tile(all ? "complete" : std::to_string(report.journal.last_sequence - report.journal.acknowledged) + " to go",
             "delivery",
             report.journal.parked != 0 ? "bad"
             : all                      ? "good"
                                        : "warn");
  } else {
    out += tile("none", "delivery");
  }
  const char* const word = report.verified() ? "holds" : report.check ? "broken" : "not checked";
  return out + tile(word, "chain and signatures", report.verified() ? "good" : "bad") + "</div>\n";
}

std::string square(const std::string& style) {
  return "<svg viewBox=\"0 0 12 12\" aria-hidden=\"true\"><rect class=\"" + style +
         "\" width=\"12\" height=\"12\" rx=\"2\"/></svg>";
}

std::string chart_section(const Report& report, const PayerColours& colours) {
  std::string out = "<section><h2>Billable vcore hours</h2>\n" + usage_chart(report, colours) + "<ul class=\"legend\">";
  std::vector<std::pair<std::string, std::string>> entries;  // Colour, name: as in the stack.
  bool others = false;
  for (const auto& [payer, colour] : colours) {
    if (colour == "cx") {
      others = true;
    } else {
      entries.emplace_back(colour, payer_name(payer));
    }
  }
  std::sort(entries.begin(), entries.end());
  if (others) entries.emplace_back("cx", "others");
  for (const auto& [colour, name] : entries) out += "<li>" + square(colour) + html_text(name) + "</li>";
  return out + "</ul></section>\n";
}

std::string payer_cells(const MeterSums& sums) {
  std::string out;
  for (const MeterIndex index : {MeterIndex::kBaseVmHours, MeterIndex::kWindowsVmHours, MeterIndex::kCpuTime,
                                 MeterIndex::kMemoryHours, MeterIndex::kDiskAllocatedHours}) {
    out += "<td class=\"n\">" + meter_figure(sums, index) + "</td>";
  }
  MeterSums both = sums;
  const auto move = [&](MeterIndex to, MeterIndex from) {
    both[static_cast<std::size_t>(to)] += both[static_cast<std::size_t>(from)];
  };
  move(MeterIndex::kDiskReadBytes, MeterIndex::kDiskWriteBytes);
  move(MeterIndex::kNetworkReceiveBytes, MeterIndex::kNetworkTransmitBytes);
  return out + "<td class=\"n\">" + meter_figure(both, MeterIndex::kDiskReadBytes) + "</td><td class=\"n\">" +
         meter_figure(both, MeterIndex::kNetworkReceiveBytes) + "</td>";
}

std::string payer_section(const Report& report) {
  std::string out =
      "<section><h2>By subscription</h2>\n<div class=\"wide\"><table><thead><tr><th>Subscription</th><th "
      "class=\"n\">VMs"
      "</th><th class=\"n\">Base<br>vcore h</th><th class=\"n\">Windows<br>vcore h</th><th class=\"n\">CPU<br>core "
      "h</th>"
      "<th class=\"n\">Memory<br>GB h</th><th class=\"n\">Disk<br>GB h</th><th class=\"n\">Disk I/O<br>GB</th>"
      "<th class=\"n\">Network<br>GB</th></tr></thead><tbody>\n";
  std::vector<std::pair<Payer, MeterSums>> rows(report.payers.begin(), report.payers.end());
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
    if (a.first.billable != b.first.billable) return a.first.billable;
    return vcore_ms(a.second) > vcore_ms(b.second);
  });
  MeterSums total{};
  std::size_t vms = 0;
  for (const auto& [payer, sums] : rows) {
    const auto counted = report.payer_vms.find(payer);
    const std::size_t of_payer = counted == report.payer_vms.end() ? 0 : counted->second;
    out += "<tr><td><code>" + html_text(payer_name(payer)) + "</code></td><td class=\"n\">" + std::to_string(of_payer) +
           "</td>" + payer_cells(sums) + "</tr>\n";
    if (!payer.billable) continue;
    vms += of_payer;
    for (std::size_t i = 0; i < kMeterCount; ++i) total[i] += sums[i];
  }
  return out + "</tbody><tfoot><tr><td>Billable</td><td class=\"n\">" + std::to_string(vms) + "</td>" +
         payer_cells(total) + "</tr></tfoot></table></div></section>\n";
}

std::string vm_section(const Report& report, const PayerColours& colours) {
  std::vector<const std::pair<const VmId, ReportVm>*> vms;
  for (const auto& vm : report.vms) vms.push_back(&vm);
  std::stable_sort(vms.begin(), vms.end(),
                   [](const auto* a, const auto* b) { return vcore_ms(a->second.sums) > vcore_ms(b->second.sums); });
  const std::size_t shown = std::min(vms.size(), kTopVms);
  std::string out =
      "<section class=\"long\"><h2>Virtual machines with most vcore hours</h2>\n<p class=\"note\">" +
      std::to_string(shown) + " of " + std::to_string(vms.size()) +
      "</p>\n<div class=\"wide\"><table><thead><tr><th>Name</th><th>Subscription</th><th class=\"n\">vcore h"
      "</th><th></th><th class=\"n\">CPU core h</th><th class=\"n\">Gap</th></tr></thead><tbody>\n";
  const WideSum most = shown == 0 ? 1 : std::max<WideSum>(1, vcore_ms(vms[0]->second.sums));
  for (std::size_t i = 0; i < shown; ++i) {
    const auto& [id, vm] = *vms[i];
    const WideSum sum = vcore_ms(vm.sums);
    const auto colour = colours.find(vm.payer);
    const auto width = static_cast<std::uint64_t>(sum * 200 / most);
    out +=
        "<tr><td title=\"" + id.text() + "\">" +
        html_text(display_text(vm.name.empty() ? id.text() : vm.name, kNameShownMax)) + "</td><td><code>" +
        html_text(payer_name(vm.payer)) + "</code></td><td class=\"n\">" + vcore_hours_figure(sum) +
        "</td><td class=\"share\"><svg viewBox=\"0 0 200 12\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect "
        "class=\"" +
        (colour == colours.end() ? "cx" : colour->second) + "\" width=\"" + std::to_string(width) +
        "\" height=\"12\"/></svg></td><td class=\"n\">" + meter_figure(vm.sums, MeterIndex::kCpuTime) +
        "</td><td class=\"n\">" + (vm.gap_ms > 0 ? age_text(Milliseconds{vm.gap_ms}) : std::string("–")) +
        "</td></tr>\n";
  }
  return out + "</tbody></table></div></section>\n";
}

std::string coverage_section(const Report& report) {
  UsageAnswer answer;
  answer.hours = report.hours;
  const std::string shortfall = answer.shortfall();
  std::string out = "<section class=\"long\"><h2>Coverage</h2>\n<p class=\"note\">" +
                    (shortfall.empty() ? "Every hour is closed and without a gap." : "Incomplete: " + shortfall + ".") +
                    "</p>\n" + coverage_chart(report) + "<ul class=\"legend\"><li>" + square("whole") +
                    "complete</li><li>" + square("gap") + "with gaps</li><li>" + square("open") +
                    "still open</li><li>" + square("none") + "not in this journal</li></ul>\n";
  if (report.gaps.empty()) return out + "</section>\n";
  out +=
      "<div class=\"wide\"><table><thead><tr><th>Not observed from</th><th>to</th><th class=\"n\">for</th>"
      "<th>Cause</th></tr></thead><tbody>\n";
  for (const ReportGap& gap : report.gaps) {
    out += "<tr><td>" + iso_time(gap.from, true) + "</td><td>" + iso_time(gap.to, true) + "</td><td class=\"n\">" +
           age_text(gap.to - gap.from) + "</td><td>" + html_text(display_text(gap.cause, kNameShownMax)) +
           "</td></tr>\n";
  }
  out += "</tbody></table></div>\n";
  if (report.gaps_untold != 0) {
    out += "<p class=\"note\">" + std::to_string(report.gaps_untold) + " more: see nodemeter gaps</p>\n";
  }
  return out + "</section>\n";
}

std::string delivery_section(const Report& report) {
  const JournalState& journal = report.journal;
  const std::string last = std::to_string(journal.last_sequence);
  std::string out = "<section><h2>Delivery</h2>\n";
  if (!report.delivers) {
    return out + "<p>No aggregator is configured: the " + last +
           " entries of this journal stay on the node.</p></section>\n";
  }
  out += "<p>" + std::to_string(journal.acknowledged) + " of " + last + " entries are acknowledged";
  out += journal.acknowledged >= journal.last_sequence ? ": the aggregator has everything.</p>\n" : ".</p>\n";
  if (journal.parked != 0) {
    out += "<p class=\"bad\">" + std::to_string(journal.parked) +
           " were refused and put aside: see <code>nodemeter journal info</code>.</p>\n";
  }
  return out + "</section>\n";
}

std::string check_section(const Report& report) {
  std::string out = "<section class=\"long\"><h2>Verification</h2>\n";
  if (!report.check) {
    return out +
           "<p class=\"bad\">The journal could not be checked: " + html_text(display_text(report.check_error, 400)) +
           "</p></section>\n";
  }
  const ChainCheck& check = *report.check;
  if (check.faults.empty()) {
    out += "<p class=\"good\">The chain of all " + std::to_string(check.entries) + " entries holds, and so do " +
           std::to_string(check.signed_manifests) + " signatures over " + std::to_string(check.manifests) +
           " manifests, up to entry " + std::to_string(check.signed_until) + ".</p>\n";
  } else {
    out += "<p class=\"bad\">" + std::to_string(check.faults.size()) + " faults:</p><ul>\n";
    for (std::size_t i = 0; i < std::min(check.faults.size(), kFaultsShown); ++i) {
      out += "<li>" + html_text(display_text(check.faults[i], 300)) + "</li>\n";
    }
    out += "</ul>\n";
  }
  return out + "<p class=\"note\">Entries " + std::to_string(check.first) + " to " + std::to_string(check.last) +
         ", head <code>" + check.head.hex() + "</code></p></section>\n";
}

}  // namespace

std::string html_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out.push_back(c);
    }
  }
  return out;
}

PayerColours colours_of(const Report& report) {
  std::vector<std::pair<WideSum, Payer>> order;
  for (const auto& [payer, sums] : report.payers) {
    if (payer.billable) order.emplace_back(vcore_ms(sums), payer);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  PayerColours colours;
  for (std::size_t i = 0; i < order.size(); ++i) {
    colours[order[i].second] = i < kReportColours ? "c" + std::to_string(i) : "cx";
  }
  return colours;
}

std::string payer_name(const Payer& payer) {
  const std::string id = payer.subscription == Uuid{} ? "(no known owner)" : payer.subscription.text();
  return payer.billable ? id : id + " not billed";
}

std::string figure(WideSum value, std::uint64_t multiplier, std::uint64_t divisor) {
  constexpr std::size_t kDecimals = 3;
  const WideSum thousandths = (value * multiplier * 1'000 + divisor / 2) / divisor;
  std::string whole = whole_text(thousandths / 1'000);
  for (std::size_t at = whole.size(); at > 3;) whole.insert(at -= 3, "\u202f");  // A narrow space that does not break.
  const std::string rest = whole_text(thousandths % 1'000);
  return whole + "." + std::string(kDecimals - rest.size(), '0') + rest;
}

std::string vcore_hours_figure(WideSum vcore_ms) { return figure(vcore_ms, 1, kHourMs); }

std::string report_html(const Report& report) {
  const PayerColours colours = colours_of(report);
  return head(report) + tiles(report) + chart_section(report, colours) + payer_section(report) +
         vm_section(report, colours) + coverage_section(report) + delivery_section(report) + check_section(report) +
         "<footer>nodemeter " NODEMETER_VERSION
         ". Figures are rounded to three decimals; <code>nodemeter usage</code> gives exact ones. One vcore hour is "
         "one "
         "allocated virtual core for one hour. Memory and disk: GB = 10<sup>9</sup> bytes.</footer>\n</body></html>\n";
}

}  // namespace nodemeter::cli
