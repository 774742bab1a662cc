#include "uploader/aggregator/server_connection.h"

#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "uploader/aggregator/http.h"

namespace nodemeter {
namespace {

using Steady = std::chrono::steady_clock;

// How often an idle connection looks whether the server stops.
constexpr Milliseconds kStopLook{100};

// How long an answer that ends a connection is given to arrive before what is unread of the request resets it.
constexpr Milliseconds kLingerMax{1'000};

// Set while a connection is one too many and is only to be told so.
thread_local bool t_one_too_many = false;

std::string closing_answer(int status, const char* words, std::string_view sentence) {
  const std::string body = error_answer(status, sentence).body;
  return "HTTP/1.1 " + std::to_string(status) + " " + words +
         "\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
         (status == 503 ? "\r\nRetry-After: 30" : "") + "\r\n\r\n" + body;
}

// A socket, and TLS on it where there is any. Nothing on it ever blocks for longer than allowed.
class Connection final : public httplib::Stream {
 public:
  Connection(int socket, const ConnectionLimits& limits) : socket_(socket), limits_(limits) {
    ::fcntl(socket_, F_SETFL, ::fcntl(socket_, F_GETFL, 0) | O_NONBLOCK);
  }
  ~Connection() override {
    if (ssl_ != nullptr) SSL_free(ssl_);
    ::close(socket_);
  }

  // False: no TLS with this peer.
  bool accept_tls(SSL_CTX* context) {
    ssl_ = SSL_new(context);
    if (ssl_ == nullptr || SSL_set_fd(ssl_, socket_) != 1) return false;
    begin_head();
    for (;;) {
      ERR_clear_error();
      const int done = SSL_accept(ssl_);
      if (done == 1) return true;
      if (!await(SSL_get_error(ssl_, done))) return false;
    }
  }

  void begin_head() { head_until_ = Steady::now() + limits_.head_time_max; }
  void head_is_read() { head_until_.reset(); }
  // The head's time ran out.
  [[nodiscard]] bool head_was_late() const { return head_until_ && Steady::now() >= *head_until_; }

  // Whether a further request begins within `wait`.
  bool begins_within(Milliseconds wait) {
    if (at_ < end_ || (ssl_ != nullptr && SSL_pending(ssl_) > 0)) return true;
    return await_socket(POLLIN, Steady::now() + wait);
  }

  // Lets the peer read the answer before what it still sends resets the connection.
  void linger() {
    ::shutdown(socket_, SHUT_WR);
    const auto until = Steady::now() + kLingerMax;
    char dropped[4096];
    while (Steady::now() < until && await_socket(POLLIN, until)) {
      if (::recv(socket_, dropped, sizeof dropped, 0) <= 0) return;
    }
  }

  void finish_tls() {
    if (ssl_ != nullptr) SSL_shutdown(ssl_);
  }

  [[nodiscard]] SSL* ssl() const { return ssl_; }

  // --- httplib::Stream
  [[nodiscard]] bool is_readable() const override { return true; }
  [[nodiscard]] bool is_writable() const override { return true; }

  ssize_t read(char* to, std::size_t size) override {
    if (at_ == end_) {
      at_ = end_ = 0;
      const ssize_t got = receive();
      if (got <= 0) return got;
      end_ = static_cast<std::size_t>(got);
    }
    const std::size_t taken = std::min(size, end_ - at_);
    std::copy_n(buffer_.data() + at_, taken, to);
    at_ += taken;
    return static_cast<ssize_t>(taken);
  }

  ssize_t write(const char* from, std::size_t size) override {
    // The library's "bad request" about half a head: the answer is that it was late.
    if (head_was_late()) return static_cast<ssize_t>(size);
    std::size_t done = 0;
    while (done < size) {
      const std::size_t part = std::min<std::size_t>(size - done, 1u << 20);
      if (ssl_ != nullptr) {
        ERR_clear_error();
        const int n = SSL_write(ssl_, from + done, static_cast<int>(part));
        if (n > 0) done += static_cast<std::size_t>(n);
        if (n <= 0 && !await(SSL_get_error(ssl_, n))) return -1;
        continue;
      }
      const ssize_t n = ::send(socket_, from + done, part, MSG_NOSIGNAL);
      if (n > 0) done += static_cast<std::size_t>(n);
      if (n < 0 && errno != EAGAIN && errno != EINTR) return -1;
      if (n < 0 && !await_socket(POLLOUT, Steady::now() + limits_.silence_max)) return -1;
    }
    return static_cast<ssize_t>(size);
  }

  void get_remote_ip_and_port(std::string& ip, int& port) const override {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    char host[NI_MAXHOST];
    char service[NI_MAXSERV];
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    if (::getpeername(socket_, any, &size) != 0) return;
    if (::getnameinfo(any, size, host, sizeof host, service, sizeof service, NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
      return;
    }
    ip = host;
    port = std::atoi(service);
  }
  void get_local_ip_and_port(std::string&, int&) const override {}
  [[nodiscard]] socket_t socket() const override { return socket_; }

 private:
  ssize_t receive() {
    for (;;) {
      if (head_was_late()) return -1;
      if (ssl_ != nullptr) {
        ERR_clear_error();
        const int n = SSL_read(ssl_, buffer_.data(), static_cast<int>(buffer_.size()));
        if (n > 0) return n;
        if (!await(SSL_get_error(ssl_, n))) return -1;
        continue;
      }
      const ssize_t n = ::recv(socket_, buffer_.data(), buffer_.size(), 0);
      if (n >= 0) return n;
      if (errno != EAGAIN && errno != EINTR) return -1;
      if (!await_socket(POLLIN, patience())) return -1;
    }
  }

  [[nodiscard]] Steady::time_point patience() const {
    const Steady::time_point silent = Steady::now() + limits_.silence_max;
    return head_until_ ? std::min(silent, *head_until_) : silent;
  }

  bool await(int tls_wish) {
    if (tls_wish == SSL_ERROR_WANT_READ) return await_socket(POLLIN, patience());
    return tls_wish == SSL_ERROR_WANT_WRITE && await_socket(POLLOUT, patience());
  }

  bool await_socket(short what, Steady::time_point until) {
    for (;;) {
      const auto left = std::chrono::ceil<Milliseconds>(until - Steady::now()).count();
      pollfd p{.fd = socket_, .events = what, .revents = 0};
      const int ready = ::poll(&p, 1, static_cast<int>(std::max<std::int64_t>(0, left)));
      if (ready > 0) return true;
      if (ready == 0 || errno != EINTR) return false;
    }
  }

  const int socket_;
  const ConnectionLimits& limits_;
  SSL* ssl_ = nullptr;
  std::optional<Steady::time_point> head_until_;
  std::array<char, 16'384> buffer_{};
  std::size_t at_ = 0;
  std::size_t end_ = 0;
};

// Threads for connections, and room for some more to wait.
class BoundedPool final : public httplib::TaskQueue {
 public:
  explicit BoundedPool(const ConnectionLimits& limits) : waiting_max_(limits.waiting_max) {
    for (std::size_t i = 0; i < limits.threads; ++i) threads_.emplace_back([this] { work(); });
  }
  void enqueue(std::function<void()> connection) override {
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.size() < waiting_max_) {
        waiting_.push_back(std::move(connection));
        changed_.notify_one();
        return;
      }
    }
    t_one_too_many = true;
    connection();
    t_one_too_many = false;
  }
  void shutdown() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  void work() {
    for (;;) {
      std::function<void()> connection;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
        if (waiting_.empty()) return;
        connection = std::move(waiting_.front());
        waiting_.pop_front();
      }
      connection();
    }
  }
  const std::size_t waiting_max_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

// The library's server with our connections under it. `Base`: Server or SSLServer.
template <class Base>
class WatchedServer final : public Base {
 public:
  template <class... Arguments>
  WatchedServer(const ConnectionLimits& limits, std::function<void(const char*)> refused, const Arguments&... arguments)
      : Base(arguments...), limits_(limits), refused_(std::move(refused)) {
    this->new_task_queue = [this] { return new BoundedPool(limits_); };
  }

