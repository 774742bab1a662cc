#include "store/lmdb_kv.h"

#include <lmdb.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <mutex>
#include <shared_mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "platform/data_file.h"
#include "platform/files.h"
#include "platform/process.h"
#include "store/directory_claim.h"
#include "store/lmdb_check.h"
#include "store/page_snapshot.h"

namespace nodemeter {

namespace {

namespace fs = std::filesystem;

// How long a commit and an opening wait for another program that has the file locked, and how often they look.
constexpr std::chrono::milliseconds kHeldMax{2'000};
constexpr std::chrono::milliseconds kHeldPause{20};

// ---- Errors ----

// LMDB answers with its own codes, with errno values and, on Windows, with codes of the system: mdb_strerror() knows
// only its own there, and prints garbage or nothing for the rest.
std::string words(int code) {
  if (code >= MDB_KEYEXIST && code <= MDB_LAST_ERRCODE) return mdb_strerror(code);
  return std::system_category().message(code) + " (" + std::to_string(code) + ")";
}

bool is(int code, std::errc what) {
  return code == static_cast<int>(what) || std::error_code(code, std::system_category()) == what;
}

bool is_full(int code) { return code == MDB_MAP_FULL || is(code, std::errc::no_space_on_device); }

bool is_denied(int code) {
  return is(code, std::errc::permission_denied) || is(code, std::errc::operation_not_permitted) ||
         is(code, std::errc::read_only_file_system);
}

ErrorCode code_of(int code) {
  if (is_full(code)) return ErrorCode::kFull;
  if (is_denied(code)) return ErrorCode::kPermissionDenied;
  switch (code) {
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE: return ErrorCode::kCorrupt;
    case MDB_BAD_VALSIZE: return ErrorCode::kInvalidInput;
    default: return ErrorCode::kUnavailable;
  }
}

Error failed(const std::string& what, int code) { return Error{code_of(code), what + ": " + words(code)}; }

Error denied(const fs::path& path, int code) {
  return Error{ErrorCode::kPermissionDenied,
               "account " + account_name() + " may not open " + path.string() + ": " + words(code) +
                   ". The store belongs to the service account: use sudo, or read a backup that you own"};
}

// ---- Owners of LMDB's handles ----

// Never closed, since closing would follow what LMDB lost track of; but not forgotten either.
std::vector<MDB_env*>& abandoned_handles() {
  static auto* const handles = new std::vector<MDB_env*>;  // Outlives every other object.
  return *handles;
}

struct Environment {
  explicit Environment(DirectoryClaim taken) : claim(std::move(taken)) {}
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() {
    if (handle == nullptr) return;
    if (abandoned) {
      abandoned_handles().push_back(handle);
    } else {
      mdb_env_close(handle);
    }
  }
  [[nodiscard]] std::uint64_t page_bytes() const {
    const std::shared_lock lock(map_mutex);
    MDB_stat stat{};
    mdb_env_stat(handle, &stat);
    return stat.ms_psize;
  }
  // Pages from the file's start that have ever been used.
  [[nodiscard]] std::uint64_t pages_touched() const { return info().me_last_pgno + 1; }
  [[nodiscard]] MDB_envinfo info() const {
    const std::shared_lock lock(map_mutex);
    MDB_envinfo info{};
    mdb_env_info(handle, &info);
    return info;
  }
  // Nobody but the one that writes moves the map of a store that is written here: it need not wait for itself, and
  // would hold LMDB's lock of writers while it asks about the map.
  int begin(unsigned flags, MDB_txn** transaction) const {
    std::shared_lock lock(map_mutex, std::defer_lock);
    if ((flags & MDB_RDONLY) != 0) lock.lock();
    return mdb_txn_begin(handle, nullptr, flags, transaction);
  }
  // Only while this process writes nothing. Snapshots may live: they read around the map.
  int remap(std::uint64_t bytes) const {
    const std::unique_lock lock(map_mutex);
    return mdb_env_set_mapsize(handle, static_cast<std::size_t>(bytes));
  }

  DirectoryClaim claim;  // Released after the handle is closed.
  MDB_env* handle = nullptr;
  std::array<MDB_dbi, kTableCount> tables{};
  std::shared_ptr<const lmdb_pages::ByteSource> bytes;  // The data file, read without LMDB.
  bool abandoned = false;  // LMDB lost track in the middle of something: its handles are not touched again.
  bool map_lost = false;   // So it is abandoned although nothing is wrong with the store.

 private:
  mutable std::shared_mutex map_mutex;  // Held alone while the map moves.
};

// LMDB found its own state broken. Thrown through its C code, which has nothing to clean up that we would use again.
struct BrokenPromise {
  std::string what;
};

void on_assertion(MDB_env* handle, const char* what) {
  static_cast<Environment*>(mdb_env_get_userctx(handle))->abandoned = true;
  throw BrokenPromise{what};
}

// The meta page that a commit is about to write over, as it was.
//
// Where LMDB fails to write a meta page, it writes one that is neither the new nor the old: the new trees under the old
// number. LMDB itself never uses it, but to whoever checks the file it is a number that changed by itself: damage. So
// the old one goes back. Into the page cache only: the next opening syncs the file before anything else.
class OldMeta {
 public:
  OldMeta(const Environment& environment, std::uint64_t transaction)
      : environment_(environment), offset_(transaction % 2 * environment.page_bytes()) {
    held_ = environment.bytes && environment.bytes->read(offset_, sector_).ok();
  }
  void put_back() const {
    std::array<char, kSector> now{};
    if (!held_ || (environment_.bytes->read(offset_, now).ok() && now == sector_)) return;
    mdb_filehandle_t file{};
    mdb_env_get_fd(environment_.handle, &file);
    (void)overwrite((std::intptr_t)file, offset_, sector_);  // If that fails as well, the file says so when opened.
  }

 private:
  static constexpr std::size_t kSector = 512;  // What a disk writes whole; all of a meta page that is ever used.
  const Environment& environment_;
  std::uint64_t offset_;
  std::array<char, kSector> sector_{};
  bool held_ = false;
};

class Transaction {
 public:
  static Result<Transaction> begin(const Environment& environment, unsigned flags) {
    MDB_txn* handle = nullptr;
    int code = environment.begin(flags, &handle);
    if (code == MDB_READERS_FULL) {
      int freed = 0;
      mdb_reader_check(environment.handle, &freed);
      code = environment.begin(flags, &handle);
    } else if (code == MDB_MAP_RESIZED) {
      // The writer's map is larger now: take it over.
      if (environment.remap(0) != MDB_SUCCESS) return failed("cannot follow the store's growth", code);
      code = environment.begin(flags, &handle);
    }
    if (code != MDB_SUCCESS) return failed("cannot begin a transaction", code);
    return Transaction(environment, handle);
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  Transaction(Transaction&& other) noexcept
      : environment_(other.environment_), handle_(std::exchange(other.handle_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction() { abort(); }
  void abort() {
    if (handle_ != nullptr && !environment_->abandoned) mdb_txn_abort(handle_);
    handle_ = nullptr;
  }
  [[nodiscard]] MDB_txn* get() const { return handle_; }
  [[nodiscard]] std::uint64_t id() const { return mdb_txn_id(handle_); }
  // LMDB's code. The transaction is over either way.
  int commit() {
    const OldMeta old(*environment_, id());
    const int code = mdb_txn_commit(std::exchange(handle_, nullptr));
    if (code != MDB_SUCCESS) old.put_back();
    return code;
  }

 private:
  Transaction(const Environment& environment, MDB_txn* handle) : environment_(&environment), handle_(handle) {}
  const Environment* environment_;
  MDB_txn* handle_;
};

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
    Result<Transaction> transaction = Transaction::begin(*environment, MDB_RDONLY);
    if (!transaction) return transaction.error();
    const std::uint64_t id = transaction->id();
    auto pin = std::make_shared<Pin>(Pin{environment, std::move(transaction).value()});
    Result<std::unique_ptr<Snapshot>> snapshot = page_snapshot(environment->bytes, id, std::move(pin));
    if (snapshot) return snapshot;
    last = snapshot.error();
    if (last->code == ErrorCode::kNotFound) return *last;
  }
  return Error{last->code, "the store at " + environment->claim.name() + " is damaged: " + last->message};
}

// ---- The store ----

class LmdbKv final : public KeyValue {
 public:
  LmdbKv(std::shared_ptr<Environment> environment, fs::path directory, const LmdbOptions& options,
         std::uint64_t file_bytes)
      : environment_(std::move(environment)),
        directory_(std::move(directory)),
        options_(options),
        page_bytes_(environment_->page_bytes()),
        file_bytes_(file_bytes) {
    options_.reserve_bytes = std::min(options_.reserve_bytes, options_.size_max_bytes / 8);
  }

  Status commit(const std::vector<Write>& writes) override;

  Result<std::unique_ptr<Snapshot>> snapshot() const override {
    if (poisoned_ || environment_->abandoned) return refusal();
    return snapshot_of(environment_);
  }

  Usage usage() const override {
    Usage usage;
    usage.size_max_bytes = options_.size_max_bytes;
    if (environment_->abandoned) return usage;
    if (options_.read_only) usage.size_max_bytes = environment_->info().me_mapsize;
    const Result<Transaction> transaction = Transaction::begin(*environment_, MDB_RDONLY);
    if (!transaction) return usage;
    const Usage counted = usage_of(*environment_->bytes, transaction->id());
    usage.used_bytes = counted.used_bytes;
    usage.entries_bytes = counted.entries_bytes;
    usage.entries = counted.entries;
    return usage;
  }

  void maintain() override {
    if (environment_->abandoned) return;
    int freed = 0;
    mdb_reader_check(environment_->handle, &freed);
  }

 private:
  enum class Attempt { kDone, kRoomWasMade, kHeld };
  Result<Attempt> commit_checked(const std::vector<Write>& writes);
  Result<Attempt> attempt_to_write(Transaction transaction, const std::vector<Write>& writes);
  Status map_whole_file();
  Status make_room(const std::vector<Write>& writes, std::uint64_t pages_used);
  Status grow(std::uint64_t bytes_wanted);
  int put(MDB_txn* transaction, const Write& write) const;
  Result<Attempt> after_failure(int code, const std::string& what);
  [[nodiscard]] bool map_follows() const { return options_.map_follows_file || map_needs_file(); }
  [[nodiscard]] Error refusal() const {
    if (environment_->map_lost) {
      return Error{ErrorCode::kUnavailable, "the store at " + directory_.string() + " lost its memory map: restart"};
    }
    if (environment_->abandoned) return damaged("LMDB met something impossible in it");
    return Error{ErrorCode::kUnavailable, "the store at " + directory_.string() + " had an I/O error: reopen it"};
  }

  [[nodiscard]] Error damaged(const std::string& what) const {
    return Error{ErrorCode::kCorrupt, (directory_ / "data.mdb").string() + " is damaged: " + what};
  }

  std::shared_ptr<Environment> environment_;
  fs::path directory_;
  LmdbOptions options_;
  std::uint64_t page_bytes_;
  std::uint64_t file_bytes_;  // Size of the data file that is known to be durable.
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
  const std::uint64_t reserve = puts_entries ? options_.reserve_bytes / page_bytes_ : 0;
  const std::uint64_t wanted = lmdb_pages::pages_needed(writes, pages_used, page_bytes_) + reserve;
  const std::uint64_t touched = environment_->pages_touched();
  if (touched + wanted <= file_bytes_ / page_bytes_) return Done{};
  Status grown = grow((touched + wanted) * page_bytes_);
  if (grown) return Done{};
  if (grown.error().code != ErrorCode::kFull) {
    poisoned_ = true;
    return grown;
  }
  // The file cannot grow; pages that earlier commits gave back may do. For entries they have to suffice with certainty,
  // so that the reserve stays. What frees room or keeps the books is left to LMDB to try.
  if (!puts_entries || pages_used + wanted <= file_bytes_ / page_bytes_) return Done{};
  return grown;
}

Status LmdbKv::grow(std::uint64_t bytes_wanted) {
  const std::uint64_t chunk = std::max(options_.growth_bytes, page_bytes_);
  std::uint64_t target = (bytes_wanted + chunk - 1) / chunk * chunk;
  target = std::min(target, options_.size_max_bytes / page_bytes_ * page_bytes_);
  if (target > file_bytes_) {
    const Result<std::uint64_t> free = free_bytes(directory_);
    if (free && *free < target - file_bytes_) {
      return Error{ErrorCode::kFull, "the file system of " + directory_.string() + " has " + std::to_string(*free) +
                                         " bytes left and the store needs " + std::to_string(target - file_bytes_)};
    }
    mdb_filehandle_t file{};
    mdb_env_get_fd(environment_->handle, &file);
    if (Status extended = extend_with_zeros((std::intptr_t)file, file_bytes_, target); !extended) return extended;
    file_bytes_ = target;
  }
  if (bytes_wanted > file_bytes_) {
    return Error{ErrorCode::kFull, "the store at " + directory_.string() + " has reached its size_max of " +
                                       std::to_string(options_.size_max_bytes) + " bytes"};
  }
  return Done{};
}

int LmdbKv::put(MDB_txn* transaction, const Write& write) const {
  const MDB_dbi table = environment_->tables[static_cast<std::size_t>(write.table)];
  MDB_val key{write.key.size(), const_cast<char*>(write.key.data())};
  if (!write.value) {
    const int code = mdb_del(transaction, table, &key, nullptr);
    return code == MDB_NOTFOUND ? MDB_SUCCESS : code;
  }
  MDB_val value{write.value->size(), const_cast<char*>(write.value->data())};
  if (write.table == Table::kEntries) {
    // Ascending keys fill pages to the brim instead of splitting them in halves.
    const int code = mdb_put(transaction, table, &key, &value, MDB_APPEND);
    if (code != MDB_KEYEXIST) return code;
    value = {write.value->size(), const_cast<char*>(write.value->data())};
  }
  return mdb_put(transaction, table, &key, &value, 0);
}

Status LmdbKv::map_whole_file() {
  if (!map_follows() || environment_->info().me_mapsize >= file_bytes_) return Done{};
  const int code = environment_->remap(file_bytes_);
  if (code == MDB_SUCCESS) return Done{};
  environment_->map_lost = environment_->abandoned = true;  // LMDB has let go of the old one.
  return failed("cannot map the store at " + directory_.string(), code);
}

// The transaction is over.
Result<LmdbKv::Attempt> LmdbKv::after_failure(int code, const std::string& what) {
  // An error before the meta page is written changes nothing, and LMDB goes on; else it refuses to.
  const bool nothing_happened = Transaction::begin(*environment_, 0).ok();
  if (nothing_happened && held_by_other(code)) return Attempt::kHeld;
  if (nothing_happened && code == MDB_MAP_FULL && map_follows()) {
    // The estimate was too low, and the map ends with the file: twice as much is plenty.
    if (Status grown = grow(file_bytes_ + 2 * options_.growth_bytes); !grown) return grown.error();
    return Attempt::kRoomWasMade;
  }
  if (nothing_happened && is_full(code)) return failed("the store is full", code);
  poisoned_ = true;
  return Error{ErrorCode::kUnavailable, what + " failed, its outcome is unknown: " + words(code)};
}

Status LmdbKv::commit(const std::vector<Write>& writes) {
  if (poisoned_ || environment_->abandoned) return refusal();
  if (options_.read_only) return Error{ErrorCode::kPermissionDenied, directory_.string() + " is open for reading only"};
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
        if (Status mapped = map_whole_file(); !mapped) return mapped;
        continue;
      }
      if (std::chrono::steady_clock::now() - begun >= kHeldMax) break;
      std::this_thread::sleep_for(kHeldPause);
    }
  } catch (const BrokenPromise& broken) {
    return damaged("LMDB gave up (" + broken.what + ")");
  }
  poisoned_ = true;
  return Error{ErrorCode::kUnavailable, "another program has " + (directory_ / "data.mdb").string() +
                                            " locked: exclude the state directory from scans and file copies"};
}

// kRoomWasMade: the file has grown; once the map has followed, it is to be tried again. kHeld: it may be tried again.
Result<LmdbKv::Attempt> LmdbKv::commit_checked(const std::vector<Write>& writes) {
  Result<Transaction> transaction = Transaction::begin(*environment_, 0);
  if (!transaction) {
    poisoned_ = transaction.error().code == ErrorCode::kUnavailable;
    return transaction.error();
  }
  // LMDB follows whatever the pages say that it changes: they are looked at before.
  const Result<std::uint64_t> pages =
      lmdb_pages::check_writes(*environment_->bytes, transaction->id() - 1, writes, kTableNames);
  if (!pages) return damaged(pages.error().message);
  if (Status room = make_room(writes, *pages); !room) return room.error();
  if (map_follows() && environment_->info().me_mapsize < file_bytes_) return Attempt::kRoomWasMade;
  return attempt_to_write(std::move(*transaction), writes);
}

Result<LmdbKv::Attempt> LmdbKv::attempt_to_write(Transaction transaction, const std::vector<Write>& writes) {
  for (const Write& write : writes) {
    if (const int code = put(transaction.get(), write); code != MDB_SUCCESS) {
      transaction.abort();
      if (is_full(code) || held_by_other(code)) return after_failure(code, "a write to " + directory_.string());
      return failed("cannot write to the store at " + directory_.string(), code);
    }
  }
  if (const int code = transaction.commit(); code != MDB_SUCCESS) {
    return after_failure(code, "commit to " + directory_.string());
  }
  // The estimate was too low, or the file could not grow as far and LMDB found room nevertheless: late, but better than
  // never.
  if (const std::uint64_t end = environment_->pages_touched() * page_bytes_; end > file_bytes_) {
    if (Status synced = sync_file(directory_ / "data.mdb"); !synced) {
      poisoned_ = true;
      return Error{ErrorCode::kUnavailable, synced.error().message};
    }
    file_bytes_ = end;
  }
  return Attempt::kDone;
}

// ---- Opening ----

Status make_directory(const fs::path& directory) {
  std::error_code error;
  if (fs::exists(directory, error)) return Done{};
  if (Status made = make_state_directory(fs::absolute(directory).lexically_normal().parent_path()); !made) return made;
  if (Status made = make_state_directory(directory); !made) return made;
  fs::permissions(directory, fs::perms::owner_all, error);
  if (!error) return Done{};
  if (is_denied(error.value())) return denied(directory, error.value());
  return failed("cannot create " + directory.string(), error.value());
}

Error open_failed(const fs::path& directory, int code) {
  const fs::path file = directory / "data.mdb";
  if (is_denied(code)) return denied(directory, code);
  if (code_of(code) == ErrorCode::kCorrupt) {
    return Error{ErrorCode::kCorrupt, file.string() + " is not a store of this program, or it is damaged: " +
                                          words(code) + ". Set it aside and restore a backup"};
  }
  return failed("cannot open " + file.string(), code);
}

// How much of the file is mapped at first.
std::size_t map_bytes(const fs::path& file, const LmdbOptions& options) {
  if (!options.map_follows_file && !map_needs_file()) return static_cast<std::size_t>(options.size_max_bytes);
  std::error_code none;
  const std::uint64_t size = fs::file_size(file, none);
  return static_cast<std::size_t>(std::max(none ? 0 : size, std::min(options.growth_bytes, options.size_max_bytes)));
}

int open_once(MDB_env*& handle, const fs::path& path, const LmdbOptions& options, unsigned flags) {
  int code = mdb_env_create(&handle);
  if (code == MDB_SUCCESS) code = mdb_env_set_maxdbs(handle, static_cast<MDB_dbi>(kTableCount));
  if (code == MDB_SUCCESS && !options.read_only) {
    const bool is_file = (flags & MDB_NOSUBDIR) != 0;
    code = mdb_env_set_mapsize(handle, map_bytes(is_file ? path : path / "data.mdb", options));
  }
  const std::u8string text = path.u8string();  // LMDB takes UTF-8 on every platform.
  if (code == MDB_SUCCESS) code = mdb_env_open(handle, reinterpret_cast<const char*>(text.c_str()), flags, 0600);
  if (code != MDB_SUCCESS && handle != nullptr) mdb_env_close(std::exchange(handle, nullptr));
  return code;
}

// `handle` is null afterwards unless the answer is MDB_SUCCESS.
int open_handle(MDB_env*& handle, const fs::path& path, const LmdbOptions& options, unsigned flags) {
  const auto begun = std::chrono::steady_clock::now();
  for (;;) {
    const int code = open_once(handle, path, options, flags);
    if (!held_by_other(code) || std::chrono::steady_clock::now() - begun >= kHeldMax) return code;
    std::this_thread::sleep_for(kHeldPause);
  }
}

// Makes the data file of a new store, if there is none: whole, durable, and only then under its name.
//
// LMDB itself writes the first pages of a new file in place and syncs neither them nor the name. A crash or an error
// there leaves a file that is no store, and nobody can tell it from a damaged one.
Status create_file(const fs::path& directory, const LmdbOptions& options) {
  const fs::path file = directory / "data.mdb";
  const fs::path unfinished = directory / "data.mdb.new";
  std::error_code error;
  fs::remove(unfinished, error);
  if (fs::exists(file, error) || error) return Done{};  // If it cannot be seen, opening it tells why.
  MDB_env* handle = nullptr;
  int code = open_handle(handle, unfinished, options, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOTLS);
  if (code != MDB_SUCCESS)
    return is_denied(code) ? denied(directory, code) : failed("cannot create " + file.string(), code);
  MDB_stat stat{};
  mdb_env_stat(handle, &stat);
  mdb_filehandle_t descriptor{};
  mdb_env_get_fd(handle, &descriptor);
  const std::uint64_t begun = 2ull * stat.ms_psize;  // LMDB's two meta pages.
  const std::uint64_t wanted = std::max(begun, std::min(options.growth_bytes, options.size_max_bytes));
  Status durable = extend_with_zeros((std::intptr_t)descriptor, begun, wanted);
  mdb_env_close(handle);
  if (!durable) return durable;
  // A second name, so that a store that somebody else made meanwhile is not replaced.
  fs::create_hard_link(unfinished, file, error);
  if (!error) fs::remove(unfinished, error);
  if (error && !fs::exists(file)) {  // No links on this file system.
    error.clear();
    fs::rename(unfinished, file, error);
  }
  if (error) return failed("cannot create " + file.string(), error.value());
  return Done{};
}

// Opens LMDB's files, without locks where that is safe and the only way.
Status open_files(Environment& environment, const fs::path& directory, const LmdbOptions& options) {
  // MDB_NOTLS: a snapshot belongs to its object, not to the thread that took it.
  const unsigned flags = MDB_NOTLS | (options.read_only ? MDB_RDONLY : 0u);
  int code = open_handle(environment.handle, directory, options, flags);
  std::error_code ignored;
  if (options.read_only && is_denied(code) && !fs::exists(directory / "lock.mdb", ignored) && !ignored) {
    // Every store that was ever written in place has a lock file: this is a copy on a medium that we cannot write.
    code = open_handle(environment.handle, directory, options, flags | MDB_NOLOCK);
  }
  if (code != MDB_SUCCESS) return open_failed(directory, code);
  mdb_env_set_userctx(environment.handle, &environment);
  mdb_env_set_assert(environment.handle, on_assertion);
  const std::uint64_t size = fs::file_size(directory / "data.mdb", ignored);
  const std::uint64_t needed = environment.pages_touched() * environment.page_bytes();
  if (!ignored && size < needed && size > 0) {
    return Error{ErrorCode::kCorrupt, (directory / "data.mdb").string() + " is cut short: it has " +
                                          std::to_string(size) + " bytes and refers to " + std::to_string(needed) +
                                          ". Set it aside and restore a backup"};
  }
  return Done{};
}

// MDB_NOTFOUND: a table is missing and was not to be created.
int open_tables(Environment& environment, unsigned transaction_flags, unsigned table_flags) {
  Result<Transaction> transaction = Transaction::begin(environment, transaction_flags);
  if (!transaction) return MDB_PANIC;
  for (std::size_t i = 0; i < kTableCount; ++i) {
    const int code = mdb_dbi_open(transaction->get(), kTableNames[i], table_flags, &environment.tables[i]);
    if (code != MDB_SUCCESS) return code;
  }
  return transaction->commit();
}

// What reads only needs no handles of LMDB's.
Status find_tables(const std::shared_ptr<Environment>& environment, const fs::path& file) {
  const Result<std::unique_ptr<Snapshot>> snapshot = snapshot_of(environment);
  if (snapshot) return Done{};
  if (snapshot.error().code != ErrorCode::kNotFound) return snapshot.error();
  return Error{ErrorCode::kNotFound, "there is no journal in " + file.string() + " (yet)"};
}

// Makes files, names and a first stretch of zeros durable before anything is committed.
Status make_durable(const Environment& environment, const fs::path& directory, const LmdbOptions& options,
                    std::uint64_t& file_bytes) {
  mdb_filehandle_t file{};
  mdb_env_get_fd(environment.handle, &file);
  std::uint64_t wanted = file_bytes;
  if (wanted < options.growth_bytes) wanted = std::min(options.growth_bytes, options.size_max_bytes);
  wanted = std::max(wanted, file_bytes);
  if (Status extended = extend_with_zeros((std::intptr_t)file, file_bytes, wanted); !extended) return extended;
  file_bytes = wanted;
  if (Status synced = sync_directory(directory); !synced) return synced;
  const fs::path parent = fs::absolute(directory).lexically_normal().parent_path();
  return sync_directory(parent);
}

Result<std::shared_ptr<Environment>> open_environment(const fs::path& directory, const LmdbOptions& options) {
  std::optional<DirectoryClaim> claim = DirectoryClaim::take(directory);
  if (!claim) {
    return Error{ErrorCode::kLocked, directory.string() + " is already open in this process: share that handle"};
  }
  auto environment = std::make_shared<Environment>(std::move(*claim));
  const fs::path file = directory / "data.mdb";
  Result<std::shared_ptr<const lmdb_pages::ByteSource>> bytes = lmdb_pages::open_bytes(file);
  if (bytes) {  // If it cannot be opened, LMDB is asked why.
    environment->bytes = std::move(*bytes);
    if (Status holds = lmdb_pages::check_before_use(*environment->bytes, !options.read_only); !holds) {
      return Error{ErrorCode::kCorrupt, file.string() + " is not a store of this program, or it is damaged: " +
                                            holds.error().message + ". Set it aside and restore a backup"};
    }
  }
  if (Status opened = open_files(*environment, directory, options); !opened) return opened.error();
  if (!environment->bytes) {
    bytes = lmdb_pages::open_bytes(file);
    if (!bytes) return bytes.error();
    environment->bytes = std::move(*bytes);
  }
  return environment;
}

Result<std::unique_ptr<KeyValue>> open_store(const fs::path& directory, const LmdbOptions& options) {
  const fs::path file = directory / "data.mdb";
  std::error_code error;
  if (options.read_only) {
    const bool there = fs::exists(file, error);
    if (error && is_denied(error.value())) return denied(directory, error.value());
    if (!there) return Error{ErrorCode::kNotFound, "there is no store at " + directory.string()};
  } else {
    if (Status made = make_directory(directory); !made) return made.error();
    if (Status made = create_file(directory, options); !made) return made.error();
  }
  Result<std::shared_ptr<Environment>> environment = open_environment(directory, options);
  if (!environment) return environment.error();
  std::uint64_t file_bytes = fs::file_size(file, error);
  if (error) return failed("cannot read the size of " + file.string(), error.value());
  if (!options.read_only) {
    if (Status durable = make_durable(**environment, directory, options, file_bytes); !durable) return durable.error();
  }
  if (options.read_only) {
    if (Status there = find_tables(*environment, file); !there) return there.error();
  } else {
    int code = open_tables(**environment, MDB_RDONLY, 0);
    if (code == MDB_NOTFOUND) code = open_tables(**environment, 0, MDB_CREATE);
    if (code != MDB_SUCCESS) return open_failed(directory, code);
  }
  return std::unique_ptr<KeyValue>(std::make_unique<LmdbKv>(std::move(*environment), directory, options, file_bytes));
}

}  // namespace

Result<std::unique_ptr<KeyValue>> open_lmdb(const fs::path& directory, const LmdbOptions& options) {
  try {
    return open_store(directory, options);
  } catch (const BrokenPromise& broken) {
    return Error{ErrorCode::kCorrupt,
                 (directory / "data.mdb").string() + " is damaged: LMDB gave up (" + broken.what + ")"};
  }
}

}  // namespace nodemeter
