// An LMDB environment and its transactions (the only lmdb.h): what opens, claims, locks, grows, maps and describes the
// data file, and what LMDB answers. What a store makes of an answer is store/lmdb_kv.cpp's.
//
// Threads: one of them extends the file, moves the map and writes; any may begin to read.

#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <string>
#include <utility>

#include "store/directory_claim.h"
#include "store/kv.h"
#include "store/lmdb_kv.h"
#include "store/lmdb_pages.h"

// LMDB's handles.
struct MDB_env;
struct MDB_txn;

namespace nodemeter::lmdb {

// How long an opening and a commit wait for another program that has the file locked, and how often they look.
inline constexpr std::chrono::milliseconds kHeldMax{2'000};
inline constexpr std::chrono::milliseconds kHeldPause{20};

// What LMDB answers to a call: zero, a code of its own, an errno value or, on Windows, a code of the system.
struct Code {
  int value = 0;

  [[nodiscard]] bool ok() const { return value == 0; }
  [[nodiscard]] bool is_full() const;      // The map or the file system.
  [[nodiscard]] bool is_map_full() const;  // The map only.
  [[nodiscard]] bool is_denied() const;
  [[nodiscard]] bool is_held() const;  // Another program has the file locked for the moment.
  [[nodiscard]] std::string words() const;
  // `what`, and the words. kFull, kPermissionDenied, kCorrupt, kInvalidInput, else kUnavailable.
  [[nodiscard]] Error error(const std::string& what) const;
};

// LMDB found its own state broken: its environment is abandoned. Thrown through its C code, which has nothing to clean
// up that we would use again, by every function here that enters LMDB.
struct BrokenPromise {
  std::string what;
};

// The environment of one directory. Outlives its transactions.
class Environment {
 public:
  // Claims and opens the directory. For a writer the directory, the files, their names and a first stretch of zeros are
  // made, durable before anything is committed, and so are the tables. The errors are open_lmdb's.
  static Result<std::shared_ptr<Environment>> open(const std::filesystem::path& directory, const LmdbOptions& options);
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment();

  [[nodiscard]] const std::filesystem::path& directory() const { return directory_; }
  [[nodiscard]] std::filesystem::path data_file() const;
  // The name under which the directory is claimed.
  [[nodiscard]] const std::string& name() const { return claim_.name(); }
  // The data file, read without LMDB.
  [[nodiscard]] const std::shared_ptr<const lmdb_pages::ByteSource>& bytes() const { return bytes_; }

  [[nodiscard]] std::uint64_t page_bytes() const { return page_bytes_; }
  // Pages from the file's start that have ever been used.
  [[nodiscard]] std::uint64_t pages_touched() const;
  [[nodiscard]] std::uint64_t map_bytes() const;
  // Of the data file, from its start: content and size are known to be durable.
  [[nodiscard]] std::uint64_t durable_bytes() const { return durable_bytes_; }

  // Makes the data file that long, by zeros, durably; the map stays. kFull, kUnavailable.
  Status extend(std::uint64_t bytes);
  // LMDB wrote beyond the durable bytes: makes it durable up to there, if so. The errors are sync_file's.
  Status sync_growth();
  // Moves the map, unless it reaches over the durable bytes. Snapshots may live: they read around the map.
  // After an error LMDB has none: the environment is abandoned, although nothing is wrong with the store.
  Status map_durable_bytes();
  // Frees the slots of readers that ended without a word.
  void check_readers() const;

  // LMDB lost track in the middle of something: its handles are not touched again.
  [[nodiscard]] bool abandoned() const { return abandoned_; }
  // Because of its map.
  [[nodiscard]] bool map_lost() const { return map_lost_; }

 private:
  friend class Transaction;
  Environment(DirectoryClaim claim, std::filesystem::path directory);
  Status open_checked(const LmdbOptions& options);
  Status open_files(const LmdbOptions& options);
  Status open_tables();
  Code open_tables(bool create);
  Status make_durable(const LmdbOptions& options);
  Code begin(unsigned flags, MDB_txn** transaction) const;
  Code remap(std::uint64_t bytes) const;
  static void on_assertion(MDB_env* handle, const char* what);

  DirectoryClaim claim_;  // Released after the handle is closed.
  std::filesystem::path directory_;
  MDB_env* handle_ = nullptr;
  std::array<unsigned, kTableCount> tables_{};
  std::shared_ptr<const lmdb_pages::ByteSource> bytes_;
  std::uint64_t page_bytes_ = 0;
  std::uint64_t durable_bytes_ = 0;
  bool abandoned_ = false;
  bool map_lost_ = false;
  mutable std::shared_mutex map_mutex_;  // Held alone while the map moves.
};

// Aborted unless committed. A writing one belongs to its thread, a reading one to its object.
class Transaction {
 public:
  enum class Access { kRead, kWrite };

  // As a Code's error.
  static Result<Transaction> begin(const Environment& environment, Access access);
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  Transaction(Transaction&& other) noexcept
      : environment_(other.environment_), handle_(std::exchange(other.handle_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction() { abort(); }

  // Of the version that it reads, or makes.
  [[nodiscard]] std::uint64_t id() const;
  // Nothing to delete is no error.
  Code write(const Write& write);
  // It is over either way.
  Code commit();
  void abort();

 private:
  Transaction(const Environment& environment, MDB_txn* handle) : environment_(&environment), handle_(handle) {}
  const Environment* environment_;
  MDB_txn* handle_;

  friend class Environment;
};

}  // namespace nodemeter::lmdb
