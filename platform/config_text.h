// A configuration file as text (TOML), read section by section, with everything that is wrong with it at once.
//
// Every fault names line, key, the value found and what is allowed; an unknown key is a fault with the nearest known
// one, because a misspelt limit that is silently ignored is a bill. The only user of toml++. Pure; one thread at a
// time.

#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "platform/clock.h"

namespace nodemeter {

inline constexpr std::size_t kConfigBytesMax = 256 * 1024;

struct ConfigFault {
  std::uint32_t line = 0;  // From 1; 0: the file as a whole.
  std::string key;         // "upload.rate_limit"; "" if the fault is not about one key.
  std::string message;     // What is wrong, and what is allowed. No control characters.
};

// "nodemeter.toml:12: upload.rate_limit: …".
std::string fault_text(const std::string& file, const ConfigFault& fault);

// The lists have to live as long as the program.
using ConfigWords = std::initializer_list<std::string_view>;

struct ConfigSectionKeys {
  std::string_view section;
  ConfigWords keys;
};

// One section, read key by key. Whatever does not fit becomes a fault and leaves the target as it was; so does a key
// that is not there, without a fault. Must not outlive its ConfigText.
class ConfigSection {
 public:
  [[nodiscard]] bool has(std::string_view key) const;

  void refuse(std::string_view key, const std::string& message);

  // `problem` says what is wrong with a text, or nothing.
  using Check = std::function<std::string(const std::string& value)>;
  void text(std::string_view key, std::string& target, const Check& problem = {});
  // One text or a list of them.
  void texts(std::string_view key, std::vector<std::string>& target);
  void flag(std::string_view key, bool& target);
  void whole(std::string_view key, std::uint32_t& target, std::uint32_t low, std::uint32_t high);
  void duration(std::string_view key, Milliseconds& target, Milliseconds low, Milliseconds high);
  void size(std::string_view key, std::uint64_t& target, std::uint64_t low, std::uint64_t high);
  // One of a few words. Gives its position in `words`.
  std::optional<std::size_t> word(std::string_view key, const ConfigWords& words);

  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  friend class ConfigText;
  struct Table;
  ConfigSection(std::string_view name, std::shared_ptr<const Table> table, std::vector<ConfigFault>& faults)
      : name_(name), table_(std::move(table)), faults_(faults) {}
  [[nodiscard]] std::string full(std::string_view key) const { return name_ + "." + std::string(key); }
  void add(std::uint32_t line, std::string key, std::string message) {
    faults_.push_back({line, std::move(key), std::move(message)});
  }

  std::string name_;
  std::shared_ptr<const Table> table_;  // Nothing: the section is not there.
  std::vector<ConfigFault>& faults_;
};

class ConfigText {
 public:
  // A text that is not TOML, or larger than kConfigBytesMax, is a fault, and then reads as if it were empty.
  explicit ConfigText(std::string_view text);
  ~ConfigText();
  ConfigText(const ConfigText&) = delete;
  ConfigText& operator=(const ConfigText&) = delete;

  // Complains about sections and keys that are none of these. `names`: of the sections, once more.
  void find_unknown(std::span<const ConfigSectionKeys> known, const ConfigWords& names);

  ConfigSection section(std::string_view name);

  // In order of lines.
  [[nodiscard]] std::vector<ConfigFault> take_faults();

 private:
  struct Document;
  std::unique_ptr<Document> document_;
  std::vector<ConfigFault> faults_;
};

}  // namespace nodemeter
