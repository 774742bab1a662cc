#include "uploader/aggregator/registration_verbs.h"

#include <nlohmann/json.hpp>
#include <ostream>
#include <utility>

#include "platform/files.h"
#include "platform/text.h"
#include "store/lmdb_kv.h"
#include "uploader/aggregator/exit_codes.h"
#include "uploader/aggregator/registration_audit.h"

namespace nodemeter {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::size_t kRegistrationFileMax = 16u << 20;
constexpr std::uint64_t kAuditSizeMax = 1ull << 30;

fs::path audit_directory(const fs::path& state) { return state / "registration"; }

int say(RegistrationWorld& world, int code, const std::string& message) {
  world.err << "nodemeter-aggregator: " << message << "\n";
  return code;
}

int say(RegistrationWorld& world, const RegistrationError& error) { return say(world, kFailed, error.text()); }

Json mapping_json(const TenantMapping& mapping) {
  return {{"tenant", mapping.tenant.text()},
          {"subscription", mapping.subscription ? Json(mapping.subscription->text()) : Json(nullptr)},
          {"from", iso_time(mapping.from)}};
}

std::string mapping_text(const TenantMapping& mapping) {
  return mapping.tenant.text() + "  " + (mapping.subscription ? mapping.subscription->text() : "(the default)") +
         "  from " + iso_time(mapping.from) + "\n";
}

Json audit_json(const AuditEntry& entry) {
  return {{"number", entry.number}, {"at", iso_time(entry.at)}, {"account", entry.account}, {"verb", entry.verb},
          {"change", entry.change}, {"before", entry.before},   {"after", entry.after},     {"chain", entry.chain}};
}

// What a change works on: the file, read under its lock, and the audit beside it.
struct Workshop {
  FileLock lock;
  std::unique_ptr<KeyValue> kv;
  std::optional<RegistrationAudit> audit;
};

Result<Workshop> open_workshop(const RegistrationCommand& command) {
  const fs::path directory = audit_directory(command.state);
  for (const fs::path& wanted : {command.state, directory}) {
    if (const Status made = make_state_directory(wanted); !made) return made.error();
  }
  Result<FileLock> lock = FileLock::acquire(command.state / "registration.lock");
  if (!lock) return lock.error();
  auto kv = open_lmdb(directory, LmdbOptions{.size_max_bytes = kAuditSizeMax});
  if (!kv) return kv.error();
  Result<RegistrationAudit> audit = RegistrationAudit::open(**kv);
  if (!audit) return audit.error();
  return Workshop{.lock = std::move(*lock), .kv = std::move(*kv), .audit = std::move(*audit)};
}

// The mapping in force that remove-tenant means.
std::optional<TenantMapping> find_mapping(const Registration& registration, const std::string& id, UtcTime now) {
  const std::optional<Uuid> wanted = Uuid::parse(id);
  for (const TenantMapping& mapping : registration.in_force(now)) {
    if (wanted && (mapping.tenant == *wanted || mapping.subscription == *wanted)) return mapping;
  }
  return std::nullopt;
}

std::string payer_word(const Registration& registration, const Uuid& payer) {
  return payer == registration.subscription ? "the default subscription " + payer.text() : payer.text();
}

// Writes the change down and makes it.
int commit_change(const RegistrationCommand& command, Workshop& workshop, const Registration& before,
                  const TenantMapping& mapping, const std::string& verb, RegistrationWorld& world) {
  const Result<Registration> changed = with_mapping(before, mapping);
  if (!changed) return say(world, kWrongUse, changed.error().message);
  const Result<std::string> old_text = read_file(command.file, kRegistrationFileMax);
  if (!old_text) return say(world, kFailed, old_text.error().message);
  const Status noted = workshop.audit->note_other_change(*old_text, world.now, world.account);
  if (!noted) return say(world, kFailed, noted.error().message);

  const Uuid payer = mapping.subscription.value_or(before.subscription);
  const std::string paid = verb == "add-tenant" ? " pays by " : " goes back to ";
  std::string sentence =
      "tenant " + mapping.tenant.text() + paid + payer_word(before, payer) + " from " + iso_time(mapping.from) + " on";
  for (const TenantMapping& known : before.in_force(mapping.from)) {
    if (known.tenant == mapping.tenant && known.subscription != mapping.subscription) {
      sentence += "; this replaces " + known.subscription->text();
    }
  }
  const std::string text = registration_json(*changed);
  const Status audited = workshop.audit->add({.number = 0,
                                              .at = world.now,
                                              .account = world.account,
                                              .verb = verb,
                                              .change = sentence,
                                              .before = RegistrationAudit::digest_of_text(*old_text),
                                              .after = RegistrationAudit::digest_of_text(text),
                                              .chain = ""});
  if (!audited) return say(world, kFailed, audited.error().message);
  if (const Status written = replace_file(command.file, text); !written) {
    return say(world, kFailed, written.error().message);
  }
  if (command.json) {
    Json json = mapping_json(mapping);
    json["message"] = sentence;
    world.out << json.dump() << "\n";
  } else {
    world.out << sentence << "\n";
  }
  return kDone;
}

}  // namespace

