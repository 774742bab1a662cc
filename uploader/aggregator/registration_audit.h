// Who changed the registration, when and how: entries that are only ever added, each chained to the one before by a
// digest, in a store of their own beside the aggregator's rows.
//
// An entry is durable before the change that it tells of. A registration file that does not have the digest that the
// newest entry names was changed by other means, or the change that was announced did not happen: the next verb writes
// that down as an entry of its own. Layout: kEntries <number:8, big-endian> -> JSON text. One thread.

#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "platform/clock.h"
#include "platform/result.h"
#include "store/kv.h"

namespace nodemeter {

struct AuditEntry {
  std::uint64_t number = 0;  // 1, 2, 3, …
  UtcTime at{};
  std::string account;
  std::string verb;    // "add-tenant", "remove-tenant", "changed-elsewhere".
  std::string change;  // A sentence.
  std::string before;  // Digests of the registration's text, in hex; "" for none.
  std::string after;
  std::string chain;  // Over the entry before and this one.
};

class RegistrationAudit {
 public:
  // `kv` must outlive it. kCorrupt: an entry does not continue the one before it.
  static Result<RegistrationAudit> open(KeyValue& kv);

  // Adds an entry; number and chain are filled in. Durable on success.
  Status add(AuditEntry entry);

  // If the text is not what the newest entry left, an entry says so. `text`: the registration as it is now.
  Status note_other_change(std::string_view text, UtcTime now, const std::string& account);

  [[nodiscard]] const std::vector<AuditEntry>& entries() const { return entries_; }

  static std::string digest_of_text(std::string_view text);

 private:
  explicit RegistrationAudit(KeyValue& kv) : kv_(&kv) {}
  KeyValue* kv_;
  std::vector<AuditEntry> entries_;
};

// The same entries, read beside a running program. As open().
Result<std::vector<AuditEntry>> read_audit(const KeyValue& kv);

}  // namespace nodemeter
