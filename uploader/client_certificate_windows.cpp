#include "uploader/client_certificate.h"

namespace nodemeter {

std::optional<ClientCertificateFault> client_certificate_fault(const CurlOptions& options, const std::string& section) {
  if (options.key_file.empty()) return std::nullopt;
  return ClientCertificateFault{
      "key_file",
      "cannot be used on Windows, where a key lies with its certificate: import both (Import-PfxCertificate) "
      "and set " +
          section +
          "cert_file alone, to 'LocalMachine\\MY\\<thumbprint>' or to a .pfx file "
          "without a password"};
}

}  // namespace nodemeter