Result<std::optional<Registration>> load_registration(const fs::path& file) {
  const Result<std::string> text = read_file(file, kRegistrationFileMax);
  if (!text && text.error().code == ErrorCode::kNotFound) return std::optional<Registration>();
  if (!text) return text.error();
  Result<Registration> registration = parse_registration(*text);
  if (!registration) return Error{registration.error().code, file.string() + ": " + registration.error().message};
  return std::optional(std::move(*registration));
}

int registration_show(const RegistrationCommand& command, RegistrationWorld& world) {
  const auto registration = load_registration(command.file);
  if (!registration) return say(world, kWrongUse, registration.error().message);
  TenantRequest request = command.request;
  if (!*registration) {
    request.subscription = "";
    return say(world, *check_request(std::nullopt, request, false, world.now));
  }
  world.out << registration_json(**registration);
  return kDone;
}

int registration_check(const RegistrationCommand& command, RegistrationWorld& world) {
  const auto registration = load_registration(command.file);
  if (!registration) return say(world, kWrongUse, registration.error().message);
  // What is kept upstream is asked there: the file may be behind.
  const bool here = command.upstream.url.empty();
  if (auto error = check_request(*registration, command.request, here, world.now)) return say(world, *error);
  const std::string& id = command.request.subscription;
  std::string tenant;
  if (here) {
    tenant = find_mapping(**registration, id, world.now)->tenant.text();
  } else {
    RegistrationUpstream upstream(command.upstream, **registration, world.sleep);
    const auto answer = upstream.get(id);
    if (const auto* const error = std::get_if<RegistrationError>(&answer)) return say(world, *error);
    tenant = std::get<CustomerSubscription>(answer).tenant;
  }
  if (command.json) {
    world.out << Json{{"subscription", id}, {"tenant", tenant}}.dump() << "\n";
  } else {
    world.out << "customer subscription " << id << " is registered for tenant " << display_text(tenant) << "\n";
  }
  return kDone;
}

