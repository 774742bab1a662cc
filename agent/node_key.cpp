#include "agent/node_key.h"

#include <system_error>

#include "platform/files.h"
#include "platform/text.h"
#include "store/reader.h"

namespace nodemeter {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kKeyFileMax = 256;
constexpr std::size_t kKeyBytes = 32;

fs::path key_file(const fs::path& state) { return state / "signing.key"; }
fs::path next_key_file(const fs::path& state) { return state / "signing.key.next"; }

std::string without_line_end(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.pop_back();
  return text;
}

Result<SigningKey> read_key(const fs::path& file) {
  const Result<std::string> text = read_file(file, kKeyFileMax);
  if (!text) return text.error();
  const std::string seed = from_hex(without_line_end(*text));
  if (seed.size() != kKeyBytes) {
    return Error{ErrorCode::kCorrupt,
                 file.string() +
                     " is not a signing key: restore it from a copy, or move it away; a new key is "
                     "made then, and the journal says that nothing vouches for it"};
  }
  return SigningKey::from_seed(seed);
}

Status write_key(const fs::path& file, const SigningKey& key) {
  return replace_file(file, to_hex(key.seed()) + "\n", true);
}

Status write_public_key(const fs::path& state, const SigningKey& key) {
  const std::string text = to_hex(key.public_key()) + "\n";
  const Result<std::string> there = read_file(state / "signing.pub", kKeyFileMax);
  if (there && *there == text) return Done{};
  return replace_file(state / "signing.pub", text);
}

}  // namespace

Result<SigningKey> open_node_key(const fs::path& state, const KeyValue& store) {
  Result<SigningKey> key = read_key(key_file(state));
  if (!key && key.error().code == ErrorCode::kNotFound) {
    key = SigningKey::generate();
    if (Status written = write_key(key_file(state), *key); !written) return written.error();
  }
  if (!key) return key;
  const Result<SigningKey> next = read_key(next_key_file(state));
  const Result<JournalState> journal = Reader::on(store)->state();
  if (next && journal && journal->public_key == next->public_key()) {
    if (Status adopted = adopt_next_key(state); !adopted) return adopted.error();
    key = *next;
  }
  if (Status written = write_public_key(state, *key); !written) return written.error();
  return key;
}

Result<SigningKey> prepare_next_key(const fs::path& state) {
  const SigningKey key = SigningKey::generate();
  if (Status written = write_key(next_key_file(state), key); !written) return written.error();
  return key;
}

Status adopt_next_key(const fs::path& state) {
  std::error_code error;
  fs::rename(next_key_file(state), key_file(state), error);
  if (error)
    return Error{ErrorCode::kUnavailable, "cannot rename " + next_key_file(state).string() + ": " + error.message()};
  if (Status synced = sync_directory(state); !synced) return synced;
  const Result<SigningKey> key = read_key(key_file(state));
  if (!key) return key.error();
  return write_public_key(state, *key);
}

Result<std::string> public_key_from(const std::string& file_or_digits) {
  std::string key = from_hex(file_or_digits);
  if (key.size() != kKeyBytes) {
    const Result<std::string> text = read_file(file_or_digits, kKeyFileMax);
    if (text) key = from_hex(without_line_end(*text));
  }
  if (key.size() == kKeyBytes) return key;
  return Error{ErrorCode::kInvalidInput, "'" + display_text(file_or_digits) +
                                             "' is neither a public key (64 hexadecimal digits) nor a file with one: "
                                             "take signing.pub of the node's state directory"};
}

}  // namespace nodemeter
