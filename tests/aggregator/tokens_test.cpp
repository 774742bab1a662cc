// Goal: a token opens what its entry says and nothing else, and a file that could open more by mistake is refused.

#include "uploader/aggregator/tokens.h"

#include <catch2/catch.hpp>

#include "tests/aggregator/usage_site.h"

namespace nodemeter {
namespace {

using testing::id_of;
using testing::UsageSite;

std::string fault(const std::string& json) {
  const auto registry = TokenRegistry::parse(json);
  REQUIRE_FALSE(registry.ok());
  CHECK(registry.error().code == ErrorCode::kInvalidInput);
  return registry.error().message;
}

}  // namespace

TEST_CASE("a token finds its caller and nothing else does", "[tokens]") {
  const auto registry = TokenRegistry::parse(UsageSite::kTokens);
  REQUIRE(registry.ok());
  CHECK(registry->size() == 4);
  REQUIRE(registry->find("token-of-the-operator") != nullptr);
  CHECK(registry->find("token-of-the-operator")->role == CallerRole::kOperator);
  const Caller* const provider = registry->find("token-of-the-provider");
  REQUIRE(provider != nullptr);
  CHECK(provider->may_call_as(id_of(50)));
  CHECK_FALSE(provider->may_call_as(id_of(1)));
  CHECK(provider->has_tenant(id_of(1)));
  CHECK(provider->has_tenant(id_of(2)));
  CHECK_FALSE(provider->has_tenant(id_of(50)));
  for (const char* const token : {"", "token-of-the-operato", "token-of-the-operator ", "TOKEN-OF-THE-OPERATOR"}) {
    CHECK(registry->find(token) == nullptr);
  }
  // The same token by its hash.
  const auto hashed = TokenRegistry::parse(
      R"([{"token_sha256":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","role":"operator"}])");
  REQUIRE(hashed.ok());
  CHECK(hashed->find("test") != nullptr);
  CHECK(hashed->find("tess") == nullptr);
}

TEST_CASE("a tokens file says what is wrong with it, by entry", "[tokens]") {
  const std::string good = R"({"token":"0123456789abcdef","role":"operator"})";
  const std::string s = "\"subscription\":\"" + id_of(1).text() + "\"";
  const std::string t = R"("token":"0123456789abcdeg")";
  CHECK(fault("{}") == "expected a JSON array of tokens");
  CHECK(fault("[" + good + "," + good + "]") == "tokens file, entry 2: this token is listed twice");
  CHECK(fault("[1]") == "tokens file, entry 1: expected an object");
  const auto entry = [&](const std::string& text) { return fault("[{" + text + "}]").substr(22); };
  CHECK(entry(R"("tokn":"x","role":"operator")") == R"(unknown key "tokn"; did you mean "token"?)");
  CHECK(entry(R"("role":"operator")") == R"(exactly one of "token" and "token_sha256" is needed)");
  CHECK(entry(t + R"(,"token_sha256":"00","role":"operator")") ==
        R"(exactly one of "token" and "token_sha256" is needed)");
  CHECK(entry(R"("token":"short","role":"operator")") == R"("token" has to be text of 16 characters or more)");
  CHECK(entry(R"("token_sha256":"zz","role":"operator")") == R"("token_sha256" is not 64 hexadecimal digits)");
  CHECK(entry(t) == R"("role" has to be "operator", "provider" or "subscription")");
  CHECK(entry(t + R"(,"role":"operator",)" + s) == R"(an operator has no "subscription": it sees all of them)");
  CHECK(entry(t + R"(,"role":"subscription")") == R"("subscription" has to be a subscription id (UUID))");
  CHECK(entry(t + R"(,"role":"provider",)" + s) == R"(a provider, and nobody else, has "tenants")");
  CHECK(entry(t + R"(,"role":"subscription","tenants":[],)" + s) == R"(a provider, and nobody else, has "tenants")");
  CHECK(entry(t + R"(,"role":"provider","tenants":"x",)" + s) == R"("tenants" has to be a list of subscription ids)");
  CHECK(entry(t + R"(,"role":"provider","tenants":["x"],)" + s) ==
        R"("tenants" has to be a list of subscription ids (UUIDs))");
  CHECK(TokenRegistry::load("/nonexistent/tokens.json").error().code == ErrorCode::kNotFound);
}

}  // namespace nodemeter
