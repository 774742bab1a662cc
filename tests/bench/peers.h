// Other stores doing the same work: each peer in its own .cpp, linked in if its library is there.

#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "store/kv.h"

namespace nodemeter {

class Peer {
 public:
  virtual ~Peer() = default;
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  // Writes are durable when it returns. False: failed.
  virtual bool commit(const std::vector<Write>& writes) = 0;

 protected:
  Peer() = default;
};

struct PeerMaker {
  std::string name;
  std::unique_ptr<Peer> (*open)(const std::filesystem::path& directory);  // Null: cannot be opened.
};

// Those that were linked in.
inline std::vector<PeerMaker>& peers() {
  static std::vector<PeerMaker> all;
  return all;
}

struct PeerEntry {
  explicit PeerEntry(PeerMaker maker) { peers().push_back(std::move(maker)); }
};

}  // namespace nodemeter
