// Goal: a configuration that cannot mean what was written is refused with the line, and nobody listens in the open.

#include "uploader/aggregator/config.h"

#include <catch2/catch.hpp>

#include "platform/digest.h"
#include "uploader/aggregator/nodes.h"

namespace nodemeter {
namespace {

std::vector<std::string> faults_of(const std::string& text) {
  ConfigFaults faults;
  (void)parse_aggregator_config(text, "a.toml", faults);
  return faults.messages;
}

}  // namespace

TEST_CASE("a whole configuration is read", "[config]") {
  ConfigFaults faults;
  const AggregatorConfig config = parse_aggregator_config(R"(
[listen]
address = "[::]:9443"
cert_file = "/c"
key_file = "/k"
client_ca_file = "/ca"
[state]
path = "/s"
size_max = "1GiB"
[nodes]
file = "/n"
[forward]
url = "https://upstream.example.org/"
interval = "5s"
bearer_file = "/b"
[trial]
allow_simulated = true
)",
                                                          "a.toml", faults);
  CHECK(faults.messages.empty());
  CHECK(config.address == "[::]:9443");
  CHECK(config.cert_file == "/c");
  CHECK(config.key_file == "/k");
  CHECK(config.client_ca_file == "/ca");
  CHECK(config.state == "/s");
  CHECK(config.nodes_file == "/n");
  CHECK(config.size_max == 1ull << 30);
  CHECK(config.forward.urls == std::vector<std::string>{"https://upstream.example.org/"});
  CHECK(config.forward.bearer_file == "/b");
  CHECK(config.forward_interval == Milliseconds(5'000));
  CHECK(config.allow_simulated);
  CHECK(serving_fault(config).empty());
  CHECK(faults_of("").empty());
}

TEST_CASE("every fault is named with its line, all at once", "[config]") {
  const auto faults =
      faults_of("[listen]\nadress = \"x\"\n[state]\npath = 7\n[trail]\n[trial]\nallow_simulated = \"yes\"\n");
  REQUIRE(faults.size() == 4);
  const auto has = [&](const std::string& text) {
    return std::any_of(faults.begin(), faults.end(),
                       [&](const std::string& fault) { return fault.find(text) != std::string::npos; });
  };
  CHECK(has("a.toml:2: listen.adress: unknown key; did you mean \"address\"?"));
  CHECK(has("a.toml:4: state.path: is 7"));
  CHECK(has("a.toml:5: trail: unknown section; did you mean [trial]?"));
  CHECK(has("a.toml:7: trial.allow_simulated"));
  CHECK(faults_of("[listen\n").size() == 1);
  CHECK(faults_of("[listen]\naddress = \"nowhere\"\n").size() == 1);
  CHECK(faults_of("listen = 5\n").size() == 1);
  CHECK(faults_of("[forward]\nurl = \"http://elsewhere/\"\n") ==
        std::vector<std::string>{"a.toml:2: forward.url: holds \"http://elsewhere/\"; plain http sends usage "
                                 "unprotected: use https, or set forward.plaintext = true"});
}

TEST_CASE("addresses are host and port", "[config]") {
  CHECK(parse_listen_address("127.0.0.1:0")->port == 0);
  CHECK(parse_listen_address("[::1]:80")->host == "::1");
  CHECK(parse_listen_address("[::1]:80")->is_loopback());
  CHECK(parse_listen_address("localhost:80")->is_loopback());
  CHECK_FALSE(parse_listen_address("0.0.0.0:80")->is_loopback());
  CHECK_FALSE(parse_listen_address("127.0.0.1.example.org:80")->is_loopback());
  for (const char* const bad :
       {"", ":80", "host", "host:", "host:65536", "host:-1", "::1:80", "[]:80", "[::1:80", "host:8x"}) {
    INFO(bad);
    CHECK_FALSE(parse_listen_address(bad).has_value());
  }
}

TEST_CASE("nobody listens to the network in plain text, or to anybody", "[config]") {
  AggregatorConfig config;
  config.address = "127.0.0.1:0";
  CHECK(serving_fault(config).empty());
  config.address = "0.0.0.0:8443";
  CHECK_FALSE(serving_fault(config).empty());
  config.cert_file = "/c";
  CHECK_FALSE(serving_fault(config).empty());
  config.key_file = "/k";
  CHECK_FALSE(serving_fault(config).empty());
  config.nodes_file = "/n";
  CHECK(serving_fault(config).empty());
  config.nodes_file = "";
  config.client_ca_file = "/ca";
  CHECK(serving_fault(config).empty());
}

TEST_CASE("a node writes as itself only, with all that it is asked for", "[nodes]") {
  // SHA-256 of "token-of-the-second".
  const auto registry = NodeRegistry::parse(R"([
    {"id": "node-1", "token": "token-of-the-first"},
    {"id": "node-2", "token_sha256": "SHA"},
    {"id": "node-3", "certificate_name": "node-3.example.org"},
    {"id": "node-4", "token": "token-of-the-fourth", "certificate_name": "node-4.example.org"}])");
  REQUIRE_FALSE(registry.ok());  // "SHA" is no digest.
  const auto good = NodeRegistry::parse(R"([
    {"id": "node-1", "token": "token-of-the-first"},
    {"id": "node-3", "certificate_name": "node-3.example.org"},
    {"id": "node-4", "token": "token-of-the-fourth", "certificate_name": "node-4.example.org"}])");
  REQUIRE(good.ok());
  const Credentials none;
  const Credentials first{.bearer = "token-of-the-first", .certificate_names = {}};
  const Credentials third{.bearer = "", .certificate_names = {"x", "node-3.example.org"}};
  const Credentials half{.bearer = "token-of-the-fourth", .certificate_names = {}};
  const Credentials both{.bearer = "token-of-the-fourth", .certificate_names = {"node-4.example.org"}};
  CHECK(good->check("node-1", first) == Access::kAllowed);
  CHECK(good->check("node-2", first) == Access::kOtherNode);
  CHECK(good->check("node-3", first) == Access::kOtherNode);
  CHECK(good->check("node-1", none) == Access::kUnknown);
  CHECK(good->check("node-1", {.bearer = "token-of-the-firsT", .certificate_names = {}}) == Access::kUnknown);
  CHECK(good->check("node-3", third) == Access::kAllowed);
  CHECK(good->check("node-4", half) == Access::kUnknown);
  CHECK(good->check("node-4", both) == Access::kAllowed);
}