int registration_list(const RegistrationCommand& command, RegistrationWorld& world) {
  const auto registration = load_registration(command.file);
  if (!registration) return say(world, kWrongUse, registration.error().message);
  if (!*registration) return say(world, *check_request(std::nullopt, command.request, false, world.now));
  Json tenants = Json::array();
  std::string text;
  if (command.upstream.url.empty() || command.history) {
    for (const TenantMapping& mapping :
         command.history ? (*registration)->tenants : (*registration)->in_force(world.now)) {
      tenants.push_back(mapping_json(mapping));
      text += mapping_text(mapping);
    }
  } else {
    RegistrationUpstream upstream(command.upstream, **registration, world.sleep);
    const auto answer = upstream.list();
    if (const auto* const error = std::get_if<RegistrationError>(&answer)) return say(world, *error);
    for (const CustomerSubscription& one : std::get<std::vector<CustomerSubscription>>(answer)) {
      tenants.push_back({{"tenant", one.tenant}, {"subscription", one.id}});
      text += display_text(one.tenant) + "  " + display_text(one.id) + "\n";
    }
  }
  Json json = {{"default", (*registration)->subscription.text()}, {"tenants", std::move(tenants)}};
  if (command.history && fs::exists(audit_directory(command.state))) {
    const auto kv =
        open_lmdb(audit_directory(command.state), LmdbOptions{.size_max_bytes = kAuditSizeMax, .read_only = true});
    if (!kv) return say(world, kFailed, kv.error().message);
    const auto entries = read_audit(**kv);
    if (!entries) return say(world, kFailed, entries.error().message);
    json["audit"] = Json::array();
    for (const AuditEntry& entry : *entries) {
      json["audit"].push_back(audit_json(entry));
      text += iso_time(entry.at) + "  " + display_text(entry.account) + "  " + entry.verb + ": " + entry.change + "\n";
    }
  }
  if (command.json) {
    world.out << json.dump() << "\n";
  } else {
    world.out << (*registration)->subscription.text() << "  (the default)\n" << text;
  }
  return kDone;
}

int registration_add(const RegistrationCommand& command, RegistrationWorld& world) {
  Result<Workshop> workshop = open_workshop(command);
  if (!workshop) return say(world, kFailed, workshop.error().message);
  const auto registration = load_registration(command.file);
  if (!registration) return say(world, kWrongUse, registration.error().message);
  if (auto error = check_request(*registration, command.request, false, world.now)) return say(world, *error);
  const std::optional<Uuid> tenant = Uuid::parse(command.tenant);
  if (!tenant) return say(world, kWrongUse, "the tenant has to be a tenant id (UUID)");
  const TenantMapping mapping{.tenant = *tenant,
                              .subscription = Uuid::parse(command.request.subscription),
                              .from = command.from.value_or(world.now)};
  if (const auto possible = with_mapping(**registration, mapping); !possible) {
    return say(world, kWrongUse, possible.error().message);
  }
  if (!command.upstream.url.empty()) {
    RegistrationUpstream upstream(command.upstream, **registration, world.sleep);
    if (auto error = upstream.put(command.request.subscription, *tenant)) return say(world, *error);
  }
  return commit_change(command, *workshop, **registration, mapping, "add-tenant", world);
}

int registration_remove(const RegistrationCommand& command, RegistrationWorld& world) {
  Result<Workshop> workshop = open_workshop(command);
  if (!workshop) return say(world, kFailed, workshop.error().message);
  const auto registration = load_registration(command.file);
  if (!registration) return say(world, kWrongUse, registration.error().message);
  std::optional<TenantMapping> known;
  if (*registration) known = find_mapping(**registration, command.tenant, world.now);
  TenantRequest request = command.request;
  request.subscription = known ? known->subscription->text() : command.tenant;
  if (auto error = check_request(*registration, request, true, world.now)) return say(world, *error);
  const TenantMapping mapping{
      .tenant = known->tenant, .subscription = std::nullopt, .from = command.from.value_or(world.now)};
  if (const auto possible = with_mapping(**registration, mapping); !possible) {
    return say(world, kWrongUse, possible.error().message);
  }
  if (!command.upstream.url.empty()) {
    RegistrationUpstream upstream(command.upstream, **registration, world.sleep);
    auto error = upstream.remove(request.subscription);
    // Gone already: perhaps by this verb, before it was interrupted.
    if (error && error->code != "CustomerSubscriptionNotFound") return say(world, *error);
  }
  return commit_change(command, *workshop, **registration, mapping, "remove-tenant", world);
}

}  // namespace nodemeter
