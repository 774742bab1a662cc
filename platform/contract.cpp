#include "platform/contract.h"

namespace nodemeter {

void contract_violated(const char* expression, const char* file, int line) {
  throw ContractViolation(std::string(file) + ":" + std::to_string(line) + ": expected " + expression);
}

}  // namespace nodemeter
