#include "uploader/client_certificate.h"

namespace nodemeter {

std::optional<ClientCertificateFault> client_certificate_fault(const CurlOptions& options, const std::string& section) {
  if (options.cert_file.empty() == options.key_file.empty()) return std::nullopt;
  return ClientCertificateFault{
      options.cert_file.empty() ? "key_file" : "cert_file",
      "stands alone: a client certificate needs both " + section + "cert_file and " + section + "key_file"};
}

}  // namespace nodemeter
