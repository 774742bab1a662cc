// Connections of the serving end, watched: whoever sends a request's head too slowly, or is one too many, gets an
// answer and not a thread. The HTTP library reads and writes through what is made here, and never touches a socket
// itself.

#pragma once

#include <httplib.h>

#include <functional>
#include <memory>
#include <string>

#include "uploader/aggregator/connection_limits.h"

namespace nodemeter {

// A server without routes. `refused`: called with "head" or "connections" for every connection that a limit ended; any
// thread. `set_up_tls`: makes it a TLS server; gives false if the context cannot be used.
std::unique_ptr<httplib::Server> make_watched_server(const ConnectionLimits& limits,
                                                     std::function<void(const char* limit)> refused,
                                                     const std::function<bool(SSL_CTX& context)>& set_up_tls = {});

}  // namespace nodemeter
