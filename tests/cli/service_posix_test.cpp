// Goal: a hangup asks the agent to read its files again, at once, and does not end it.
// Method: real signals to this process.

#include <signal.h>

#include <catch2/catch.hpp>
#include <chrono>

#include "agent/cli/service.h"

using namespace nodemeter;

TEST_CASE("a hangup ends the wait as a wish to reload, and is no wish to stop", "[service]") {
  auto service = cli::open_process_service();
  REQUIRE(service.ok());
  const int stops = (*service)->stop_requests();
  const int reloads = (*service)->reload_requests();
  REQUIRE(::raise(SIGHUP) == 0);
  const auto begun = std::chrono::steady_clock::now();
  (*service)->wait(Milliseconds{60'000});
  CHECK(std::chrono::steady_clock::now() - begun < std::chrono::seconds(30));
  CHECK((*service)->reload_requests() == reloads + 1);
  CHECK((*service)->stop_requests() == stops);
}
