// Goal: who pays for a tenant is what the registration says for that time, nothing in the past changes, and each of the
// documented errors comes out under its own condition, by its code.
// Method: documents made by hand; the verbs on real files; a real HTTP server that answers as Azure documents it.

#include "uploader/aggregator/registration.h"

#include <catch2/catch.hpp>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>

#include "platform/files.h"
#include "platform/text.h"
#include "tests/aggregator/server_fixture.h"
#include "tests/aggregator/usage_site.h"
#include "tests/temporary_directory.h"
#include "uploader/aggregator/registration_audit.h"
#include "uploader/aggregator/registration_verbs.h"
#include "uploader/curl_global.h"

namespace nodemeter {
namespace {

using nlohmann::json;
using testing::at;
using testing::id_of;
using testing::TemporaryDirectory;

const UtcTime kNow = *parse_time("2026-03-01T12:00:00Z");

Registration sample() {
  Registration r;
  r.name = "azurestack-1";
  r.resource_group = "rg 1";
  r.subscription = id_of(100);
  r.partner_id = "4711";
  r.multi_tenancy = true;
  r.cloud_id = "cloud-1";
  r.tenants = {{.tenant = id_of(1), .subscription = id_of(201), .from = at("2026-01-01T00:00:00Z")},
               {.tenant = id_of(1), .subscription = std::nullopt, .from = at("2026-01-10T12:30:00Z")},
               {.tenant = id_of(2), .subscription = id_of(202), .from = at("2026-02-01T00:00:00Z")}};
  return r;
}

std::string fault(const json& document) {
  const auto parsed = parse_registration(document.dump());
  REQUIRE_FALSE(parsed.ok());
  CHECK(parsed.error().code == ErrorCode::kInvalidInput);
  return parsed.error().message;
}

// "<code>" of the first failing check; "" if none fails.
std::string code(const std::optional<Registration>& registration, const TenantRequest& request, bool must_exist) {
  const auto error = check_request(registration, request, must_exist, kNow);
  if (error) CHECK(error->message.size() > 20);
  return error ? error->code : "";
}

TenantRequest of(unsigned subscription) {
  TenantRequest request;
  request.subscription = id_of(subscription).text();
  return request;
}

// A registration on disk, and what its verbs said.
struct Desk {
  explicit Desk(const std::optional<Registration>& registration = sample()) {
    command.file = directory.file("registration.json");
    command.state = directory.file("state");
    command.upstream.attempts = 3;
    command.upstream.timeout = Milliseconds(20'000);
    if (registration) REQUIRE(replace_file(command.file, registration_json(*registration)).ok());
  }

  using Verb = int (*)(const RegistrationCommand&, RegistrationWorld&);
  int run(Verb verb) {
    out.str("");
    err.str("");
    RegistrationWorld world{.now = now,
                            .account = "tester",
                            .sleep = [this](Milliseconds pause) { pauses.push_back(pause); },
                            .out = out,
                            .err = err};
    return verb(command, world);
  }
  int add(unsigned tenant, unsigned subscription) {
    command.tenant = id_of(tenant).text();
    command.request = of(subscription);
    return run(registration_add);
  }
  int remove(const std::string& id) {
    command.tenant = id;
    command.request = {};
    return run(registration_remove);
  }
  Registration file() {
    const auto loaded = load_registration(command.file);
    REQUIRE(loaded.ok());
    REQUIRE(loaded->has_value());
    return **loaded;
  }
  json history() {
    command.json = command.history = true;
    REQUIRE(run(registration_list) == 0);
    command.json = command.history = false;
    return json::parse(out.str());
  }

  TemporaryDirectory directory;
  RegistrationCommand command;
  UtcTime now = kNow;
  std::vector<Milliseconds> pauses;
  std::ostringstream out, err;
};

// What Azure keeps, over HTTP as it documents it.
class FakeAzure {
 public:
  FakeAzure() : server_(options()) {}

  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(server_.port()); }

  // Given first, in this order.
  void answer_next(std::vector<HttpAnswer> answers) {
    const std::lock_guard lock(mutex_);
    next_ = std::move(answers);
  }
  // "METHOD target bearer body" of each request.
  std::vector<std::string> asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }
  std::size_t forget(const std::string& subscription) {
    const std::lock_guard lock(mutex_);
    return customers_.erase(subscription);
  }
  void set_page(std::size_t page) {
    const std::lock_guard lock(mutex_);
    page_ = page;
  }

