#include <tuple>

#include "agent/cli/report_html.h"
#include "agent/cli/verbs.h"
#include "platform/files.h"
#include "platform/text.h"

namespace nodemeter::cli {

namespace {

int write_page(const std::string& page, const std::string& out, const Console& console) {
  if (out == "-") {
    console.out << page;
    return kDone;
  }
  const Status written = replace_file(out, page);
  return written ? kDone : say(console, written.error());
}

}  // namespace

int report(const CommonOptions& common, const ReportOptions& options, const Console& console) {
  UsageQuery range;
  range.granularity = Granularity::kHourly;
  for (const auto& [name, text, at] :
       {std::tuple("--start", &options.start, &range.start), std::tuple("--end", &options.end, &range.end)}) {
    const std::optional<UtcTime> instant = parse_time(*text);
    if (!instant) {
      return say(console, Error{ErrorCode::kInvalidInput, std::string(name) + " is \"" + display_text(*text, 64) +
                                                              "\"; an instant is 2026-01-31T13:00:00Z or 2026-01-31"});
    }
    *at = *instant;
  }
  const Result<Options> configuration = configured(common);
  if (!configuration) return say(console, configuration.error());
  const Result<std::unique_ptr<Reader>> reader = open_journal(*configuration);
  if (!reader) return say(console, reader.error());
  const Result<Report> made =
      make_report(**reader, range, configuration->delivers(), console.clock.now().utc, [&](std::uint64_t done) {
        if (console.terminal) console.err << "\r" << done << " entries verified" << std::flush;
      });
  if (console.terminal) console.err << "\r\x1b[K" << std::flush;
  if (!made) return say(console, made.error());
  if (const int code = write_page(report_html(*made), options.out, console); code != kDone) return code;
  if (!made->verified()) {
    console.err << "nodemeter: the journal does not verify: see the page, and nodemeter journal verify\n";
    return kFailed;
  }
  if (made->complete()) return kDone;
  UsageAnswer answer;
  answer.hours = made->hours;
  console.err << "nodemeter: this report is incomplete: " << answer.shortfall() << "\n";
  return kIncomplete;
}

}  // namespace nodemeter::cli
