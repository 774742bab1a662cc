// SQLite as it is set up for durable commits: write-ahead log, synchronous=FULL, prepared statements, one table.

#include <sqlite3.h>

#include "tests/bench/peers.h"

namespace nodemeter {

namespace {

class SqlitePeer final : public Peer {
 public:
  ~SqlitePeer() override {
    for (sqlite3_stmt* statement : {begin_, put_, remove_, end_}) sqlite3_finalize(statement);
    sqlite3_close(database_);
  }

  bool open(const std::filesystem::path& directory) {
    if (sqlite3_open((directory / "sqlite.db").c_str(), &database_) != SQLITE_OK) return false;
    const char* setup =
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA locking_mode=EXCLUSIVE;"
        "CREATE TABLE rows(space INTEGER, key BLOB, value BLOB, PRIMARY KEY(space, key)) WITHOUT ROWID;";
    if (sqlite3_exec(database_, setup, nullptr, nullptr, nullptr) != SQLITE_OK) return false;
    return prepare("BEGIN IMMEDIATE", begin_) && prepare("COMMIT", end_) &&
           prepare("INSERT OR REPLACE INTO rows VALUES(?,?,?)", put_) &&
           prepare("DELETE FROM rows WHERE space=? AND key=?", remove_);
  }

  bool commit(const std::vector<Write>& writes) override {
    if (!run(begin_)) return false;
    for (const Write& write : writes) {
      sqlite3_stmt* statement = write.value ? put_ : remove_;
      sqlite3_bind_int(statement, 1, static_cast<int>(write.table));
      sqlite3_bind_blob(statement, 2, write.key.data(), static_cast<int>(write.key.size()), SQLITE_STATIC);
      if (write.value) {
        sqlite3_bind_blob(statement, 3, write.value->data(), static_cast<int>(write.value->size()), SQLITE_STATIC);
      }
      if (!run(statement)) return false;
    }
    return run(end_);
  }

 private:
  bool prepare(const char* text, sqlite3_stmt*& statement) {
    return sqlite3_prepare_v2(database_, text, -1, &statement, nullptr) == SQLITE_OK;
  }
  static bool run(sqlite3_stmt* statement) {
    const bool done = sqlite3_step(statement) == SQLITE_DONE;
    return sqlite3_reset(statement) == SQLITE_OK && done;
  }

  sqlite3* database_ = nullptr;
  sqlite3_stmt* begin_ = nullptr;
  sqlite3_stmt* put_ = nullptr;
  sqlite3_stmt* remove_ = nullptr;
  sqlite3_stmt* end_ = nullptr;
};

const PeerEntry entry({"SQLite, WAL, synchronous=FULL", [](const std::filesystem::path& directory) {
                         auto peer = std::make_unique<SqlitePeer>();
                         if (!peer->open(directory)) peer.reset();
                         return std::unique_ptr<Peer>(std::move(peer));
                       }});

}  // namespace

}  // namespace nodemeter
