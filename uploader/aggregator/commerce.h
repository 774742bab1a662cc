// The usage bridge: each complete UTC day as 24-hour records of the billable meters, delivered once.
//
// A day is due when the manifests of all configured nodes for it are here. Its first part holds what had arrived until
// then; whatever arrives for it later goes into a further part, with the payers of then: nothing that was forwarded is
// ever rewritten. A part is one document. It is committed before its first delivery and kept until it is taken, so that
// every repetition, after any crash, has the same name and the same bytes.
//
// Layout of the state (a KeyValue of its own):
//   kState  "d" <day:8, big-endian>  ->  i64 arrival until which rows are in the parts so far, u32 number of parts
//           "w" <day:8>              ->  nothing: rows of the day are in no part yet
//   kMeta   "pending"                ->  i64 day, i64 arrival, u32 part, text of the document
//           "seen"                   ->  i64: rows that arrived later have not been looked at
// One thread and process.

#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "platform/clock.h"
#include "platform/ids.h"
#include "platform/result.h"
#include "store/kv.h"
#include "uploader/aggregator/aggregator_store.h"
#include "uploader/aggregator/nodes.h"
#include "uploader/aggregator/registration.h"

namespace nodemeter {

// Local meter -> the meter that Azure commerce bills by.
using MeterMap = std::map<Uuid, Uuid>;

// What is billed where no map is configured: both vcore meters.
MeterMap default_meter_map();

// { "base-vm-hours": "<commerce id>", … }: local meters by name or id. kInvalidInput: not that, or a meter that is not
// billed upstream (pricing it beside the others would bill twice).
Result<MeterMap> parse_meter_map(std::string_view json);

struct CommerceDocument {
  std::int64_t day = 0;  // Since 1970.
  std::uint32_t part = 1;
  UtcTime arrived_until{};                 // Rows that arrived until here are in this part or one before it.
  std::string text;                        // JSON.
  [[nodiscard]] std::string name() const;  // "commerce-2026-01-01-1"
};

// Hands a document over. Success means that the receiver has it for good; it may get one twice, under the same name and
// with the same bytes.
using CommerceDelivery = std::function<Status(const CommerceDocument&)>;

// A directory that gets one file per document, or a URL that gets each by POST. Files appear whole.
CommerceDelivery deliver_to_directory(const std::string& directory);
struct CommerceUrl {
  std::string url;
  std::string bearer_file;
  std::string ca_file;
  int attempts = 5;
  Milliseconds pause{1'000};
  std::function<void(Milliseconds)> sleep;
};
CommerceDelivery deliver_to_url(const CommerceUrl& target);

struct CommerceReport {
  std::vector<std::string> delivered;  // Names.
  std::uint64_t records = 0;
  std::string waiting;  // Which day is not complete, and why; "": none.
};

class Commerce {
 public:
  // The references must outlive the object. `rows` may be read-only, beside a running aggregator.
  Commerce(const KeyValue& rows, KeyValue& state, const Registration& registration, MeterMap meters,
           std::vector<ExpectedNode> nodes);

  // Delivers what is pending, then what has become due: later knowledge of days that were delivered before, and every
  // complete day up to `today` that was not. kUnavailable and others: the delivery's, nothing is lost.
  Result<CommerceReport> run(const CommerceDelivery& deliver, UtcTime now);

 private:
  struct DayState {
    UtcTime arrived_until{};
    std::uint32_t parts = 0;
  };
  Result<std::optional<CommerceDocument>> pending() const;
  Result<std::map<std::int64_t, DayState>> days() const;
  // Days with rows that may be in no part yet, and what has arrived until now.
  Result<std::set<std::int64_t>> waiting_days(UtcTime newest) const;
  Status keep_waiting(const std::set<std::int64_t>& before, const std::set<std::int64_t>& after, UtcTime newest);
  Status forward_day(std::int64_t day, const DayState& before, UtcTime newest, const CommerceDelivery& deliver,
                     CommerceReport& report);
  Status finish(const CommerceDocument& document);
  Status forward(const CommerceDocument& document, const CommerceDelivery& deliver, CommerceReport& report);
  // The document of a day with what arrived after `from` until `to`. Its text is empty if there is nothing to bill.
  Result<CommerceDocument> make(std::int64_t day, const DayState& before, UtcTime to, std::uint64_t& records) const;

  const KeyValue& rows_;
  KeyValue& state_;
  const Registration& registration_;
  const MeterMap meters_;
  const std::vector<ExpectedNode> nodes_;
};

// Whether usage is forwarded at all under this billing model, unless somebody asks for it.
bool commerce_is_on(BillingModel model);

}  // namespace nodemeter
