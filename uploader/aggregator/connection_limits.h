// What one connection to the aggregator may cost. Each limit has its answer: uploader/aggregator/README.md.

#pragma once

#include <cstddef>

#include "platform/clock.h"

namespace nodemeter {

struct ConnectionLimits {
  std::size_t threads = 64;            // Connections served at once; from ServerOptions.
  std::size_t waiting_max = 256;       // More that wait for a thread; one too many is answered with 503 and closed.
  Milliseconds head_time_max{20'000};  // TLS handshake and head of a request, each; then 408.
  Milliseconds silence_max{30'000};    // Without a byte while a body or an answer is under way.
  Milliseconds idle_max{5'000};        // Between two requests of one connection.
  std::size_t requests_max = 10'000;   // Of one connection.
};

}  // namespace nodemeter
