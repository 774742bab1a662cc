// How a client certificate is named on this platform; one file for each.

#pragma once

#include <optional>
#include <string>

#include "uploader/curl_transport.h"

namespace nodemeter {

struct ClientCertificateFault {
  std::string key;   // "cert_file" or "key_file"
  std::string what;  // Follows the key in a sentence.
};

// What is wrong with cert_file beside key_file, if anything. `section`: "upload." or another one's, for the words.
//   POSIX     two PEM files, or neither
//   Windows   cert_file alone: a place in the system's store (LocalMachine\MY\<thumbprint>), which has the key, too, or
//             a .pfx file without a password
std::optional<ClientCertificateFault> client_certificate_fault(const CurlOptions& options, const std::string& section);

}  // namespace nodemeter
