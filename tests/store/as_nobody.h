// What an account without rights gets. Only root can become one: tests ask geteuid() before.

#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <functional>
#include <string>

namespace nodemeter {

// Runs `body` in a child without rights and returns what it said; nothing if the child could not begin.
inline std::string as_nobody(const std::function<std::string()>& body) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(1);
    const std::string text = body();
    (void)!::write(ends[1], text.data(), text.size());
    ::_exit(0);
  }
  ::close(ends[1]);
  char buffer[1024];
  const ssize_t size = ::read(ends[0], buffer, sizeof buffer);
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  return {buffer, size > 0 ? static_cast<std::size_t>(size) : 0};
}

}  // namespace nodemeter
