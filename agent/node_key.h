// The node's signing key: <state>/signing.key (the secret, 64 hexadecimal digits, for the service account only) and
// <state>/signing.pub (the public key, to be handed out).
//
// A rotation first puts the next key into signing.key.next, then commits the change to the journal, then renames. What
// a crash leaves of it is finished when the key is opened the next time.

#pragma once

#include <filesystem>

#include "platform/digest.h"
#include "platform/result.h"
#include "store/kv.h"

namespace nodemeter {

// The key of the state directory, made on first use. `store`: its open journal, which knows whether a rotation was
// committed. kCorrupt: the file is not a key; the message says what to do. Else as read_file and replace_file.
Result<SigningKey> open_node_key(const std::filesystem::path& state, const KeyValue& store);

// A new key, durable beside the present one but not in force.
Result<SigningKey> prepare_next_key(const std::filesystem::path& state);

// Puts the prepared key into force, once the journal has committed the change.
Status adopt_next_key(const std::filesystem::path& state);

// The public key in a file or in the text itself: 64 hexadecimal digits. kInvalidInput: neither.
Result<std::string> public_key_from(const std::string& file_or_digits);

}  // namespace nodemeter
