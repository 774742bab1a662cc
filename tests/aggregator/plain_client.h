// Sends bytes to a loopback port and reads what comes back: requests that no proper client would make.

#pragma once

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

namespace nodemeter::testing {

class PlainClient {
 public:
  explicit PlainClient(int port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  PlainClient(const PlainClient&) = delete;
  PlainClient& operator=(const PlainClient&) = delete;
  ~PlainClient() { ::close(socket_); }

  [[nodiscard]] bool connected() const { return connected_; }

  bool send(const std::string& bytes) {
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t n = ::send(socket_, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
      if (n <= 0) return false;
      done += static_cast<std::size_t>(n);
    }
    return true;
  }

  // One answer with Content-Length; "" if the connection ends before.
  std::string answer() {
    std::string got;
    while (got.find("\r\n\r\n") == std::string::npos) {
      if (!read_into(got)) return "";
    }
    const std::size_t head = got.find("\r\n\r\n") + 4;
    const std::size_t at = got.find("Content-Length: ");
    const std::size_t size = at == std::string::npos ? 0 : std::stoul(got.substr(at + 16));
    while (got.size() < head + size) {
      if (!read_into(got)) return "";
    }
    return got;
  }

  std::string ask(const std::string& bytes) {
    send(bytes);
    return answer();
  }

  // Whether the server ends the connection, within ten seconds.
  bool ends() {
    std::string rest;
    while (read_into(rest)) {
    }
    return ended_;
  }

 private:
  bool read_into(std::string& got) {
    pollfd p{.fd = socket_, .events = POLLIN, .revents = 0};
    if (::poll(&p, 1, 10'000) <= 0) return false;
    char chunk[4096];
    const ssize_t n = ::recv(socket_, chunk, sizeof chunk, 0);
    ended_ = n <= 0;
    if (n > 0) got.append(chunk, static_cast<std::size_t>(n));
    return n > 0;
  }
  int socket_;
  bool connected_ = false;
  bool ended_ = false;
};

inline std::string post(const std::string& body, const std::string& headers = "", const std::string& path = "/") {
  return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + headers +
         "\r\n" + body;
}

inline int status_of(const std::string& answer) { return answer.size() < 12 ? 0 : std::stoi(answer.substr(9, 3)); }

}  // namespace nodemeter::testing
