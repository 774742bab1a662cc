// RocksDB with its defaults, every batch written with sync.

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include "tests/bench/peers.h"

namespace nodemeter {

namespace {

class RocksdbPeer final : public Peer {
 public:
  bool open(const std::filesystem::path& directory) {
    rocksdb::Options options;
    options.create_if_missing = true;
    rocksdb::DB* opened = nullptr;
    if (!rocksdb::DB::Open(options, (directory / "rocksdb").string(), &opened).ok()) return false;
    database_.reset(opened);
    return true;
  }

  bool commit(const std::vector<Write>& writes) override {
    rocksdb::WriteBatch batch;
    for (const Write& write : writes) {
      const std::string key = static_cast<char>('0' + static_cast<int>(write.table)) + write.key;
      const rocksdb::Status put = write.value ? batch.Put(key, *write.value) : batch.Delete(key);
      if (!put.ok()) return false;
    }
    rocksdb::WriteOptions durable;
    durable.sync = true;
    return database_->Write(durable, &batch).ok();
  }

 private:
  std::unique_ptr<rocksdb::DB> database_;
};

const PeerEntry entry({"RocksDB, sync", [](const std::filesystem::path& directory) {
                         auto peer = std::make_unique<RocksdbPeer>();
                         if (!peer->open(directory)) peer.reset();
                         return std::unique_ptr<Peer>(std::move(peer));
                       }});

}  // namespace

}  // namespace nodemeter