 private:
  static HttpAnswer answer(int status, const json& body) {
    HttpAnswer a;
    a.status = status;
    if (!body.is_null()) a.body = body.dump();
    return a;
  }
  static json item(const std::string& id, const std::string& tenant) {
    return {{"id", "/subscriptions/x/customerSubscriptions/" + id},
            {"name", id},
            {"type", "Microsoft.AzureStack\\customerSubscriptions"},
            {"properties", {{"tenantId", tenant}}}};
  }

  HttpAnswer serve(const HttpRequest& request, const std::vector<std::string>& parts) {
    const std::lock_guard lock(mutex_);
    asked_.push_back(request.method + " " + request.path + " " + request.credentials.bearer + " " + request.body);
    if (!next_.empty()) {
      HttpAnswer given = next_.front();
      next_.erase(next_.begin());
      return given;
    }
    std::string version;
    std::size_t skip = 0;
    for (const auto& [name, value] : request.query) {
      if (name == "api-version") version = value;
      if (name == "$skipToken") skip = std::stoul(value);
    }
    if (version != "2017-06-01") return answer(400, {{"error", {{"code", "NoApiVersion"}, {"message", "version"}}}});
    const std::string id = parts.size() > 3 ? parts[3] : "";
    if (request.method == "PUT") {
      customers_[id] = json::parse(request.body)["properties"]["tenantId"].get<std::string>();
      return answer(201, nullptr);
    }
    if (request.method == "DELETE") return answer(customers_.erase(id) > 0 ? 204 : 404, nullptr);
    if (!id.empty()) {
      return customers_.count(id) == 0 ? answer(404, nullptr) : answer(200, item(id, customers_[id]));
    }
    if (customers_.empty()) return answer(404, nullptr);
    json list = {{"value", json::array()}};
    std::size_t index = 0;
    for (const auto& [subscription, tenant] : customers_) {
      if (index >= skip && index < skip + page_) list["value"].push_back(item(subscription, tenant));
      ++index;
    }
    if (skip + page_ < customers_.size()) {
      list["nextLink"] = url() + request.path + "?api-version=2017-06-01&$skipToken=" + std::to_string(skip + page_);
    }
    return answer(200, list);
  }

  ServerOptions options() {
    ServerOptions options;
    const std::string base =
        "/subscriptions/*/resourceGroups/*/providers/Microsoft.AzureStack/registrations/*/customerSubscriptions";
    const auto handler = [this](const HttpRequest& request, const std::vector<std::string>& parts) {
      return serve(request, parts);
    };
    options.routes = {{"GET", base, handler},
                      {"GET", base + "/*", handler},
                      {"PUT", base + "/*", handler},
                      {"DELETE", base + "/*", handler}};
    return options;
  }

  std::mutex mutex_;                              // Guards what follows.
  std::map<std::string, std::string> customers_;  // Subscription -> tenant.
  std::vector<std::string> asked_;
  std::vector<HttpAnswer> next_;
  std::size_t page_ = 100;
  testing::ServerFixture server_;
};

HttpAnswer status(int code, const std::string& body = "") {
  HttpAnswer answer;
  answer.status = code;
  answer.body = body;
  return answer;
}

}  // namespace

TEST_CASE("a registration document reads as it was written", "[registration]") {
  const Registration r = sample();
  const auto parsed = parse_registration(registration_json(r));
  REQUIRE(parsed.ok());
  CHECK(*parsed == r);
  CHECK(json::parse(registration_json(r))["tenants"][1]["subscription"].is_null());
}

