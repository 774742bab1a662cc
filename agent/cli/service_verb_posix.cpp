#include "agent/cli/service_verb.h"

namespace nodemeter::cli {

std::vector<ServiceAction> service_actions() { return {}; }

}  // namespace nodemeter::cli
