// `nodemeter VERB …`: from a command line to a verb.
//
// Exit codes: 0 done; 1 failed; 2 wrong usage or configuration; 3 the answer is incomplete, or, for live verbs, no
// agent is running. Data goes to `out`, messages to `err`.

#pragma once

#include <iosfwd>

#include "platform/clock.h"

namespace nodemeter::cli {

// What the process knows about itself; tests give their own.
struct Surroundings {
  const Clock& clock;
  bool terminal = false;  // `out` is a terminal.
  bool colour = false;
};

// Never throws for anything that a user may type. argv[0] is the program's name.
int run(int argc, const char* const* argv, std::ostream& out, std::ostream& err, const Surroundings& surroundings);

// The same with the real clock and terminal.
int run(int argc, const char* const* argv, std::ostream& out, std::ostream& err);

}  // namespace nodemeter::cli
