// TLS of the serving end: its certificates, and what a sender's certificate says.

#pragma once

#include <openssl/types.h>

#include <string>
#include <vector>

#include "uploader/aggregator/server.h"

namespace nodemeter {

// Certificates of this server and, where asked for, the authority of its senders. Says what is wrong, "" if nothing.
std::string set_up_tls(SSL_CTX& context, const ServerOptions& options);

// Common name and DNS names of a client certificate that was verified; empty: there is none. `ssl` may be null.
std::vector<std::string> certificate_names(const SSL* ssl);

}  // namespace nodemeter
