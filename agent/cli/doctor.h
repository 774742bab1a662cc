// What `doctor` looks at: one function per check, each adding findings of one line. The checks look, they change
// nothing on this node; the aggregator is sent an empty batch, which stores nothing.
//
// Threads: one at a time.

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/cli/console.h"
#include "agent/options.h"
#include "store/live_view.h"

namespace nodemeter::cli {

enum class Health {
  kOk,
  kWarn,     // Works now; somebody should look at it in the next days.
  kFail,     // Metering, delivery or proof does not work, or is about to stop.
  kUnknown,  // This account may not look.
};

struct Finding {
  Health health = Health::kOk;
  std::string check;   // "source", "clock", …
  std::string text;    // What is so. From outside in part: shown through display_text().
  std::string action;  // What to do; "" if nothing.
};

struct Examination {
  const Options& options;
  const Console& console;
  std::optional<LiveSnapshot> live;  // Set by check_live_view if an agent publishes.
  std::vector<Finding> findings;

  void ok(const std::string& check, const std::string& text) { findings.push_back({Health::kOk, check, text, ""}); }
  void add(Health health, const std::string& check, const std::string& text, const std::string& action) {
    findings.push_back({health, check, text, action});
  }
};

void check_live_view(Examination& examination);  // Before the others: they use what it finds.
void check_source(Examination& examination);
void check_clock(Examination& examination);
void check_disk(Examination& examination);
void check_store(Examination& examination);
void check_owners(Examination& examination);
void check_permissions(Examination& examination);
void check_certificates(Examination& examination);
void check_aggregator(Examination& examination);

}  // namespace nodemeter::cli
