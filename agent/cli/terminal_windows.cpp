#include <windows.h>

#include <algorithm>

#include "agent/cli/terminal.h"

namespace nodemeter::cli {

namespace {

class WindowsKeyboard final : public Keyboard {
 public:
  WindowsKeyboard(HANDLE input, DWORD before) : input_(input), before_(before) {
    // Ctrl-C arrives as a key, and arrows as the sequences that other terminals send.
    const DWORD cooked = ENABLE_LINE_INPUT | ENABLE_ECHO_INPUT | ENABLE_PROCESSED_INPUT;
    (void)::SetConsoleMode(input_, (before & ~cooked) | ENABLE_WINDOW_INPUT | ENABLE_VIRTUAL_TERMINAL_INPUT);
  }
  ~WindowsKeyboard() override { (void)::SetConsoleMode(input_, before_); }

  std::optional<char> key(Milliseconds longest) override {
    const auto begun = ::GetTickCount64();
    const auto most = static_cast<ULONGLONG>(std::clamp<std::int64_t>(longest.count(), 0, 60'000));
    for (ULONGLONG passed = 0; passed <= most; passed = ::GetTickCount64() - begun) {
      if (::WaitForSingleObject(input_, static_cast<DWORD>(most - passed)) != WAIT_OBJECT_0) return std::nullopt;
      INPUT_RECORD record{};
      DWORD read = 0;
      if (::ReadConsoleInputW(input_, &record, 1, &read) == 0) return end();
      if (record.EventType == WINDOW_BUFFER_SIZE_EVENT) return std::nullopt;
      const KEY_EVENT_RECORD& key = record.Event.KeyEvent;
      const wchar_t c = key.uChar.UnicodeChar;
      // Of keys beyond ASCII there are no commands; releases and lone modifiers are no keys.
      if (record.EventType != KEY_EVENT || key.bKeyDown == 0 || c == 0 || c > 0x7f) continue;
      constexpr wchar_t kInterrupt = 3;
      return c == kInterrupt ? end() : static_cast<char>(c);
    }
    return std::nullopt;
  }
  [[nodiscard]] bool ended() const override { return ended_; }

  [[nodiscard]] TerminalSize size() const override {
    CONSOLE_SCREEN_BUFFER_INFO info{};
    if (::GetConsoleScreenBufferInfo(::GetStdHandle(STD_OUTPUT_HANDLE), &info) == 0) return {};
    const SMALL_RECT& shown = info.srWindow;
    return {static_cast<std::size_t>(shown.Bottom - shown.Top + 1),
            static_cast<std::size_t>(shown.Right - shown.Left + 1)};
  }

 private:
  char end() {
    ended_ = true;
    return 3;
  }
  const HANDLE input_;
  const DWORD before_;
  bool ended_ = false;
};

}  // namespace

bool output_is_terminal() {
  const HANDLE output = ::GetStdHandle(STD_OUTPUT_HANDLE);
  DWORD mode = 0;
  if (::GetConsoleMode(output, &mode) == 0) return false;
  // A console that does not understand colours and cursor movements is written to as to a file.
  return ::SetConsoleMode(output, mode | ENABLE_PROCESSED_OUTPUT | ENABLE_VIRTUAL_TERMINAL_PROCESSING) != 0;
}

std::unique_ptr<Keyboard> Keyboard::open() {
  const HANDLE input = ::GetStdHandle(STD_INPUT_HANDLE);
  DWORD mode = 0;
  if (::GetConsoleMode(input, &mode) == 0) return nullptr;
  return std::make_unique<WindowsKeyboard>(input, mode);
}

}  // namespace nodemeter::cli