 private:
  bool process_and_close_socket(socket_t socket) override {
    Connection connection(socket, limits_);
    if (t_one_too_many) {
      refused_("connections");
      // The thread is the one that accepts: it may not wait for a handshake.
      if constexpr (std::is_same_v<Base, httplib::Server>) {
        const std::string answer = closing_answer(503, "Service Unavailable", "too many connections at once");
        (void)::send(socket, answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      }
      return false;
    }
    if constexpr (!std::is_same_v<Base, httplib::Server>) {
      if (!connection.accept_tls(this->ssl_context())) {
        if (connection.head_was_late()) refused_("head");
        return false;
      }
    }
    return serve(connection);
  }

  bool serve(Connection& connection) {
    for (std::size_t left = limits_.requests_max; left > 0; --left) {
      if (!await_request(connection)) break;
      connection.begin_head();
      bool closed = false;
      const bool good = this->process_request(connection, left == 1, closed, [&](httplib::Request& request) {
        connection.head_is_read();
        request.ssl = connection.ssl();
      });
      if (connection.head_was_late()) {
        refused_("head");
        const std::string answer =
            closing_answer(408, "Request Timeout", "the head of the request did not arrive in time");
        connection.head_is_read();
        connection.write(answer.data(), answer.size());
        connection.linger();
        return false;  // Whatever the library made of half a head.
      }
      if (!good) {
        connection.linger();
        return false;
      }
      if (closed) break;
    }
    connection.finish_tls();
    return true;
  }

  // Whether a request comes before the connection has been idle for too long or the server stops.
  bool await_request(Connection& connection) {
    const auto until = Steady::now() + limits_.idle_max;
    while (this->svr_sock_ != INVALID_SOCKET) {
      if (connection.begins_within(kStopLook)) return true;
      if (Steady::now() >= until) return false;
    }
    return false;
  }

  const ConnectionLimits limits_;
  const std::function<void(const char*)> refused_;
};

}  // namespace

std::unique_ptr<httplib::Server> make_watched_server(const ConnectionLimits& limits,
                                                     std::function<void(const char* limit)> refused,
                                                     const std::function<bool(SSL_CTX& context)>& set_up_tls) {
  if (!set_up_tls) return std::make_unique<WatchedServer<httplib::Server>>(limits, std::move(refused));
  return std::make_unique<WatchedServer<httplib::SSLServer>>(limits, std::move(refused), set_up_tls);
}

}  // namespace nodemeter