TEST_CASE("a registration document says what is wrong with it", "[registration]") {
  const json good = json::parse(registration_json(sample()));
  CHECK(parse_registration("[]").error().message == "registration: expected a JSON object");
  CHECK(parse_registration("{").error().message == "registration: expected a JSON object");
  const auto with = [&](const json& patch) {
    json changed = good;
    changed.merge_patch(patch);
    return fault(changed);
  };
  CHECK(with({{"biling_model", "x"}}) ==
        R"(registration: unknown field "biling_model"; did you mean "billing_model"?)");
  CHECK(with({{"name", nullptr}}) == "registration: \"name\" is missing");
  CHECK(with({{"name", 1}}) == "registration: \"name\" has to be text");
  CHECK(with({{"resource_group", ""}}) == "registration: \"resource_group\" is missing");
  CHECK(with({{"subscription", "x"}}) ==
        "registration: \"subscription\" has to be the default subscription's id (UUID)");
  CHECK(with({{"kind", "csp"}}) == R"(registration: "kind" has to be "CSP", "CSPSS" or "EA")");
  CHECK(with({{"billing_model", "Pay"}}) ==
        R"(registration: "billing_model" has to be "PayAsYouUse", "Capacity" or "Development")");
  CHECK(with({{"multi_tenancy", "yes"}}) == "registration: \"multi_tenancy\" has to be true or false");
  CHECK(with({{"tenants", json::object({{"a", 1}})}}) == "registration: \"tenants\" has to be a list");
  const auto tenant = [&](const json& item) {
    json changed = good;
    changed["tenants"] = json::array({item});
    return fault(changed);
  };
  CHECK(tenant(1) == "registration: an entry of \"tenants\" is not an object");
  CHECK(tenant({{"tenant", "x"}}) == "registration: tenants: \"tenant\" has to be a tenant id (UUID)");
  CHECK(tenant({{"tenant", id_of(1).text()}}) ==
        "registration: tenants: \"subscription\" is missing; null is the default one");
  CHECK(tenant({{"tenant", id_of(1).text()}, {"subscription", nullptr}}) ==
        "registration: tenants: \"from\" has to be a time such as 2026-01-01T00:00:00Z");
}

TEST_CASE("a tenant's use is paid by what is in force at the end of the hour, else by the default", "[registration]") {
  const Registration r = sample();
  const auto payer = [&](unsigned tenant, const std::string& end) { return r.payer(id_of(tenant), at(end)); };
  CHECK(payer(1, "2025-12-31T23:00:00Z") == id_of(100));
  CHECK(payer(1, "2026-01-01T00:00:00Z") == id_of(100));
  CHECK(payer(1, "2026-01-01T01:00:00Z") == id_of(201));
  CHECK(payer(1, "2026-01-10T12:00:00Z") == id_of(201));
  CHECK(payer(1, "2026-01-10T13:00:00Z") == id_of(100));
  CHECK(payer(2, "2026-02-02T00:00:00Z") == id_of(202));
  CHECK(payer(3, "2026-02-02T00:00:00Z") == id_of(100));
  CHECK(payer(0, "2026-02-02T00:00:00Z") == id_of(100));
  CHECK(r.in_force(at("2026-01-05T00:00:00Z")).size() == 1);
  CHECK(r.in_force(kNow).size() == 1);
  CHECK(r.in_force(kNow).front().tenant == id_of(2));
}

TEST_CASE("the eight errors come in their order, each under its condition", "[registration]") {
  // Everything is wrong; one thing after the other is put right.
  TenantRequest request = of(999);
  request.name = "another";
  request.subscription = "AA000000-0000-0000-0000-000000000999";
  request.kind = SubscriptionKind::kEa;
  request.partner_id = "4712";
  Registration r = sample();
  r.billing_model = BillingModel::kCapacity;
  r.multi_tenancy = false;
  CHECK(code(std::nullopt, request, true) == "RegistrationNotFound");
  CHECK(code(r, request, true) == "RegistrationNotFound");
  request.name = r.name;
  request.resource_group = "another";
  CHECK(code(r, request, true) == "RegistrationNotFound");
  request.resource_group = r.resource_group;
  request.registration_subscription = id_of(7).text();
  CHECK(code(r, request, true) == "RegistrationNotFound");
  request.registration_subscription = r.subscription.text();
  CHECK(code(r, request, true) == "CustomerSubscriptionsNotAllowed");
  r.billing_model = BillingModel::kDevelopment;
  CHECK(code(r, request, true) == "CustomerSubscriptionsNotAllowed");
  r.billing_model = BillingModel::kPayAsYouUse;
  CHECK(code(r, request, true) == "UnauthorizedCspRegistration");
  r.multi_tenancy = true;
  r.kind = SubscriptionKind::kEa;
  CHECK(code(r, request, true) == "UnauthorizedCspRegistration");
  r.kind = SubscriptionKind::kCspss;
  CHECK(code(r, request, true) == "InvalidCustomerSubscriptionId");
  for (const char* const bad : {"", "x", "00000000-0000-0000-0000-000000000000", "aa000000000000000000000000000999"}) {
    request.subscription = bad;
    CHECK(code(r, request, true) == "InvalidCustomerSubscriptionId");
  }
  request.subscription = id_of(999).text();
  CHECK(code(r, request, true) == "InvalidCSPSubscription");
  request.kind = SubscriptionKind::kCspss;
  CHECK(code(r, request, true) == "InvalidCSPSubscription");
  request.kind = SubscriptionKind::kCsp;
  CHECK(code(r, request, true) == "BadCustomerSubscriptionId");
  request.partner_id = "4711";
  CHECK(code(r, request, true) == "CustomerSubscriptionNotFound");
  CHECK(code(r, request, false).empty());
  request.subscription = id_of(201).text();  // Was in force once.
  CHECK(code(r, request, true) == "CustomerSubscriptionNotFound");
  request.subscription = id_of(202).text();
  CHECK(code(r, request, true).empty());
}

