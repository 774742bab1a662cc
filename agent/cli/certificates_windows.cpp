#include <windows.h>

#include <wincrypt.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string_view>

#include "agent/cli/pem_text.h"
#include "platform/digest.h"
#include "platform/windows_api.h"

namespace nodemeter::cli {

namespace {

constexpr DWORD kEncoding = X509_ASN_ENCODING | PKCS_7_ASN_ENCODING;

struct CertificateDeleter {
  void operator()(const CERT_CONTEXT* certificate) const { ::CertFreeCertificateContext(certificate); }
};
using Certificate = std::unique_ptr<const CERT_CONTEXT, CertificateDeleter>;

struct PemBlock {
  std::string kind;  // "CERTIFICATE", "PRIVATE KEY"
  std::string der;
};

// The next block at or after `from`, which moves behind it.
std::optional<PemBlock> next_block(std::string_view text, std::size_t& from) {
  constexpr std::string_view kBegin = "-----BEGIN ";
  const std::size_t begin = text.find(kBegin, from);
  if (begin == std::string_view::npos) return std::nullopt;
  const std::size_t kind_end = text.find("-----", begin + kBegin.size());
  if (kind_end == std::string_view::npos) return std::nullopt;
  PemBlock block;
  block.kind = text.substr(begin + kBegin.size(), kind_end - begin - kBegin.size());
  const std::string last = "-----END " + block.kind + "-----";
  const std::size_t end = text.find(last, kind_end);
  if (end == std::string_view::npos) return std::nullopt;
  from = end + last.size();
  const std::string_view whole = text.substr(begin, from - begin);
  DWORD size = 0;
  if (::CryptStringToBinaryA(whole.data(), static_cast<DWORD>(whole.size()), CRYPT_STRING_BASE64HEADER, nullptr, &size,
                             nullptr, nullptr) == 0) {
    return block;
  }
  block.der.resize(size);
  (void)::CryptStringToBinaryA(whole.data(), static_cast<DWORD>(whole.size()), CRYPT_STRING_BASE64HEADER,
                               reinterpret_cast<BYTE*>(block.der.data()), &size, nullptr, nullptr);
  return block;
}

const BYTE* bytes_of(const std::string& text) { return reinterpret_cast<const BYTE*>(text.data()); }

Certificate certificate_of(const PemBlock& block) {
  if (block.kind != "CERTIFICATE" && block.kind != "X509 CERTIFICATE" && block.kind != "TRUSTED CERTIFICATE") return {};
  return Certificate(
      ::CertCreateCertificateContext(kEncoding, bytes_of(block.der), static_cast<DWORD>(block.der.size())));
}

UtcTime instant(const FILETIME& time) {
  return UtcTime{Milliseconds(windows::milliseconds_since_1970(time.dwHighDateTime, time.dwLowDateTime))};
}

std::string subject_of(CERT_INFO& info) {
  constexpr DWORD kForm = CERT_X500_NAME_STR | CERT_NAME_STR_REVERSE_FLAG;
  const DWORD size = ::CertNameToStrW(kEncoding, &info.Subject, kForm, nullptr, 0);
  std::wstring text(size, L'\0');
  (void)::CertNameToStrW(kEncoding, &info.Subject, kForm, text.data(), size);
  return windows::narrow(text.c_str());
}

// Decodes to a structure of the system's; empty if it is none.
std::string decoded(const char* type, const std::string& der) {
  DWORD size = 0;
  if (::CryptDecodeObjectEx(kEncoding, type, bytes_of(der), static_cast<DWORD>(der.size()), 0, nullptr, nullptr,
                            &size) == 0) {
    return "";
  }
  std::string out(size, '\0');
  if (::CryptDecodeObjectEx(kEncoding, type, bytes_of(der), static_cast<DWORD>(der.size()), 0, nullptr, out.data(),
                            &size) == 0) {
    return "";
  }
  return out;
}

// What two keys of one pair have in common: the modulus, or the point on the curve. Empty: not understood.
std::string common_part(const std::string& rsa_blob) {
  if (rsa_blob.size() < sizeof(BLOBHEADER) + sizeof(RSAPUBKEY)) return "";
  const auto& head = *reinterpret_cast<const RSAPUBKEY*>(rsa_blob.data() + sizeof(BLOBHEADER));
  return rsa_blob.substr(sizeof(BLOBHEADER) + sizeof(RSAPUBKEY), head.bitlen / 8);
}

std::string of_rsa_key(const std::string& der) { return common_part(decoded(PKCS_RSA_PRIVATE_KEY, der)); }

std::string of_curve_key(const std::string& der) {
  const std::string key = decoded(X509_ECC_PRIVATE_KEY, der);
  if (key.empty()) return "";
  const auto& info = *reinterpret_cast<const CRYPT_ECC_PRIVATE_KEY_INFO*>(key.data());
  return {reinterpret_cast<const char*>(info.PublicKey.pbData), info.PublicKey.cbData};
}

std::string of_key(const PemBlock& block) {
  if (block.kind == "RSA PRIVATE KEY") return of_rsa_key(block.der);
  if (block.kind == "EC PRIVATE KEY") return of_curve_key(block.der);
  if (block.kind != "PRIVATE KEY") return "";
  const std::string wrapped = decoded(PKCS_PRIVATE_KEY_INFO, block.der);
  if (wrapped.empty()) return "";
  const auto& info = *reinterpret_cast<const CRYPT_PRIVATE_KEY_INFO*>(wrapped.data());
  const std::string inner(reinterpret_cast<const char*>(info.PrivateKey.pbData), info.PrivateKey.cbData);
  const std::string rsa = of_rsa_key(inner);
  return rsa.empty() ? of_curve_key(inner) : rsa;
}

std::string of_certificate(const CERT_INFO& info) {
  const CRYPT_BIT_BLOB& key = info.SubjectPublicKeyInfo.PublicKey;
  const std::string bits(reinterpret_cast<const char*>(key.pbData), key.cbData);
  const std::string_view algorithm = info.SubjectPublicKeyInfo.Algorithm.pszObjId;
  return algorithm == szOID_RSA_RSA ? common_part(decoded(RSA_CSP_PUBLICKEYBLOB, bits)) : bits;
}

CertificateFacts facts_of(const CERT_CONTEXT& certificate) {
  return {subject_of(*certificate.pCertInfo), instant(certificate.pCertInfo->NotBefore),
          instant(certificate.pCertInfo->NotAfter)};
}

// A place in the system's store, as libcurl takes it: LocalMachine\\MY\\<thumbprint>.
struct StorePlace {
  DWORD location = 0;
  std::wstring store;
  std::string thumbprint;  // As bytes.
};

std::optional<StorePlace> store_place(const std::filesystem::path& path) {
  const std::wstring& text = path.native();
  const std::size_t first = text.find(L'\\');
  const std::size_t last = text.rfind(L'\\');
  if (first == std::wstring::npos || first == last) return std::nullopt;
  StorePlace place;
  const std::wstring location = text.substr(0, first);
  if (location == L"LocalMachine") place.location = CERT_SYSTEM_STORE_LOCAL_MACHINE;
  if (location == L"CurrentUser") place.location = CERT_SYSTEM_STORE_CURRENT_USER;
  if (location == L"CurrentService") place.location = CERT_SYSTEM_STORE_CURRENT_SERVICE;
  place.store = text.substr(first + 1, last - first - 1);
  place.thumbprint = from_hex(windows::narrow(text.substr(last + 1)));
  constexpr std::size_t kThumbprintBytes = 20;
  if (place.location == 0 || place.thumbprint.size() != kThumbprintBytes) return std::nullopt;
  return place;
}

Result<std::optional<CertificateFacts>> read_from_store(const StorePlace& place, const std::string& name) {
  struct StoreDeleter {
    void operator()(HCERTSTORE store) const { ::CertCloseStore(store, 0); }
  };
  const std::unique_ptr<void, StoreDeleter> store(
      ::CertOpenStore(CERT_STORE_PROV_SYSTEM_W, 0, 0,
                      place.location | CERT_STORE_OPEN_EXISTING_FLAG | CERT_STORE_READONLY_FLAG, place.store.c_str()));
  if (!store) return windows::failed("cannot open the store of " + name, ::GetLastError());
  std::string bytes = place.thumbprint;
  CRYPT_HASH_BLOB hash{static_cast<DWORD>(bytes.size()), reinterpret_cast<BYTE*>(bytes.data())};
  const Certificate found(::CertFindCertificateInStore(store.get(), kEncoding, 0, CERT_FIND_SHA1_HASH, &hash, nullptr));
  if (!found) return Error{ErrorCode::kNotFound, "there is no certificate " + name};
  return {facts_of(*found)};
}

}  // namespace

Result<std::optional<CertificateFacts>> certificate_in_store(const std::filesystem::path& path) {
  const std::optional<StorePlace> place = store_place(path);
  if (!place) return {std::nullopt};
  return read_from_store(*place, path.string());
}

std::vector<CertificateFacts> certificates_in(const std::string& pem) {
  std::vector<CertificateFacts> found;
  std::size_t at = 0;
  while (const std::optional<PemBlock> block = next_block(pem, at)) {
    if (const Certificate one = certificate_of(*block)) found.push_back(facts_of(*one));
  }
  return found;
}

KeyMatch match_key(const std::string& certificate_pem, const std::string& key_pem) {
  Certificate certificate;
  std::size_t at = 0;
  while (!certificate) {
    const std::optional<PemBlock> block = next_block(certificate_pem, at);
    if (!block) return KeyMatch::kNoCertificate;
    certificate = certificate_of(*block);
  }
  std::string key;
  at = 0;
  while (key.empty()) {
    const std::optional<PemBlock> block = next_block(key_pem, at);
    if (!block) return KeyMatch::kNoKey;
    key = of_key(*block);
  }
  return key == of_certificate(*certificate->pCertInfo) ? KeyMatch::kSame : KeyMatch::kOther;
}

}  // namespace nodemeter::cli
