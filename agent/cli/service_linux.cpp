#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "agent/cli/service.h"
#include "platform/text.h"

namespace nodemeter::cli {

namespace {

// A handler may touch only lock-free atomics and write(): both live here, for the one service of the process.
std::atomic<int> stop_count{0};
std::atomic<int> reload_count{0};
std::atomic<int> wake_descriptor{-1};
static_assert(std::atomic<int>::is_always_lock_free);

// A full pipe is as good as a byte in it.
void poke() {
  const int fd = wake_descriptor.load();
  const char byte = 1;
  if (fd >= 0) (void)!::write(fd, &byte, 1);
}

void on_stop_signal(int) {
  const int saved = errno;
  stop_count.fetch_add(1);
  poke();
  errno = saved;
}

void on_reload_signal(int) {
  const int saved = errno;
  reload_count.fetch_add(1);
  poke();
  errno = saved;
}

// The service manager's datagram socket: a path, or an abstract name that begins with @.
class Notifier {
 public:
  Notifier() {
    const char* name = std::getenv("NOTIFY_SOCKET");
    if (name == nullptr) return;
    const std::string_view path(name);
    if (path.size() < 2 || path.size() >= sizeof address_.sun_path || (path[0] != '/' && path[0] != '@')) return;
    address_.sun_family = AF_UNIX;
    std::copy(path.begin(), path.end(), address_.sun_path);
    if (path[0] == '@') address_.sun_path[0] = '\0';
    length_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
    socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  }
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;
  ~Notifier() {
    if (socket_ >= 0) ::close(socket_);
  }

  // Lost if the manager does not listen: metering does not depend on it.
  void send(std::string_view message) const {
    if (socket_ < 0) return;
    (void)!::sendto(socket_, message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                    reinterpret_cast<const sockaddr*>(&address_), length_);
  }

 private:
  sockaddr_un address_{};
  socklen_t length_ = 0;
  int socket_ = -1;
};

// Half of what the manager allows between two signs of life, or nothing if it does not watch this process.
std::optional<std::chrono::microseconds> watchdog_interval() {
  const char* text = std::getenv("WATCHDOG_USEC");
  const auto us = text == nullptr ? std::nullopt : parse_u64(text);
  if (!us || *us == 0 || *us > 86'400'000'000ull) return std::nullopt;
  const char* process = std::getenv("WATCHDOG_PID");
  if (process != nullptr && parse_u64(process) != static_cast<std::uint64_t>(::getpid())) return std::nullopt;
  return std::chrono::microseconds(static_cast<std::int64_t>(*us / 2));
}

class ProcessService final : public Service {
 public:
  ProcessService(int read_end, int write_end) : read_end_(read_end), write_end_(write_end) {
    wake_descriptor.store(write_end);
  }
  ~ProcessService() override {
    wake_descriptor.store(-1);
    ::close(read_end_);
    ::close(write_end_);
  }

  void wait(Milliseconds longest) override {
    pollfd ready{read_end_, POLLIN, 0};
    const auto ms = std::clamp<std::int64_t>(longest.count(), 0, 60'000);
    if (::poll(&ready, 1, static_cast<int>(ms)) <= 0) return;
    char bytes[64];
    while (::read(read_end_, bytes, sizeof bytes) > 0) {
    }
  }

  void wake() override { poke(); }
  [[nodiscard]] int stop_requests() const override { return stop_count.load(); }
  [[nodiscard]] int reload_requests() const override { return reload_count.load(); }
  void ready() override { notifier_.send("READY=1"); }
  void stopping() override { notifier_.send("STOPPING=1"); }

  void alive() override {
    const auto now = std::chrono::steady_clock::now();
    if (!watchdog_ || (last_alive_ && now - *last_alive_ < *watchdog_)) return;
    last_alive_ = now;
    notifier_.send("WATCHDOG=1");
  }

 private:
  const int read_end_;
  const int write_end_;
  const Notifier notifier_;
  const std::optional<std::chrono::microseconds> watchdog_ = watchdog_interval();
  std::optional<std::chrono::steady_clock::time_point> last_alive_;
};

Error refused(const std::string& what) {
  return Error{ErrorCode::kUnavailable, what + ": " + std::generic_category().message(errno)};
}

}  // namespace

Result<std::unique_ptr<Service>> open_process_service() {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return refused("cannot make a pipe");
  std::unique_ptr<Service> service = std::make_unique<ProcessService>(ends[0], ends[1]);
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = SA_RESTART;
  (void)sigemptyset(&action.sa_mask);
  for (const int signal : {SIGTERM, SIGINT}) {
    if (::sigaction(signal, &action, nullptr) != 0) return refused("cannot handle signals");
  }
  action.sa_handler = on_reload_signal;
  if (::sigaction(SIGHUP, &action, nullptr) != 0) return refused("cannot handle signals");
  // A peer that goes away is an answer of the network, not the end of the agent.
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  if (::sigaction(SIGPIPE, &ignore, nullptr) != 0) return refused("cannot handle signals");
  return service;
}

}  // namespace nodemeter::cli
