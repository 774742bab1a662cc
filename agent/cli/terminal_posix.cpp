#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "agent/cli/terminal.h"

namespace nodemeter::cli {

namespace {

class PosixKeyboard final : public Keyboard {
 public:
  explicit PosixKeyboard(const termios& before) : before_(before) {
    termios raw = before;
    // Ctrl-C and Ctrl-Z arrive as keys: so no signal can end the process and leave the terminal without echo.
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    (void)::tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    // Without a handler a change of size would end no wait.
    struct sigaction noted {};
    noted.sa_handler = [](int) {};
    (void)::sigaction(SIGWINCH, &noted, &size_before_);
  }
  ~PosixKeyboard() override {
    (void)::sigaction(SIGWINCH, &size_before_, nullptr);
    (void)::tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
  }

  std::optional<char> key(Milliseconds longest) override {
    pollfd ready{STDIN_FILENO, POLLIN, 0};
    const int events = ::poll(&ready, 1, static_cast<int>(std::clamp<std::int64_t>(longest.count(), 0, 60'000)));
    if (events == 0 || (events < 0 && errno == EINTR)) return std::nullopt;
    constexpr char kInterrupt = 3;
    char c = kInterrupt;
    if (events < 0 || ::read(STDIN_FILENO, &c, 1) != 1) c = kInterrupt;
    ended_ = c == kInterrupt;
    return c;
  }
  [[nodiscard]] bool ended() const override { return ended_; }

  [[nodiscard]] TerminalSize size() const override {
    winsize now{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &now) != 0 || now.ws_row == 0 || now.ws_col == 0) return {};
    return {now.ws_row, now.ws_col};
  }

 private:
  const termios before_;
  struct sigaction size_before_ {};
  bool ended_ = false;
};

}  // namespace

bool output_is_terminal() { return ::isatty(STDOUT_FILENO) == 1; }

std::unique_ptr<Keyboard> Keyboard::open() {
  termios now{};
  if (::isatty(STDIN_FILENO) != 1 || ::tcgetattr(STDIN_FILENO, &now) != 0) return nullptr;
  return std::make_unique<PosixKeyboard>(now);
}

}  // namespace nodemeter::cli
