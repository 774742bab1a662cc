// What an answer means. Pure. Every class of answer has a test in tests/uploader/answer_test.cpp.

#pragma once

#include <optional>
#include <string>

#include "platform/clock.h"
#include "store/entry.h"
#include "uploader/transport.h"

namespace nodemeter {

enum class Verdict {
  kAccepted,  // Everything up to the batch's last is there.
  kRetry,     // Weather: the same bytes again, after backing off.
  kHeld,      // An operator has to act (credentials, schema, certificate): keep everything, retry at the cap.
  kData,      // The receiver refuses a row: halve, park the one that offends.
};

struct Answer {
  Verdict verdict = Verdict::kRetry;
  std::string reason;                       // For status and log; "" when accepted.
  std::optional<Milliseconds> retry_after;  // The receiver's wish.
  std::optional<Sequence> resend_from;      // The receiver lost something and asks for it again.
  std::optional<std::uint64_t> missing;     // How many entries it lacks below its highest, where it says so.
};

Answer classify(const UploadResponse& response, Sequence batch_last);

}  // namespace nodemeter
