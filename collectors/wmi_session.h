// What is asked of WMI, in plain values: rows of a class, one method, and notices of what changed. Everything above
// compiles and is tested without Windows; the real one is in wmi_session_windows.cpp.
//
// Threads: a session belongs to the thread that opened it (COM). Calls last as long as the provider takes: make them
// only where waiting for ever costs nobody anything (collectors/hyperv_workers.h).

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "platform/clock.h"
#include "platform/result.h"
#include "platform/text.h"

namespace nodemeter {

// Properties by name. Every value is text: numbers in decimal (WMI itself hands 64-bit numbers over as text), flags as
// "true" and "false", an array as several texts. What is null in WMI is not there.
class WmiRow {
 public:
  using Values = std::vector<std::string>;

  void set(std::string property, Values values) { properties_[std::move(property)] = std::move(values); }
  void set(std::string property, std::string value) { set(std::move(property), Values{std::move(value)}); }

  [[nodiscard]] bool has(std::string_view property) const { return properties_.contains(property); }
  // Empty if there is none. Of an array: its first.
  [[nodiscard]] std::string_view text(std::string_view property) const { return text(property, 0); }
  [[nodiscard]] std::string_view text(std::string_view property, std::size_t index) const {
    const auto found = properties_.find(property);
    if (found == properties_.end() || found->second.size() <= index) return {};
    return found->second[index];
  }
  // Nothing: not there, or no number.
  [[nodiscard]] std::optional<std::uint64_t> number(std::string_view property, std::size_t index = 0) const {
    return parse_u64(text(property, index));
  }
  [[nodiscard]] bool flag(std::string_view property) const { return text(property) == "true"; }
  [[nodiscard]] const std::map<std::string, Values, std::less<>>& all() const { return properties_; }

  friend bool operator==(const WmiRow&, const WmiRow&) = default;

 private:
  std::map<std::string, Values, std::less<>> properties_;
};

using WmiRows = std::vector<WmiRow>;

struct WmiQuery {
  std::string class_name;
  std::vector<std::string> properties;  // Those that this Windows does not know are left out of the rows.
  std::string condition;                // WQL after WHERE; empty: all rows.
};

struct WmiNotice {
  enum class Kind : std::uint8_t { kCreated = 1, kChanged = 2, kDeleted = 3 };
  Kind kind = Kind::kChanged;
  WmiRow row;            // The instance as it was when the notice was made; it may have changed since.
  MonotonicTime came{};  // Set by whoever receives it.
};

class WmiSession {
 public:
  WmiSession() = default;
  WmiSession(const WmiSession&) = delete;
  WmiSession& operator=(const WmiSession&) = delete;
  virtual ~WmiSession() = default;

  //   kNotFound          this Windows has no such class.
  //   kUnavailable       the service is away or its answer broke off; open another session.
  //   kPermissionDenied  this account may not ask.
  virtual Result<WmiRows> rows(const WmiQuery& query) = 0;

  // From now on notices of instances of this class, with these properties, are kept for next_notice(). Once per
  // session.
  virtual Status subscribe(const WmiQuery& query) = 0;

  // The next notice; nothing if none came within `wait`. An error ends the subscription: notices may have been lost.
  virtual Result<std::optional<WmiNotice>> next_notice(Milliseconds wait) = 0;

  // Msvm_VirtualHardDiskSettingData of an image file, as the XML text of the embedded instance.
  //   kNotFound  no such file, or not one that Hyper-V reads.
  virtual Result<std::string> virtual_disk_settings(const std::string& path) = 0;
};

//   kUnsupported       there is no such namespace: not a Hyper-V host.
//   kPermissionDenied  this account may not connect.
//   kUnavailable       try again later.
using WmiConnector = std::function<Result<std::unique_ptr<WmiSession>>()>;

}  // namespace nodemeter
