// Goal: the service can open what anybody else's run of this program made, and takes over the memory that a reader of
// the agent before still holds. Method: the rules and the memory of this system; the service's numbers are derived from
// its name, as the system does.

#include <windows.h>

#include <sddl.h>
#include <wincrypt.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstring>

#include "platform/shared_region.h"
#include "platform/windows_api.h"

namespace nodemeter {

namespace {

// Five numbers: the SHA-1 of the name in capitals.
std::string sid_of_service(const std::wstring& capitals) {
  std::array<std::uint32_t, 5> words{};
  DWORD size = sizeof words;
  HCRYPTPROV provider = 0;
  HCRYPTHASH hash = 0;
  REQUIRE(CryptAcquireContextW(&provider, nullptr, nullptr, PROV_RSA_FULL, CRYPT_VERIFYCONTEXT) != 0);
  REQUIRE(CryptCreateHash(provider, CALG_SHA1, 0, 0, &hash) != 0);
  REQUIRE(CryptHashData(hash, reinterpret_cast<const BYTE*>(capitals.data()),
                        static_cast<DWORD>(capitals.size() * sizeof(wchar_t)), 0) != 0);
  REQUIRE(CryptGetHashParam(hash, HP_HASHVAL, reinterpret_cast<BYTE*>(words.data()), &size, 0) != 0);
  CryptDestroyHash(hash);
  CryptReleaseContext(provider, 0);
  std::string sid = "S-1-5-80";
  for (const std::uint32_t word : words) sid += "-" + std::to_string(word);
  return sid;
}

}  // namespace

TEST_CASE("what this program makes is open to its service, whoever ran it", "[security]") {
  // The one number of this kind that everybody knows.
  REQUIRE(sid_of_service(L"TRUSTEDINSTALLER") == "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464");
  CHECK(sid_of_service(L"NODEMETER") == windows::kServiceSid);
  const windows::Security security;
  wchar_t* text = nullptr;
  REQUIRE(ConvertSecurityDescriptorToStringSecurityDescriptorW(
              static_cast<SECURITY_ATTRIBUTES*>(security.attributes())->lpSecurityDescriptor, SDDL_REVISION_1,
              DACL_SECURITY_INFORMATION, &text, nullptr) != 0);
  const std::string rules = windows::narrow(text);
  LocalFree(text);
  INFO(rules);
  CHECK(rules.find(std::string("(A;OICI;GA;;;") + windows::kServiceSid + ")") != std::string::npos);
  CHECK(rules.starts_with("D:P"));
}

TEST_CASE("memory that a reader still holds is taken over by the next agent", "[security]") {
  const std::string name = "nodemeter-held-" + std::to_string(GetCurrentProcessId());
  auto first = SharedRegion::create(name, 4096, "");
  REQUIRE(first.ok());
  std::memcpy(first->data(), "before", 7);
  const auto reader = SharedRegion::open(name);
  REQUIRE(reader.ok());
  CHECK(std::string(static_cast<const char*>(reader->data())) == "before");
  { const SharedRegion ends = std::move(*first); }
  const auto second = SharedRegion::create(name, 4096, "");
  INFO((second ? std::string() : second.error().message));
  REQUIRE(second.ok());
  CHECK(std::string(static_cast<const char*>(reader->data())).empty());
  std::memcpy(second->data(), "after", 6);
  CHECK(std::string(static_cast<const char*>(reader->data())) == "after");
}

}  // namespace nodemeter
