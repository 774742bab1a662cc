#include "platform/log.h"

#include <cstdio>
#include <mutex>

#include "platform/clock.h"
#include "platform/text.h"

namespace nodemeter {

namespace {

constexpr std::size_t kFieldMax = 2048;

const char* level_name(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return "debug";
    case LogLevel::kInfo: return "info";
    case LogLevel::kWarning: return "warning";
    case LogLevel::kError: return "error";
  }
  return "error";
}

std::string quoted(std::string_view text) {
  const std::string shown = display_text(text, kFieldMax);
  std::string out = "\"";
  for (const char c : shown) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  out.push_back('"');
  return out;
}

bool needs_quotes(std::string_view text) {
  return text.empty() || text.find_first_of(" \"=\\") != std::string_view::npos;
}

class StandardErrorLog final : public Log {
 public:
  StandardErrorLog(LogLevel least, bool json) : least_(least), json_(json) {}

  void write(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) override {
    if (level < least_) return;
    const auto now = std::chrono::floor<Milliseconds>(std::chrono::system_clock::now());
    std::string line;
    if (json_) {
      line =
          "{\"time\":\"" + iso_time(now) + "\",\"level\":\"" + level_name(level) + "\",\"message\":" + quoted(message);
      for (const auto& [key, value] : fields) line += "," + quoted(key) + ":" + quoted(value);
      line += "}\n";
    } else {
      line = "time=" + iso_time(now) + " level=" + level_name(level) + " " + log_text(message, fields) + "\n";
    }
    const std::lock_guard lock(mutex_);
    std::fputs(line.c_str(), stderr);
  }

 private:
  const LogLevel least_;
  const bool json_;
  std::mutex mutex_;
};

}  // namespace

std::string log_text(std::string_view message, std::initializer_list<LogField> fields) {
  std::string text = "msg=" + quoted(message);
  for (const auto& [key, value] : fields) {
    text += " " + std::string(key) + "=" + (needs_quotes(value) ? quoted(value) : display_text(value, kFieldMax));
  }
  return text;
}

std::unique_ptr<Log> standard_error_log(LogLevel least, bool json) {
  return std::make_unique<StandardErrorLog>(least, json);
}

}  // namespace nodemeter
