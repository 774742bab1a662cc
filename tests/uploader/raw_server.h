// A server on a loopback port that does exactly what a test tells it to a connection, however wrong that is.
//
// Each accepted connection runs the next step of the script (the last one again and again). One connection at a time.
// Threads: the server's own one; what it collected is read through received().

#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "sockets.h"

namespace nodemeter::testing {

class Connection {
 public:
  Connection(Socket socket, const std::atomic<bool>& stopping) : socket_(socket), stopping_(stopping) {}

  // Whether the peer has closed its end.
  [[nodiscard]] bool peer_gone() const {
    pollfd p{.fd = socket_, .events = kPolledForEnd, .revents = 0};
    return poll(&p, 1, 0) > 0 && (p.revents & (kPeerDone | POLLHUP | POLLERR)) != 0;
  }

  // Reads until `bytes` in all have come, the peer is done, or the server stops.
  std::string read(std::size_t bytes) {
    std::string got;
    while (got.size() < bytes && readable()) {
      char chunk[4096];
      const ssize_t n = receive(socket_, chunk, std::min(sizeof chunk, bytes - got.size()));
      if (n <= 0) break;
      got.append(chunk, static_cast<std::size_t>(n));
    }
    return got;
  }

  // A whole request with Content-Length.
  std::string read_request() {
    std::string got;
    while (got.find("\r\n\r\n") == std::string::npos) {
      const std::string more = read(1);
      if (more.empty()) return got;
      got += more;
    }
    const std::size_t at = got.find("Content-Length: ");
    return at == std::string::npos ? got : got + read(std::stoul(got.substr(at + 16)));
  }

  bool write(const std::string& bytes) {
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t n = transmit(socket_, bytes.data() + done, bytes.size() - done);
      if (n <= 0) return false;
      done += static_cast<std::size_t>(n);
    }
    return true;
  }

  // Carries bytes to a port of this machine and back until either end closes; gives what the peer has sent.
  std::string tunnel_to(int port) {
    const Socket far_end = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    std::string sent;
    if (::connect(far_end, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
      while (!stopping_) {
        pollfd both[] = {{.fd = socket_, .events = POLLIN, .revents = 0},
                         {.fd = far_end, .events = POLLIN, .revents = 0}};
        if (poll(both, 2, 20) <= 0) continue;
        if (both[0].revents != 0 && !carry(socket_, far_end, &sent)) break;
        if (both[1].revents != 0 && !carry(far_end, socket_, nullptr)) break;
      }
    }
    close_socket(far_end);
    return sent;
  }

  // The connection ends with a reset and not with an end of data.
  void reset() { reset_on_close(socket_); }

  // False: the server is being stopped, or the peer has gone.
  bool wait(std::chrono::milliseconds span) const {
    const auto end = std::chrono::steady_clock::now() + span;
    while (std::chrono::steady_clock::now() < end) {
      if (stopping_ || peer_gone()) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return !stopping_;
  }

 private:
  static bool carry(Socket from, Socket to, std::string* copy) {
    char chunk[16'384];
    const ssize_t n = receive(from, chunk, sizeof chunk);
    if (n <= 0) return false;
    if (copy != nullptr) copy->append(chunk, static_cast<std::size_t>(n));
    for (ssize_t done = 0; done < n;) {
      const ssize_t m = transmit(to, chunk + done, static_cast<std::size_t>(n - done));
      if (m <= 0) return false;
      done += m;
    }
    return true;
  }

  bool readable() const {
    while (!stopping_) {
      pollfd p{.fd = socket_, .events = POLLIN, .revents = 0};
      if (poll(&p, 1, 20) > 0) return true;
    }
    return false;
  }
  Socket socket_;
  const std::atomic<bool>& stopping_;
};

class RawServer {
 public:
  using Step = std::function<void(Connection&)>;

  explicit RawServer(std::vector<Step> script) : script_(std::move(script)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener_, 16) != 0)
      std::abort();
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  RawServer(const RawServer&) = delete;
  RawServer& operator=(const RawServer&) = delete;
  ~RawServer() {
    stop();
    close_socket(listener_);
  }

  // Ends the step that runs: what it wrote down can then be read.
  void stop() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
  }

  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] std::string url(const std::string& rest = "/") const {
    return "http://127.0.0.1:" + std::to_string(port_) + rest;
  }
  [[nodiscard]] int connections() const { return connections_; }

 private:
  void run() {
    while (!stopping_) {
      pollfd p{.fd = listener_, .events = POLLIN, .revents = 0};
      if (poll(&p, 1, 20) <= 0) continue;
      const Socket socket = ::accept(listener_, nullptr, nullptr);
      if (!is_socket(socket)) continue;
      const std::size_t index = std::min(static_cast<std::size_t>(connections_++), script_.size() - 1);
      Connection connection(socket, stopping_);
      script_[index](connection);
      close_socket(socket);
    }
  }
  std::vector<Step> script_;
  [[maybe_unused]] const SocketLibrary library_;
  Socket listener_ = kNoSocket;
  int port_ = 0;
  std::atomic<bool> stopping_ = false;
  std::atomic<int> connections_ = 0;
  std::thread thread_;
};

}  // namespace nodemeter::testing
