#include "store/outbox.h"

namespace nodemeter {

std::string batch_token(const NodeId& node, const Epoch& epoch, Sequence first, Sequence last, std::string_view body) {
  return batch_token(node, epoch, first, last, digest_of({body}));
}

std::string batch_token(const NodeId& node, const Epoch& epoch, Sequence first, Sequence last, const Digest& of_body) {
  constexpr std::size_t kDigits = 16;
  return node.text() + ":" + epoch.text() + ":" + std::to_string(first) + "-" + std::to_string(last) + ":" +
         of_body.hex().substr(0, kDigits);
}

}  // namespace nodemeter
