// Sockets as POSIX has them, on both platforms: what raw_server.h needs.

#pragma once

#ifdef _WIN32

#include <winsock2.h>
#include <ws2tcpip.h>

#include <cstddef>

namespace nodemeter::testing {

using ssize_t = std::ptrdiff_t;
using Socket = SOCKET;
inline constexpr Socket kNoSocket = INVALID_SOCKET;
inline constexpr short kPeerDone = POLLHUP;
inline constexpr short kPolledForEnd = POLLRDNORM;

struct SocketLibrary {
  SocketLibrary() {
    WSADATA data{};
    (void)::WSAStartup(MAKEWORD(2, 2), &data);
  }
};
inline int poll(WSAPOLLFD* sockets, unsigned long count, int ms) { return ::WSAPoll(sockets, count, ms); }
inline void close_socket(Socket socket) { ::closesocket(socket); }
inline ssize_t receive(Socket socket, char* into, std::size_t size) {
  return ::recv(socket, into, static_cast<int>(size), 0);
}
inline ssize_t transmit(Socket socket, const char* from, std::size_t size) {
  return ::send(socket, from, static_cast<int>(size), 0);
}
inline bool is_socket(Socket socket) { return socket != kNoSocket; }
inline void reset_on_close(Socket socket) {
  linger hard{};
  hard.l_onoff = 1;
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, reinterpret_cast<const char*>(&hard), sizeof hard);
}

}  // namespace nodemeter::testing

#else

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>

namespace nodemeter::testing {

using Socket = int;
inline constexpr Socket kNoSocket = -1;
inline constexpr short kPeerDone = POLLRDHUP;
inline constexpr short kPolledForEnd = POLLIN | POLLRDHUP;

struct SocketLibrary {
  SocketLibrary() {}  // Nothing to begin.
};
using ::poll;
inline void close_socket(Socket socket) { ::close(socket); }
inline ssize_t receive(Socket socket, char* into, std::size_t size) { return ::recv(socket, into, size, 0); }
inline ssize_t transmit(Socket socket, const char* from, std::size_t size) {
  return ::send(socket, from, size, MSG_NOSIGNAL);
}
inline bool is_socket(Socket socket) { return socket >= 0; }
inline void reset_on_close(Socket socket) {
  const linger hard{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
}

}  // namespace nodemeter::testing

#endif
