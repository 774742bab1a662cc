// What PEM files say of themselves: validity of certificates, and whether a key belongs to one. Pure but for reading
// the files; any thread.

#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "platform/clock.h"
#include "platform/result.h"

namespace nodemeter::cli {

struct CertificateFacts {
  std::string subject;  // One line, for people.
  UtcTime not_before{};
  UtcTime not_after{};
};

// Every certificate in the file, in order; on Windows also the one at a place of the system store
// (LocalMachine\MY\<thumbprint>). kInvalidInput: it holds none that can be read. Else as read_file.
Result<std::vector<CertificateFacts>> read_certificates(const std::filesystem::path& path);

// kInvalidInput: the key cannot be read (without a pass phrase), or it is not that of the file's first certificate.
// Else as read_file.
Status check_key_of(const std::filesystem::path& certificate, const std::filesystem::path& key);

}  // namespace nodemeter::cli
