// The verbs of `nodemeter-aggregator registration`: show, check, list, add-tenant, remove-tenant.
//
// A change is made in this order: the checks, the upstream server where one is configured, the audit entry, the file.
// Whatever interrupts it, the same verb again completes it.

#pragma once

#include <filesystem>
#include <iosfwd>
#include <optional>
#include <string>

#include "platform/clock.h"
#include "platform/result.h"
#include "uploader/aggregator/registration.h"
#include "uploader/aggregator/registration_upstream.h"

namespace nodemeter {

struct RegistrationCommand {
  std::filesystem::path file;
  std::filesystem::path state;  // Where the audit lives: <state>/registration.
  UpstreamOptions upstream;     // url "": none.
  TenantRequest request;
  std::string tenant;           // add-tenant: the tenant. remove-tenant: a tenant or customer subscription.
  std::optional<UtcTime> from;  // From when the change holds; nothing: from now.
  bool json = false;
  bool history = false;  // list: also what holds no more or not yet, and the audit.
};

// What the verbs need of the world.
struct RegistrationWorld {
  UtcTime now{};
  std::string account;  // For the audit.
  RegistrationUpstream::Sleep sleep;
  std::ostream& out;  // Data.
  std::ostream& err;  // Messages.
};

// Each gives the exit code: 0 done, 1 failed (one of the documented errors, by its code, or the world), 2 wrong use.
int registration_show(const RegistrationCommand& command, RegistrationWorld& world);
int registration_check(const RegistrationCommand& command, RegistrationWorld& world);
int registration_list(const RegistrationCommand& command, RegistrationWorld& world);
int registration_add(const RegistrationCommand& command, RegistrationWorld& world);
int registration_remove(const RegistrationCommand& command, RegistrationWorld& world);

// The registration, nothing if there is no such file. kInvalidInput: it is not one.
Result<std::optional<Registration>> load_registration(const std::filesystem::path& file);

}  // namespace nodemeter
