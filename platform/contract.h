// Assertions that stay on in release builds.
//
// A failed one is our bug. It throws ContractViolation, which unwinds to Agent::step(): the agent turns Failed and
// appends nothing more. A stopped agent is a gap; a wrong number is somebody's money. Never caught elsewhere.

#pragma once

#include <stdexcept>
#include <string>

namespace nodemeter {

class ContractViolation : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

[[noreturn]] void contract_violated(const char* expression, const char* file, int line);

}  // namespace nodemeter

#define NM_ASSERT(expression) \
  ((expression) ? static_cast<void>(0) : ::nodemeter::contract_violated(#expression, __FILE__, __LINE__))
