// A signed word of the receiver that it holds a range of a node's entries, for sites without a connection.
//
// What travels there as files is acknowledged by a file that travels back: the report of `nodemeter-aggregator import`.
// Who can write on the medium must not be able to release what the receiver does not hold, so each range is signed with
// the receiver's key, and the node takes it only for its own epoch and for the very entry that it has itself at the end
// of the range. Layout in store/FORMAT.md. Pure; any thread.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "platform/digest.h"
#include "store/journal.h"

namespace nodemeter {

struct Receipt {
  NodeId node;
  Epoch epoch;
  Sequence first = 0;
  Sequence last = 0;      // Everything from first to here is stored.
  Digest head;            // Chain digest after `last`.
  std::string signature;  // 64 bytes.

  // What is signed.
  [[nodiscard]] std::string statement() const;
};

// The receipts of an import's report. kInvalidInput: it is no such report, or nothing in it is signed.
Result<std::vector<Receipt>> parse_receipts(std::string_view report);

// Moves the journal's acknowledged mark as far as the receipt goes. `key`: the receiver's public key, 32 bytes, known
// from configuration and never from the medium. False: it says nothing new.
//   kInvalidInput  it is forged, of another node or epoch, of entries that this journal does not have or has with other
//                  content, or it leaves entries out before its first; the message says which. Nothing changed.
// Else the journal's errors.
Result<bool> take_receipt(Journal& journal, const Receipt& receipt, std::string_view key);

}  // namespace nodemeter