TEST_CASE("a nodes file with mistakes is refused as a whole, each with its line and without a secret", "[nodes]") {
  for (const char* const bad :
       {"", "{}", "[1]", R"([{"id":"node-1"}])", R"([{"id":"Node 1","token":"0123456789abcdef"}])",
        R"([{"id":"n","token":"short"}])", R"([{"id":"n","tokens":"0123456789abcdef"}])",
        R"([{"id":"n","token":"0123456789abcdef"},{"id":"n","token":"0123456789abcdeg"}])", R"([{"id":"n","token":7}])",
        R"([{"id":"n","token":"0123456789abcdef"},{"id":"m","token":"0123456789abcdef"}])",
        R"([{"id":"n","token":"0123456789abcdef","token_sha256":"00"}])",
        R"([{"id":"n","token":"0123456789abcdef","key":"00"}])", R"([{"id":"n","relay":"*"}])",
        R"([{"id":"n","token":"0123456789abcdef","relay":[]}])",
        R"([{"id":"n","token":"0123456789abcdef","relay":"m"}])",
        R"([{"id":"n","token":"0123456789abcdef","relay":["m",1]}])"}) {
    INFO(bad);
    const auto registry = NodeRegistry::parse(bad);
    REQUIRE_FALSE(registry.ok());
    CHECK(registry.error().message.starts_with("nodes file:1: "));
    CHECK(registry.error().message.find("0123456789abcdef") == std::string::npos);
  }
  const auto faults = NodeRegistry::parse(
      "[\n {\"id\": \"a\", \"token\": \"]},{[ ,\\\" 0123456789\"},\n\n {\"id\":\n"
      "  7},{\"id\": \"b\",\n\"tokn\": \"\"}\n]",
      "n.json");
  REQUIRE_FALSE(faults.ok());
  CHECK(faults.error().message ==
        "n.json:4: entry 2: \"id\" is not text\n"
        "n.json:5: entry 3: unknown key \"tokn\"; did you mean \"token\"?");
  CHECK(NodeRegistry::parse("[\n1,\n", "n.json").error().message == "n.json:3: not valid JSON");
}

TEST_CASE("a relay writes for the nodes of its list and not as itself, a node without credentials through it only",
          "[nodes]") {
  const auto registry = NodeRegistry::parse(R"([
    {"id": "site-b", "token": "token-of-the-relay", "relay": ["node-7", "node-8"]},
    {"id": "anyone", "certificate_name": "relay.example.org", "relay": "*"},
    {"id": "node-7", "key": "0101010101010101010101010101010101010101010101010101010101010101"},
    {"id": "node-9", "token": "token-of-the-ninth"}])");
  REQUIRE(registry.ok());
  const Credentials relay{.bearer = "token-of-the-relay", .certificate_names = {}};
  CHECK(registry->check("node-7", relay) == Access::kAllowed);
  CHECK(registry->check("node-8", relay) == Access::kAllowed);
  CHECK(registry->check("node-9", relay) == Access::kOtherNode);
  CHECK(registry->check("site-b", relay) == Access::kOtherNode);
  CHECK(registry->check("node-9", {.bearer = "", .certificate_names = {"relay.example.org"}}) == Access::kAllowed);
  CHECK(registry->check("node-7", {}) == Access::kUnknown);
  CHECK(registry->configured_key("node-7") == std::string(32, '\1'));
  CHECK(registry->configured_key("node-9").empty());
  CHECK(registry->nodes().size() == 2);
}

}  // namespace nodemeter