TEST_CASE("a message names the values and what to do", "[registration]") {
  TenantRequest request = of(202);
  request.name = "x";
  const auto error = check_request(sample(), request, false, kNow);
  REQUIRE(error.has_value());
  CHECK(error->message == "There is no registration 'x' in resource group 'rg 1' of subscription '" +
                              id_of(100).text() +
                              "'; the file has registration 'azurestack-1' in resource group "
                              "'rg 1' of subscription '" +
                              id_of(100).text() + "'. Check subscription id, resource group and registration name.");
}

TEST_CASE("tenants are added, replaced and removed from a time on, and the past stays", "[registration]") {
  Desk desk;
  CHECK(desk.add(3, 203) == 0);
  CHECK(desk.out.str() ==
        "tenant " + id_of(3).text() + " pays by " + id_of(203).text() + " from 2026-03-01T12:00:00.000Z on\n");
  desk.now += std::chrono::hours(1);
  CHECK(desk.add(3, 204) == 0);
  CHECK(desk.out.str() == "tenant " + id_of(3).text() + " pays by " + id_of(204).text() +
                              " from 2026-03-01T13:00:00.000Z on; this replaces " + id_of(203).text() + "\n");
  desk.now += std::chrono::hours(1);
  CHECK(desk.remove(id_of(3).text()) == 0);
  CHECK(desk.out.str().find("goes back to the default subscription " + id_of(100).text()) != std::string::npos);
  CHECK(desk.remove(id_of(202).text()) == 0);
  CHECK(desk.remove(id_of(202).text()) == 1);
  CHECK(desk.err.str().find("CustomerSubscriptionNotFound: ") != std::string::npos);
  const Registration r = desk.file();
  CHECK(r.payer(id_of(3), at("2026-03-01T12:00:00Z")) == id_of(100));
  CHECK(r.payer(id_of(3), at("2026-03-01T13:00:00Z")) == id_of(203));
  CHECK(r.payer(id_of(3), at("2026-03-01T14:00:00Z")) == id_of(204));
  CHECK(r.payer(id_of(3), at("2026-03-01T15:00:00Z")) == id_of(100));
  CHECK(r.payer(id_of(2), at("2026-02-15T00:00:00Z")) == id_of(202));
  // What is in force from a later time on cannot be undercut.
  desk.command.from = at("2026-03-01T12:30:00Z");
  CHECK(desk.add(3, 205) == 2);
  CHECK(desk.err.str().find("would change the past") != std::string::npos);
  desk.command.from = at("2026-04-01T00:00:00Z");
  CHECK(desk.add(3, 205) == 0);
  CHECK(desk.file().in_force(desk.now).empty());
}

TEST_CASE("every change has an audit entry, and one made by other means is found", "[registration]") {
  Desk desk;
  CHECK(desk.add(3, 203) == 0);
  CHECK(desk.add(3, 203) == 0);
  // Somebody edits the file.
  Registration r = desk.file();
  r.partner_id = "4712";
  REQUIRE(replace_file(desk.command.file, registration_json(r)).ok());
  CHECK(desk.remove(id_of(3).text()) == 0);
  const json audit = desk.history()["audit"];
  std::vector<std::string> verbs;
  std::string before;
  for (const json& entry : audit) {
    verbs.push_back(entry["verb"].get<std::string>());
    CHECK(entry["before"] == before);
    CHECK(entry["account"] == "tester");
    CHECK(entry["number"] == verbs.size());
    before = entry["after"].get<std::string>();
  }
  CHECK(verbs ==
        std::vector<std::string>{"first-seen", "add-tenant", "add-tenant", "changed-elsewhere", "remove-tenant"});
  CHECK(before == RegistrationAudit::digest_of_text(*read_file(desk.command.file, 1u << 20)));
  CHECK(audit[1]["change"].get<std::string>().find("pays by " + id_of(203).text()) != std::string::npos);
}

