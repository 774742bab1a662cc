// Where a verb writes, and what it returns to the shell.

#pragma once

#include <ostream>
#include <string>

#include "platform/clock.h"
#include "platform/result.h"

namespace nodemeter::cli {

// Exit codes of every verb. Scripts depend on them: never renumber.
inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kWrongUsage = 2;  // Or a wrong configuration.
inline constexpr int kIncomplete = 3;  // The answer has gaps or open hours; live verbs: no agent is running.

// Data goes to `out`, everything said about it to `err`. All references outlive the verb.
struct Console {
  std::ostream& out;
  std::ostream& err;
  const Clock& clock;
  bool terminal = false;  // `out` is a terminal that may be redrawn, and keys may be read.
  bool colour = false;    // `out` is a terminal and NO_COLOR is not set.
};

// Says what failed, as one sentence on `err`. Gives kWrongUsage for wrong input, else kFailed.
int say(const Console& console, const Error& error);

}  // namespace nodemeter::cli
