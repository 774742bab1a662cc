// The terminal that `top` draws on, chosen by platform file.

#pragma once

#include <memory>
#include <optional>

#include "platform/clock.h"

namespace nodemeter::cli {

struct TerminalSize {
  std::size_t lines = 24;
  std::size_t columns = 80;
};

bool output_is_terminal();

// Keys without waiting for Enter, until destruction: the terminal is put back as it was, also if a signal ends the
// wait.
class Keyboard {
 public:
  virtual ~Keyboard() = default;
  Keyboard(const Keyboard&) = delete;
  Keyboard& operator=(const Keyboard&) = delete;

  // The next key within `longest`; nothing: none came, or the terminal has another size now.
  virtual std::optional<char> key(Milliseconds longest) = 0;
  // The last key was the end: Ctrl-C was pressed, or the terminal is gone.
  [[nodiscard]] virtual bool ended() const = 0;
  [[nodiscard]] virtual TerminalSize size() const = 0;

  // Null if the input is not a terminal.
  static std::unique_ptr<Keyboard> open();

 protected:
  Keyboard() = default;
};

}  // namespace nodemeter::cli
