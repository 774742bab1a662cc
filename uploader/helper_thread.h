// What a helper thread of the uploader does about signals; one file per platform.

#pragma once

namespace nodemeter {

// Call first on a helper thread. Signals are the embedder's: none is delivered here, and writing to a connection that
// the peer has closed fails with an error and not with SIGPIPE (OpenSSL writes with plain write()).
void keep_signals_away();

}  // namespace nodemeter
