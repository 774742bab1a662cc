// The price file of FOCUS exports: JSON that an operator writes. No prices are shipped.
//
//   { "currency": "EUR",
//     "prices": { "base-vm-hours": 0.008, "windows-vm-hours": "0.046", "disk-allocated-hours": 0.00005 },
//     "provider": "Example Hosting", "publisher": "Example Hosting", "invoice_issuer": "Example Hosting",
//     "billing_account": { "id": "customer-4711", "name": "Example Ltd." } }
//
// `currency` (ISO 4217, three capitals) and `prices` are needed. A price is for one of the meter's shown units
// (nodemeter meters), a number or a text of at most 9 digits before and 10 after the point; it is read digit by digit.
// A meter without a price is not sold: its cost is 0. vm-hours has no price beside base-vm-hours or windows-vm-hours,
// which hold the same time. Pure but for load; plain values.

#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "platform/ids.h"
#include "platform/result.h"

namespace nodemeter::cli {

struct PriceFile {
  std::string currency;
  std::map<Uuid, std::string> prices;  // By meter; plain decimal numbers.
  std::string provider, publisher, invoice_issuer;
  std::string account_id, account_name;  // "": the VM's tenant; no name.
};

// kInvalidInput names every fault with its line, one per line of text.
Result<PriceFile> parse_price_file(std::string_view json, const std::string& name);
// Also what reading a file gives.
Result<PriceFile> load_price_file(const std::filesystem::path& file);

}  // namespace nodemeter::cli
