// Log seam: the embedder supplies the sink. A line is a level, a sentence and key-value pairs; no secrets, no control
// characters (sinks escape). Sinks must be callable from any thread.

#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace nodemeter {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

using LogField = std::pair<std::string_view, std::string>;

class Log {
 public:
  virtual ~Log() = default;
  virtual void write(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) = 0;

  void debug(std::string_view m, std::initializer_list<LogField> f = {}) { write(LogLevel::kDebug, m, f); }
  void info(std::string_view m, std::initializer_list<LogField> f = {}) { write(LogLevel::kInfo, m, f); }
  void warning(std::string_view m, std::initializer_list<LogField> f = {}) { write(LogLevel::kWarning, m, f); }
  void error(std::string_view m, std::initializer_list<LogField> f = {}) { write(LogLevel::kError, m, f); }
};

// Swallows everything.
class NullLog final : public Log {
 public:
  void write(LogLevel, std::string_view, std::initializer_list<LogField>) override {}
};

// "msg=… key=…": a message and its fields in logfmt, for sinks that add time and level in their own way.
std::string log_text(std::string_view message, std::initializer_list<LogField> fields);

// One line per message on standard error: logfmt or JSON.
std::unique_ptr<Log> standard_error_log(LogLevel least, bool json);

}  // namespace nodemeter