TEST_CASE("an audit entry that was changed or taken away is noticed", "[registration]") {
  MemoryDisk disk;
  MemoryKv kv(disk);
  auto audit = RegistrationAudit::open(kv);
  REQUIRE(audit.ok());
  for (int i = 0; i < 3; ++i) {
    REQUIRE(audit
                ->add({.at = kNow,
                       .account = "a",
                       .verb = "add-tenant",
                       .change = "x\n",
                       .before = "",
                       .after = "",
                       .chain = ""})
                .ok());
  }
  REQUIRE(read_audit(kv).ok());
  CHECK(read_audit(kv)->size() == 3);
  std::string key;
  append_big_endian(key, 2);
  const auto value = (*kv.snapshot())->get(Table::kEntries, key);
  std::string changed = **value;
  changed.replace(changed.find("\"a\""), 3, "\"b\"");
  disk.damage(Table::kEntries, key, changed);
  CHECK(read_audit(kv).error().code == ErrorCode::kCorrupt);
  disk.lose(Table::kEntries, key);
  CHECK(RegistrationAudit::open(kv).error().code == ErrorCode::kCorrupt);
}

TEST_CASE("the verbs tell the documented errors by code, and leave the file alone", "[registration]") {
  Desk none(std::nullopt);
  CHECK(none.add(3, 203) == 1);
  CHECK(none.err.str().find("RegistrationNotFound: ") != std::string::npos);
  for (const Desk::Verb verb : {&registration_show, &registration_list, &registration_check}) {
    CHECK(none.run(verb) == 1);
    CHECK(none.err.str().find("RegistrationNotFound: ") != std::string::npos);
  }
  Desk desk;
  const std::string before = *read_file(desk.command.file, 1u << 20);
  desk.command.request = of(203);
  desk.command.request.kind = SubscriptionKind::kEa;
  desk.command.tenant = id_of(3).text();
  CHECK(desk.run(registration_add) == 1);
  CHECK(desk.err.str().find("InvalidCSPSubscription: ") != std::string::npos);
  desk.command.request = of(203);
  desk.command.tenant = "nobody";
  CHECK(desk.run(registration_add) == 2);
  CHECK(*read_file(desk.command.file, 1u << 20) == before);
  CHECK(desk.run(registration_show) == 0);
  CHECK(desk.out.str() == before);
  desk.command.request = of(202);
  CHECK(desk.run(registration_check) == 0);
  CHECK(desk.out.str() ==
        "customer subscription " + id_of(202).text() + " is registered for tenant " + id_of(2).text() + "\n");
  REQUIRE(replace_file(desk.command.file, "{").ok());
  CHECK(desk.run(registration_show) == 2);
}

