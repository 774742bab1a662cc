#include "store/lmdb_kv.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "platform/data_file.h"
#include "platform/files.h"
#include "store/lmdb_check.h"
#include "store/lmdb_environment.h"
#include "store/page_snapshot.h"

namespace nodemeter {

namespace {

namespace fs = std::filesystem;

using lmdb::Environment;
using lmdb::Transaction;

// ---- Snapshot ----

// What keeps the pages of a snapshot from being used again.
struct Pin {
  std::shared_ptr<Environment> environment;  // Outlives the transaction.
  Transaction transaction;
};

// What is in the file stays in the file: LMDB keeps the pages of this version, and they are read around its map.
Result<std::unique_ptr<Snapshot>> snapshot_of(const std::shared_ptr<Environment>& environment) {
  std::optional<Error> last;
  for (int attempt = 0; attempt < lmdb_pages::kMetaAttempts; ++attempt) {
    Result<Transaction> transaction = Transaction::begin(*environment, Transaction::Access::kRead);
    if (!transaction) return transaction.error();
    const std::uint64_t id = transaction->id();
    auto pin = std::make_shared<Pin>(Pin{environment, std::move(transaction).value()});
    Result<std::unique_ptr<Snapshot>> snapshot = page_snapshot(environment->bytes(), id, std::move(pin));
    if (snapshot) return snapshot;
    last = snapshot.error();
    if (last->code == ErrorCode::kNotFound) return *last;
  }
  return Error{last->code, "the store at " + environment->name() + " is damaged: " + last->message};
}

// ---- The store ----

class LmdbKv final : public KeyValue {
 public:
  LmdbKv(std::shared_ptr<Environment> environment, const LmdbOptions& options)
      : environment_(std::move(environment)), options_(options) {
    options_.reserve_bytes = std::min(options_.reserve_bytes, options_.size_max_bytes / 8);
  }

  Status commit(const std::vector<Write>& writes) override;

  Result<std::unique_ptr<Snapshot>> snapshot() const override {
    if (poisoned_ || environment_->abandoned()) return refusal();
    return snapshot_of(environment_);
  }

  Usage usage() const override {
    Usage usage;
    usage.size_max_bytes = options_.size_max_bytes;
    if (environment_->abandoned()) return usage;
    if (options_.read_only) usage.size_max_bytes = environment_->map_bytes();
    const Result<Transaction> transaction = Transaction::begin(*environment_, Transaction::Access::kRead);
    if (!transaction) return usage;
    const Usage counted = usage_of(*environment_->bytes(), transaction->id());
    usage.used_bytes = counted.used_bytes;
    usage.entries_bytes = counted.entries_bytes;
    usage.entries = counted.entries;
    return usage;
  }

  void maintain() override {
    if (environment_->abandoned()) return;
    environment_->check_readers();
  }

 private:
  enum class Attempt { kDone, kRoomWasMade, kHeld };
  Result<Attempt> commit_checked(const std::vector<Write>& writes);
  Result<Attempt> attempt_to_write(Transaction transaction, const std::vector<Write>& writes);
  Status make_room(const std::vector<Write>& writes, std::uint64_t pages_used);
  Status grow(std::uint64_t bytes_wanted);
  Result<Attempt> after_failure(lmdb::Code code, const std::string& what);
  [[nodiscard]] bool map_follows() const { return options_.map_follows_file || map_needs_file(); }
  [[nodiscard]] Error refusal() const {
    if (environment_->map_lost()) {
      return Error{ErrorCode::kUnavailable,
                   "the store at " + environment_->directory().string() + " lost its memory map: restart"};
    }
    if (environment_->abandoned()) return damaged("LMDB met something impossible in it");
    return Error{ErrorCode::kUnavailable,
                 "the store at " + environment_->directory().string() + " had an I/O error: reopen it"};
  }

  [[nodiscard]] Error damaged(const std::string& what) const {
    return Error{ErrorCode::kCorrupt, environment_->data_file().string() + " is damaged: " + what};
  }

