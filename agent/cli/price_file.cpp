#include "agent/cli/price_file.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "platform/decimal.h"
#include "platform/files.h"
#include "platform/json_tree.h"
#include "platform/text.h"
#include "store/meters.h"

namespace nodemeter::cli {

namespace {

constexpr std::size_t kPriceFileMax = 64 * 1024;
constexpr std::size_t kPriceWholeDigitsMax = 9;
constexpr std::size_t kPriceFractionDigitsMax = 10;
constexpr std::size_t kNameBytesMax = 256;
constexpr std::size_t kNameShownMax = 64;

class PriceReader {
 public:
  explicit PriceReader(const JsonTree& root) : root_(root) {}

  PriceFile read() {
    if (root_.kind != JsonTree::Kind::kObject) {
      wrong(root_.line, "", "an object with \"currency\" and \"prices\" is expected");
      return {};
    }
    find_unknown_members(root_, "",
                         {"currency", "prices", "provider", "publisher", "invoice_issuer", "billing_account"}, faults);
    PriceFile file;
    read_currency(file);
    read_prices(file);
    file.provider = name(root_, "provider", "");
    file.publisher = name(root_, "publisher", "");
    file.invoice_issuer = name(root_, "invoice_issuer", "");
    read_account(file);
    return file;
  }

  std::vector<ConfigFault> faults;

 private:
  void wrong(std::uint32_t line, const std::string& key, const std::string& message) {
    faults.push_back({line, key, message});
  }

  void read_currency(PriceFile& file) {
    const JsonTree* currency = root_.find("currency");
    if (currency == nullptr) return wrong(root_.line, "currency", "is missing: such as \"EUR\"");
    const std::string& text = currency->text;
    const bool capitals = std::all_of(text.begin(), text.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
    if (currency->kind != JsonTree::Kind::kText || text.size() != 3 || !capitals) {
      return wrong(currency->line, "currency", "the three capitals of ISO 4217 are expected, such as \"EUR\"");
    }
    file.currency = text;
  }

  void read_prices(PriceFile& file) {
    const JsonTree* prices = root_.find("prices");
    if (prices == nullptr) return wrong(root_.line, "prices", "is missing: meters and what one unit costs");
    if (prices->kind != JsonTree::Kind::kObject) {
      return wrong(prices->line, "prices", "an object is expected: meters and what one unit costs");
    }
    for (const JsonTree& price : prices->items) read_price(file, price);
  }

  void read_price(PriceFile& file, const JsonTree& price) {
    const std::string key = "prices." + display_text(price.name, kNameShownMax);
    const MeterInfo* const meter = find_meter(price.name);
    if (meter == nullptr) return wrong(price.line, key, "there is no such meter: nodemeter meters lists them");
    const bool written = price.kind == JsonTree::Kind::kNumber || price.kind == JsonTree::Kind::kText;
    const std::optional<std::string> decimal =
        written ? plain_decimal(price.text, kPriceWholeDigitsMax, kPriceFractionDigitsMax) : std::nullopt;
    if (!decimal) {
      return wrong(price.line, key,
                   "a number such as 0.008 is expected: at most 9 digits before the point and 10 after it, no sign, "
                   "no exponent");
    }
    const auto id = [](MeterIndex index) { return meter_catalogue()[static_cast<std::size_t>(index)].id; };
    const Uuid whole = id(MeterIndex::kVmHours);
    const Uuid parts[] = {id(MeterIndex::kBaseVmHours), id(MeterIndex::kWindowsVmHours)};
    const bool again = std::any_of(std::begin(parts), std::end(parts), [&](const Uuid& part) {
      return (meter->id == part && file.prices.contains(whole)) || (meter->id == whole && file.prices.contains(part));
    });
    if (again) {
      return wrong(price.line, key,
                   "vm-hours is the same time as base-vm-hours and windows-vm-hours: pricing both would bill it twice");
    }
    if (!file.prices.emplace(meter->id, *decimal).second) {
      wrong(price.line, key, "this meter has a price already, under its name or its id");
    }
  }

  std::string name(const JsonTree& object, const std::string& key, const std::string& where) {
    const JsonTree* value = object.find(key);
    if (value == nullptr) return "";
    const bool good = value->kind == JsonTree::Kind::kText && !value->text.empty() &&
                      value->text.size() <= kNameBytesMax && is_plain_text(value->text);
    if (good) return value->text;
    wrong(value->line, where + key, "a text of 1 to 256 bytes without control characters is expected");
    return "";
  }

  void read_account(PriceFile& file) {
    const JsonTree* account = root_.find("billing_account");
    if (account == nullptr) return;
    if (account->kind != JsonTree::Kind::kObject || account->find("id") == nullptr) {
      return wrong(account->line, "billing_account", "an object with \"id\", and \"name\" if it has one, is expected");
    }
    find_unknown_members(*account, "billing_account", {"id", "name"}, faults);
    file.account_id = name(*account, "id", "billing_account.");
    file.account_name = name(*account, "name", "billing_account.");
  }

  const JsonTree& root_;
};

}  // namespace

Result<PriceFile> parse_price_file(std::string_view json, const std::string& name) {
  std::vector<ConfigFault> faults;
  const std::optional<JsonTree> root = parse_json_tree(json, faults);
  if (!root) return faults_error(name, std::move(faults));
  PriceReader reader(*root);
  PriceFile file = reader.read();
  if (!reader.faults.empty()) return faults_error(name, std::move(reader.faults));
  return file;
}

Result<PriceFile> load_price_file(const std::filesystem::path& file) {
  const Result<std::string> text = read_file(file, kPriceFileMax);
  if (!text) return text.error();
  return parse_price_file(*text, file.string());
}

}  // namespace nodemeter::cli
