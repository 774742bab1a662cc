// The platform's part of certificates.h: what its library makes of PEM text (the only openssl or
// wincrypt header of the command line). Pure but for the system's store; any thread.

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/cli/certificates.h"

namespace nodemeter::cli {

// The certificate at a place of the system's store. Nothing: the path is not such a place.
// kNotFound, kPermissionDenied, kUnavailable.
Result<std::optional<CertificateFacts>> certificate_in_store(const std::filesystem::path& path);

// All that can be read, in order.
std::vector<CertificateFacts> certificates_in(const std::string& pem);

enum class KeyMatch { kSame, kOther, kNoCertificate, kNoKey };

// Of the first certificate and the first key.
KeyMatch match_key(const std::string& certificate_pem, const std::string& key_pem);

}  // namespace nodemeter::cli
