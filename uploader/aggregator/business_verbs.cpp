#include "uploader/aggregator/business_verbs.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <ostream>
#include <thread>

#include "platform/text.h"
#include "uploader/aggregator/commerce_verb.h"
#include "uploader/aggregator/config.h"
#include "uploader/aggregator/exit_codes.h"
#include "uploader/aggregator/registration_verbs.h"
#include "uploader/curl_global.h"

namespace nodemeter {
namespace {

// Who asks, for the audit: behind sudo the person, not root.
std::string account() {
  for (const char* const name : {"SUDO_USER", "USER", "LOGNAME", "USERNAME"}) {
    const char* const value = std::getenv(name);
    if (value != nullptr && *value != '\0') return value;
  }
  return "unknown";
}

void take(std::string& value, const std::string& otherwise) {
  if (value.empty()) value = otherwise;
}

}  // namespace

struct BusinessVerbs::Lines {
  CLI::App *registration = nullptr, *show = nullptr, *check = nullptr, *list = nullptr, *add = nullptr,
           *remove = nullptr, *commerce = nullptr;
  std::string config, file, state, kind, from, nodes;
  RegistrationCommand change;
  CommerceCommand bridge;

  // The configuration, with what the flags say instead. "" or what is wrong.
  std::string configure();
  // What the registration verbs were told. "" or what is wrong.
  std::string read_words();
};

BusinessVerbs::BusinessVerbs(CLI::App& app) : lines_(std::make_unique<Lines>()) {
  Lines& l = *lines_;
  l.registration = app.add_subcommand("registration",
                                      "who pays for which tenant\n"
                                      "Example: nodemeter-aggregator registration add-tenant TENANT SUBSCRIPTION "
                                      "--config F");
  l.registration->require_subcommand(1);
  const auto verb = [&](const char* name, const char* text) {
    CLI::App* const app_verb = l.registration->add_subcommand(name, text);
    app_verb->add_option("--config", l.config, "configuration file (TOML); flags below win over it");
    app_verb->add_option("--file", l.file, "registration file (JSON)");
    app_verb->add_option("--state", l.state, "state directory, which holds the audit");
    app_verb->add_option("--upstream", l.change.upstream.url, "where customer subscriptions are kept");
    app_verb->add_option("--bearer-file", l.change.upstream.bearer_file, "file of its token");
    app_verb->add_option("--ca", l.change.upstream.ca_file, "authority of its certificate (PEM)");
    app_verb->add_option("--registration-name", l.change.request.name, "the registration that is meant");
    app_verb->add_option("--resource-group", l.change.request.resource_group, "its resource group");
    app_verb->add_option("--registration-subscription", l.change.request.registration_subscription, "its subscription");
    app_verb->add_flag("--json", l.change.json, "JSON");
    return app_verb;
  };
  const auto customer = [&](CLI::App* app_verb) {
    app_verb->add_option("--kind", l.kind, "of the customer subscription: CSP, CSPSS or EA");
    app_verb->add_option("--partner-id", l.change.request.partner_id, "to which it rolls up");
  };
  l.show = verb("show", "print the registration");
  l.check = verb("check", "whether a customer subscription is registered, and may be");
  l.check->add_option("subscription", l.change.request.subscription, "the customer subscription")->required();
  customer(l.check);
  l.list = verb("list", "the tenants with subscriptions of their own");
  l.list->add_flag("--history", l.change.history, "also what holds no more or not yet, and the audit");
  l.add = verb("add-tenant", "let a subscription pay for a tenant; a second one replaces the first");
  l.add->add_option("tenant", l.change.tenant, "the tenant")->required();
  l.add->add_option("subscription", l.change.request.subscription, "the customer subscription")->required();
  l.add->add_option("--from", l.from, "from when on, such as 2026-01-01T00:00:00Z; default: now");
  customer(l.add);
  l.remove = verb("remove-tenant", "hand a tenant back to the default subscription");
  l.remove->add_option("tenant", l.change.tenant, "the tenant, or its customer subscription")->required();
  l.remove->add_option("--from", l.from, "from when on; default: now");

  l.commerce = app.add_subcommand("commerce",
                                  "deliver each complete day's billable usage once; exit 3: a day is not complete\n"
                                  "Example: nodemeter-aggregator commerce --config F");
  l.commerce->add_option("--config", l.config, "configuration file (TOML); flags below win over it");
  l.commerce->add_option("--state", l.state, "the aggregator's state directory");
  l.commerce->add_option("--registration", l.file, "registration file (JSON)");
  l.commerce->add_option("--target", l.bridge.target, "a directory, or a URL");
  l.commerce->add_option("--meter-map", l.bridge.meter_map, "local to commerce meters (JSON)");
  l.commerce->add_option("--nodes", l.nodes, "file of the nodes whose manifests make a day complete (JSON)");
  l.commerce->add_option("--bearer-file", l.bridge.bearer_file, "file of the URL's token");
  l.commerce->add_option("--ca", l.bridge.ca_file, "authority of the URL's certificate (PEM)");
  l.commerce->add_flag("--force", l.bridge.force, "also with the billing models Capacity and Development");
  l.commerce->add_flag("--json", l.bridge.json, "JSON");
}

BusinessVerbs::~BusinessVerbs() = default;

std::string BusinessVerbs::Lines::configure() {
  AggregatorConfig loaded;
  if (!config.empty()) {
    Result<AggregatorConfig> read = load_aggregator_config(config);
    if (!read) return read.error().message;
    loaded = std::move(*read);
  }
  take(file, loaded.registration_file);
  take(state, loaded.state.string());
  take(change.upstream.url, loaded.upstream);
  take(change.upstream.bearer_file, loaded.upstream_bearer_file);
  take(bridge.target, loaded.commerce_target);
  take(bridge.meter_map, loaded.meter_map_file);
  take(bridge.bearer_file, loaded.commerce_bearer_file);
  take(nodes, loaded.nodes_file);
  if (file.empty()) return "no registration file is configured: [registration] file";
  change.file = file;
  change.state = state;
  bridge.state = state;
  bridge.registration_file = file;
  bridge.nodes_file = nodes;
  return "";
}

std::string BusinessVerbs::Lines::read_words() {
  if (!kind.empty()) {
    change.request.kind = parse_kind(kind);
    if (!change.request.kind) return "--kind is \"" + display_text(kind, 64) + "\"; CSP, CSPSS or EA is expected";
  }
  if (!from.empty()) {
    change.from = parse_time(from);
    if (!change.from)
      return "--from is \"" + display_text(from, 64) + "\"; a time such as 2026-01-01T00:00:00Z is expected";
  }
  return "";
}

std::optional<int> BusinessVerbs::run(std::ostream& out, std::ostream& err) {
  Lines& l = *lines_;
  if (!*l.registration && !*l.commerce) return std::nullopt;
  std::string fault = l.configure();
  if (fault.empty()) fault = l.read_words();
  if (!fault.empty()) {
    err << "nodemeter-aggregator: " << fault << "\n";
    return kWrongUse;
  }
  const CurlGlobal curl;
  const UtcTime now = system_clock()->now().utc;
  const auto sleep = [](Milliseconds pause) { std::this_thread::sleep_for(pause); };
  if (*l.commerce) {
    CommerceWorld world{.now = now, .sleep = sleep, .out = out, .err = err};
    return commerce(l.bridge, world);
  }
  RegistrationWorld world{.now = now, .account = account(), .sleep = sleep, .out = out, .err = err};
  if (*l.show) return registration_show(l.change, world);
  if (*l.check) return registration_check(l.change, world);
  if (*l.list) return registration_list(l.change, world);
  if (*l.add) return registration_add(l.change, world);
  return registration_remove(l.change, world);
}

}  // namespace nodemeter