  std::shared_ptr<Environment> environment_;
  LmdbOptions options_;
  bool poisoned_ = false;
};

// Makes sure that a commit ends up within bytes of the file that are already durable.
//
// LMDB syncs its data file by fdatasync() and then writes a meta page that refers to the new pages. Where fdatasync()
// leaves out the file's new size, a power cut may keep the meta page and lose the pages: a store that cannot be opened.
// An fsync() after the commit would come too late, since the meta page is durable by then. So the file is extended
// beforehand, by written zeros and an fsync(), and commits only ever fill what is there. The same zeros are the
// reserve that marks, state and pruning live on while the file system is full.
Status LmdbKv::make_room(const std::vector<Write>& writes, std::uint64_t pages_used) {
  const bool puts_entries =
      std::ranges::any_of(writes, [](const Write& w) { return w.table == Table::kEntries && w.value.has_value(); });
  const std::uint64_t page_bytes = environment_->page_bytes();
  const std::uint64_t reserve = puts_entries ? options_.reserve_bytes / page_bytes : 0;
  const std::uint64_t wanted = lmdb_pages::pages_needed(writes, pages_used, page_bytes) + reserve;
  const std::uint64_t touched = environment_->pages_touched();
  if (touched + wanted <= environment_->durable_bytes() / page_bytes) return Done{};
  Status grown = grow((touched + wanted) * page_bytes);
  if (grown) return Done{};
  if (grown.error().code != ErrorCode::kFull) {
    poisoned_ = true;
    return grown;
  }
  // The file cannot grow; pages that earlier commits gave back may do. For entries they have to suffice with certainty,
  // so that the reserve stays. What frees room or keeps the books is left to LMDB to try.
  if (!puts_entries || pages_used + wanted <= environment_->durable_bytes() / page_bytes) return Done{};
  return grown;
}

Status LmdbKv::grow(std::uint64_t bytes_wanted) {
  const std::uint64_t page_bytes = environment_->page_bytes();
  const std::uint64_t durable_bytes = environment_->durable_bytes();
  const std::uint64_t chunk = std::max(options_.growth_bytes, page_bytes);
  std::uint64_t target = (bytes_wanted + chunk - 1) / chunk * chunk;
  target = std::min(target, options_.size_max_bytes / page_bytes * page_bytes);
  if (target > durable_bytes) {
    const Result<std::uint64_t> free = free_bytes(environment_->directory());
    if (free && *free < target - durable_bytes) {
      return Error{ErrorCode::kFull, "the file system of " + environment_->directory().string() + " has " +
                                         std::to_string(*free) + " bytes left and the store needs " +
                                         std::to_string(target - durable_bytes)};
    }
    if (Status extended = environment_->extend(target); !extended) return extended;
  }
  if (bytes_wanted > environment_->durable_bytes()) {
    return Error{ErrorCode::kFull, "the store at " + environment_->directory().string() +
                                       " has reached its size_max of " + std::to_string(options_.size_max_bytes) +
                                       " bytes"};
  }
  return Done{};
}

// The transaction is over.
Result<LmdbKv::Attempt> LmdbKv::after_failure(lmdb::Code code, const std::string& what) {
  // An error before the meta page is written changes nothing, and LMDB goes on; else it refuses to.
  const bool nothing_happened = Transaction::begin(*environment_, Transaction::Access::kWrite).ok();
  if (nothing_happened && code.is_held()) return Attempt::kHeld;
  if (nothing_happened && code.is_map_full() && map_follows()) {
    // The estimate was too low, and the map ends with the file: twice as much is plenty.
    if (Status grown = grow(environment_->durable_bytes() + 2 * options_.growth_bytes); !grown) return grown.error();
    return Attempt::kRoomWasMade;
  }
  if (nothing_happened && code.is_full()) return code.error("the store is full");
  poisoned_ = true;
  return Error{ErrorCode::kUnavailable, what + " failed, its outcome is unknown: " + code.words()};
}

Status LmdbKv::commit(const std::vector<Write>& writes) {
  if (poisoned_ || environment_->abandoned()) return refusal();
  if (options_.read_only)
    return Error{ErrorCode::kPermissionDenied, environment_->directory().string() + " is open for reading only"};
  for (const Write& write : writes) {
    if (write.key.empty() || write.key.size() > kKeyBytesMax) {
      return Error{ErrorCode::kInvalidInput, "a key of " + std::to_string(write.key.size()) +
                                                 " bytes; allowed are 1 to " + std::to_string(kKeyBytesMax)};
    }
  }
  try {
    const auto begun = std::chrono::steady_clock::now();
    for (;;) {
      const Result<Attempt> attempt = commit_checked(writes);
      if (!attempt) return attempt.error();
      if (*attempt == Attempt::kDone) return Done{};
      if (*attempt == Attempt::kRoomWasMade) {
        if (Status mapped = environment_->map_durable_bytes(); !mapped) return mapped;
        continue;
      }
      if (std::chrono::steady_clock::now() - begun >= lmdb::kHeldMax) break;
      std::this_thread::sleep_for(lmdb::kHeldPause);
    }
  } catch (const lmdb::BrokenPromise& broken) {
    return damaged("LMDB gave up (" + broken.what + ")");
  }
  poisoned_ = true;
  return Error{ErrorCode::kUnavailable, "another program has " + environment_->data_file().string() +
                                            " locked: exclude the state directory from scans and file copies"};
}

// kRoomWasMade: the file has grown; once the map has followed, it is to be tried again. kHeld: it may be tried again.
Result<LmdbKv::Attempt> LmdbKv::commit_checked(const std::vector<Write>& writes) {
  Result<Transaction> transaction = Transaction::begin(*environment_, Transaction::Access::kWrite);
  if (!transaction) {
    poisoned_ = transaction.error().code == ErrorCode::kUnavailable;
    return transaction.error();
  }
  // LMDB follows whatever the pages say that it changes: they are looked at before.
  const Result<std::uint64_t> pages =
      lmdb_pages::check_writes(*environment_->bytes(), transaction->id() - 1, writes, kTableNames);
  if (!pages) return damaged(pages.error().message);
  if (Status room = make_room(writes, *pages); !room) return room.error();
  if (map_follows() && environment_->map_bytes() < environment_->durable_bytes()) return Attempt::kRoomWasMade;
  return attempt_to_write(std::move(*transaction), writes);
}

Result<LmdbKv::Attempt> LmdbKv::attempt_to_write(Transaction transaction, const std::vector<Write>& writes) {
  for (const Write& write : writes) {
    if (const lmdb::Code code = transaction.write(write); !code.ok()) {
      transaction.abort();
      if (code.is_full() || code.is_held())
        return after_failure(code, "a write to " + environment_->directory().string());
      return code.error("cannot write to the store at " + environment_->directory().string());
    }
  }
  if (const lmdb::Code code = transaction.commit(); !code.ok()) {
    return after_failure(code, "commit to " + environment_->directory().string());
  }
  // The estimate was too low, or the file could not grow as far and LMDB found room nevertheless: late, but better than
  // never.
  if (Status synced = environment_->sync_growth(); !synced) {
    poisoned_ = true;
    return Error{ErrorCode::kUnavailable, synced.error().message};
  }
  return Attempt::kDone;
}

// What reads only needs no handles of LMDB's.
Status find_tables(const std::shared_ptr<Environment>& environment) {
  const Result<std::unique_ptr<Snapshot>> snapshot = snapshot_of(environment);
  if (snapshot) return Done{};
  if (snapshot.error().code != ErrorCode::kNotFound) return snapshot.error();
  return Error{ErrorCode::kNotFound, "there is no journal in " + environment->data_file().string() + " (yet)"};
}

}  // namespace

Result<std::unique_ptr<KeyValue>> open_lmdb(const fs::path& directory, const LmdbOptions& options) {
  try {
    Result<std::shared_ptr<Environment>> environment = Environment::open(directory, options);
    if (!environment) return environment.error();
    if (options.read_only) {
      if (Status there = find_tables(*environment); !there) return there.error();
    }
    return std::unique_ptr<KeyValue>(std::make_unique<LmdbKv>(std::move(*environment), options));
  } catch (const lmdb::BrokenPromise& broken) {
    return Error{ErrorCode::kCorrupt,
                 (directory / "data.mdb").string() + " is damaged: LMDB gave up (" + broken.what + ")"};
  }
}

}  // namespace nodemeter
