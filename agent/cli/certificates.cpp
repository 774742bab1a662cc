#include "agent/cli/certificates.h"

#include "agent/cli/pem_text.h"
#include "platform/files.h"

namespace nodemeter::cli {

namespace {

// A system's bundle of authorities is some 250 KiB.
constexpr std::size_t kPemBytesMax = 4u << 20;

Error no_certificate(const std::filesystem::path& path) {
  return Error{ErrorCode::kInvalidInput, path.string() + " holds no PEM certificate"};
}

}  // namespace

Result<std::vector<CertificateFacts>> read_certificates(const std::filesystem::path& path) {
  const Result<std::optional<CertificateFacts>> stored = certificate_in_store(path);
  if (!stored) return stored.error();
  if (*stored) return std::vector<CertificateFacts>{**stored};
  const Result<std::string> pem = read_file(path, kPemBytesMax);
  if (!pem) return pem.error();
  std::vector<CertificateFacts> found = certificates_in(*pem);
  if (found.empty()) return no_certificate(path);
  return found;
}

Status check_key_of(const std::filesystem::path& certificate, const std::filesystem::path& key) {
  const Result<std::string> certificate_pem = read_file(certificate, kPemBytesMax);
  if (!certificate_pem) return certificate_pem.error();
  const Result<std::string> key_pem = read_file(key, kPemBytesMax);
  if (!key_pem) return key_pem.error();
  switch (match_key(*certificate_pem, *key_pem)) {
    case KeyMatch::kSame: return Done{};
    case KeyMatch::kNoCertificate: return no_certificate(certificate);
    case KeyMatch::kNoKey:
      return Error{ErrorCode::kInvalidInput, key.string() + " holds no PEM key that can be read without a pass phrase"};
    case KeyMatch::kOther: break;
  }
  return Error{ErrorCode::kInvalidInput, key.string() + " is not the key of " + certificate.string()};
}

}  // namespace nodemeter::cli