TEST_CASE("with an upstream server customer subscriptions are put, listed, asked and deleted there", "[registration]") {
  const CurlGlobal curl;
  REQUIRE(curl.ready());
  FakeAzure azure;
  Desk desk;
  REQUIRE(replace_file(desk.directory.file("token"), "  bearer-of-the-site\n").ok());
  desk.command.upstream.url = azure.url() + "/";
  desk.command.upstream.bearer_file = desk.directory.file("token");

  // None yet: the server answers 404 without a body.
  CHECK(desk.run(registration_list) == 0);
  CHECK(desk.out.str() == id_of(100).text() + "  (the default)\n");
  CHECK(desk.add(3, 203) == 0);
  REQUIRE(azure.asked().size() == 2);
  CHECK(azure.asked()[1] == "PUT /subscriptions/" + id_of(100).text() +
                                "/resourceGroups/rg%201/providers/Microsoft.AzureStack/registrations/azurestack-1/"
                                "customerSubscriptions/" +
                                id_of(203).text() +
                                " bearer-of-the-site {\"properties\":"
                                "{\"tenantId\":\"" +
                                id_of(3).text() + "\"}}");
  CHECK(desk.file().payer(id_of(3), kNow + Milliseconds(1)) == id_of(203));
  for (unsigned n = 4; n < 8; ++n) CHECK(desk.add(n, 200 + n) == 0);
  azure.set_page(2);
  CHECK(desk.run(registration_list) == 0);
  for (unsigned n = 3; n < 8; ++n) {
    CHECK(desk.out.str().find(id_of(n).text() + "  " + id_of(200 + n).text() + "\n") != std::string::npos);
  }
  desk.command.request = of(205);
  CHECK(desk.run(registration_check) == 0);
  CHECK(desk.out.str().find("tenant " + id_of(5).text()) != std::string::npos);
  CHECK(desk.remove(id_of(205).text()) == 0);
  CHECK(azure.forget(id_of(205).text()) == 0);
  desk.command.request = of(205);
  CHECK(desk.run(registration_check) == 1);
  CHECK(desk.err.str().find("CustomerSubscriptionNotFound: ") != std::string::npos);
  // Deleted there, and interrupted before the file was written: the verb completes it.
  CHECK(azure.forget(id_of(206).text()) == 1);
  CHECK(desk.remove(id_of(6).text()) == 0);
  CHECK(desk.file().payer(id_of(6), kNow + std::chrono::hours(1)) == id_of(100));
}

TEST_CASE("a server that fails is asked again, any other refusal comes out by its code", "[registration]") {
  const CurlGlobal curl;
  REQUIRE(curl.ready());
  FakeAzure azure;
  Desk desk;
  desk.command.upstream.url = azure.url();
  azure.answer_next({status(502), status(503)});
  CHECK(desk.add(3, 203) == 0);
  CHECK(desk.pauses == std::vector<Milliseconds>{Milliseconds(1'000), Milliseconds(2'000)});
  const Registration before = desk.file();

  azure.answer_next({status(502), status(504), status(502)});
  CHECK(desk.add(4, 204) == 1);
  CHECK(
      desk.err.str().find("MetadataResolverBadGatewayError: The upstream server failed 3 times, last with HTTP 502") !=
      std::string::npos);
  const std::size_t asked = azure.asked().size();
  azure.answer_next({status(400, R"({"error":{"code":"BadCustomerSubscriptionId","message":"other partner"}})")});
  CHECK(desk.add(4, 204) == 1);
  CHECK(desk.err.str().find("BadCustomerSubscriptionId: other partner (the upstream server answered with HTTP 400)") !=
        std::string::npos);
  azure.answer_next({status(404)});
  CHECK(desk.add(4, 204) == 1);
  CHECK(desk.err.str().find("RegistrationNotFound: ") != std::string::npos);
  azure.answer_next({status(401, "<html>")});
  CHECK(desk.add(4, 204) == 1);
  CHECK(desk.err.str().find("UpstreamRefused: the upstream server answered with HTTP 401.") != std::string::npos);
  azure.answer_next({status(307)});
  CHECK(desk.add(4, 204) == 1);
  CHECK(azure.asked().size() == asked + 4);
  CHECK(desk.file() == before);

  // Nobody there, and a server that may not be asked.
  desk.pauses.clear();
  desk.command.upstream.url = "http://127.0.0.1:1";
  CHECK(desk.add(4, 204) == 1);
  CHECK(desk.err.str().find("MetadataResolverBadGatewayError: ") != std::string::npos);
  CHECK(desk.pauses.size() == 2);
  desk.command.upstream.url = "http://example.org";
  CHECK(desk.add(4, 204) == 1);
  CHECK(desk.err.str().find("UpstreamNotUsable: ") != std::string::npos);
  CHECK(desk.file() == before);
}

TEST_CASE("a list does not lead to another server", "[registration]") {
  const CurlGlobal curl;
  REQUIRE(curl.ready());
  FakeAzure azure;
  Desk desk;
  desk.command.upstream.url = azure.url();
  azure.answer_next({status(200, R"({"value":[],"nextLink":"https://example.org/subscriptions"})")});
  CHECK(desk.run(registration_list) == 1);
  CHECK(desk.err.str().find("goes on at another server") != std::string::npos);
  azure.answer_next({status(200, R"({"value":7})")});
  CHECK(desk.run(registration_list) == 1);
}

}  // namespace nodemeter
