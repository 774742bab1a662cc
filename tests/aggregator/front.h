// nghttpx as a child process: TLS with HTTP/2 to its clients, plain HTTP/1.1 to a port of this machine.

#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <string>
#include <thread>
#include <vector>

#include "platform/files.h"
#include "tests/aggregator/certificates.h"
#include "tests/temporary_directory.h"

namespace nodemeter::testing {

class Front {
 public:
  Front(const TemporaryDirectory& directory, const Certificates& certificates, int backend)
      : log_(directory.file("front.log")), port_(free_port()) {
    std::vector<std::string> arguments = {
        "nghttpx",
        "--conf=/dev/null",
        "--workers=1",
        "--frontend=127.0.0.1," + std::to_string(port_),
        "--backend=127.0.0.1," + std::to_string(backend),
        "--accesslog-file=" + log_,
        "--accesslog-format=$request $status",
        "--errorlog-file=" + directory.file("front.err"),
        certificates.key("server"),
        certificates.cert("server"),
    };
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::setpgid(0, 0);  // Its worker processes end with it.
      const int null = ::open("/dev/null", O_RDWR);
      ::dup2(null, 1);
      ::dup2(null, 2);
      ::execvp(argv[0], argv.data());
      ::_exit(127);
    }
    for (int i = 0; i < 4'000 && !listening(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    REQUIRE(listening());
  }
  Front(const Front&) = delete;
  Front& operator=(const Front&) = delete;
  ~Front() { end(); }

  void end() {
    if (pid_ <= 0) return;
    ::kill(-pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  [[nodiscard]] int port() const { return port_; }
  // A line is written after its answer: waits for the first one.
  [[nodiscard]] std::string log() const {
    for (int i = 0; i < 2'000; ++i) {
      const Result<std::string> text = read_file(log_, 1u << 20);
      if (text && !text->empty()) return *text;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return "";
  }

 private:
  static sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    return address;
  }
  static int free_port() {
    const int probe = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    ::bind(probe, reinterpret_cast<sockaddr*>(&address), size);
    ::getsockname(probe, reinterpret_cast<sockaddr*>(&address), &size);
    ::close(probe);
    return ntohs(address.sin_port);
  }
  [[nodiscard]] bool listening() const {
    const int probe = ::socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in address = loopback(port_);
    const bool open = ::connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    ::close(probe);
    return open;
  }

  std::string log_;
  int port_ = 0;
  pid_t pid_ = 0;
};

}  // namespace nodemeter::testing
