#include "store/lmdb_environment.h"

#include <lmdb.h>

#include <algorithm>
#include <mutex>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

#include "platform/data_file.h"
#include "platform/files.h"
#include "store/lmdb_check.h"
#include "store/page_snapshot.h"

namespace nodemeter::lmdb {

static_assert(std::is_same_v<MDB_dbi, unsigned>);
static_assert(MDB_SUCCESS == 0);

namespace {

namespace fs = std::filesystem;

bool is(int code, std::errc what) {
  return code == static_cast<int>(what) || std::error_code(code, std::system_category()) == what;
}

ErrorCode code_of(Code code) {
  if (code.is_full()) return ErrorCode::kFull;
  if (code.is_denied()) return ErrorCode::kPermissionDenied;
  switch (code.value) {
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE: return ErrorCode::kCorrupt;
    case MDB_BAD_VALSIZE: return ErrorCode::kInvalidInput;
    default: return ErrorCode::kUnavailable;
  }
}

Error not_a_store(const fs::path& file, const std::string& why) {
  return Error{ErrorCode::kCorrupt, file.string() + " is not a store of this program, or it is damaged: " + why +
                                        ". Set it aside and restore a backup"};
}

Error open_failed(const fs::path& directory, Code code) {
  const fs::path file = directory / "data.mdb";
  if (code.is_denied()) return denied_to_account(directory, code.words());
  return code_of(code) == ErrorCode::kCorrupt ? not_a_store(file, code.words())
                                              : code.error("cannot open " + file.string());
}

// Never closed, since closing would follow what LMDB lost track of; but not forgotten either.
std::vector<MDB_env*>& abandoned_handles() {
  static auto* const handles = new std::vector<MDB_env*>;  // Outlives every other object.
  return *handles;
}

std::intptr_t file_of(MDB_env* handle) {
  mdb_filehandle_t file{};
  mdb_env_get_fd(handle, &file);
  return (std::intptr_t)file;
}

// The meta page that a commit is about to write over, as it was.
//
// Where LMDB fails to write a meta page, it writes one that is neither the new nor the old: the new trees under the old
// number. LMDB itself never uses it, but to whoever checks the file it is a number that changed by itself: damage. So
// the old one goes back. Into the page cache only: the next opening syncs the file before anything else.
class OldMeta {
 public:
  OldMeta(const Environment& environment, std::uint64_t transaction)
      : bytes_(environment.bytes().get()), offset_(transaction % 2 * environment.page_bytes()) {
    held_ = bytes_ != nullptr && bytes_->read(offset_, sector_).ok();
  }
  void put_back(MDB_env* handle) const {
    std::array<char, kSector> now{};
    if (!held_ || (bytes_->read(offset_, now).ok() && now == sector_)) return;
    (void)overwrite(file_of(handle), offset_, sector_);  // If that fails as well, the file says so when opened.
  }

 private:
  static constexpr std::size_t kSector = 512;  // What a disk writes whole; all of a meta page that is ever used.
  const lmdb_pages::ByteSource* bytes_;
  std::uint64_t offset_;
  std::array<char, kSector> sector_{};
  bool held_ = false;
};

}  // namespace

// ---- Codes ----

bool Code::is_full() const { return is_map_full() || is(value, std::errc::no_space_on_device); }

bool Code::is_map_full() const { return value == MDB_MAP_FULL; }

bool Code::is_denied() const {
  return is(value, std::errc::permission_denied) || is(value, std::errc::operation_not_permitted) ||
         is(value, std::errc::read_only_file_system);
}

bool Code::is_held() const { return held_by_other(value); }

// mdb_strerror() knows only LMDB's own codes on Windows, and prints garbage or nothing for the rest.
std::string Code::words() const {
  if (value >= MDB_KEYEXIST && value <= MDB_LAST_ERRCODE) return mdb_strerror(value);
  return std::system_category().message(value) + " (" + std::to_string(value) + ")";
}

Error Code::error(const std::string& what) const { return Error{code_of(*this), what + ": " + words()}; }

// ---- Transactions ----

Result<Transaction> Transaction::begin(const Environment& environment, Access access) {
  const unsigned flags = access == Access::kRead ? MDB_RDONLY : 0u;
  MDB_txn* handle = nullptr;
  Code code = environment.begin(flags, &handle);
  if (code.value == MDB_READERS_FULL) {
    environment.check_readers();
    code = environment.begin(flags, &handle);
  } else if (code.value == MDB_MAP_RESIZED) {
    // The writer's map is larger now: take it over.
    if (!environment.remap(0).ok()) return code.error("cannot follow the store's growth");
    code = environment.begin(flags, &handle);
  }
  if (!code.ok()) return code.error("cannot begin a transaction");
  return Transaction(environment, handle);
}

std::uint64_t Transaction::id() const { return mdb_txn_id(handle_); }

Code Transaction::write(const Write& write) {
  const MDB_dbi table = environment_->tables_[static_cast<std::size_t>(write.table)];
  MDB_val key{write.key.size(), const_cast<char*>(write.key.data())};
  if (!write.value) {
    const int code = mdb_del(handle_, table, &key, nullptr);
    return {code == MDB_NOTFOUND ? MDB_SUCCESS : code};
  }
  MDB_val value{write.value->size(), const_cast<char*>(write.value->data())};
  if (write.table == Table::kEntries) {
    // Ascending keys fill pages to the brim instead of splitting them in halves.
    const int code = mdb_put(handle_, table, &key, &value, MDB_APPEND);
    if (code != MDB_KEYEXIST) return {code};
    value = {write.value->size(), const_cast<char*>(write.value->data())};
  }
  return {mdb_put(handle_, table, &key, &value, 0)};
}

Code Transaction::commit() {
  const OldMeta old(*environment_, id());
  const Code code{mdb_txn_commit(std::exchange(handle_, nullptr))};
  if (!code.ok()) old.put_back(environment_->handle_);
  return code;
}

void Transaction::abort() {
  if (handle_ != nullptr && !environment_->abandoned()) mdb_txn_abort(handle_);
  handle_ = nullptr;
}

// ---- The environment in use ----

Environment::Environment(DirectoryClaim claim, fs::path directory)
    : claim_(std::move(claim)), directory_(std::move(directory)) {}

Environment::~Environment() {
  if (handle_ == nullptr) return;
  if (abandoned_) {
    abandoned_handles().push_back(handle_);
  } else {
    mdb_env_close(handle_);
  }
}

void Environment::on_assertion(MDB_env* handle, const char* what) {
  static_cast<Environment*>(mdb_env_get_userctx(handle))->abandoned_ = true;
  throw BrokenPromise{what};
}

fs::path Environment::data_file() const { return directory_ / "data.mdb"; }

std::uint64_t Environment::pages_touched() const {
  const std::shared_lock lock(map_mutex_);
  MDB_envinfo info{};
  mdb_env_info(handle_, &info);
  return info.me_last_pgno + 1;
}

std::uint64_t Environment::map_bytes() const {
  const std::shared_lock lock(map_mutex_);
  MDB_envinfo info{};
  mdb_env_info(handle_, &info);
  return info.me_mapsize;
}

// Nobody but the one that writes moves the map of a store that is written here: it need not wait for itself, and would
// hold LMDB's lock of writers while it asks about the map.
Code Environment::begin(unsigned flags, MDB_txn** transaction) const {
  std::shared_lock lock(map_mutex_, std::defer_lock);
  if ((flags & MDB_RDONLY) != 0) lock.lock();
  return {mdb_txn_begin(handle_, nullptr, flags, transaction)};
}

// Only while this process writes nothing.
Code Environment::remap(std::uint64_t bytes) const {
  const std::unique_lock lock(map_mutex_);
  return {mdb_env_set_mapsize(handle_, static_cast<std::size_t>(bytes))};
}

Status Environment::extend(std::uint64_t bytes) {
  if (Status extended = extend_with_zeros(file_of(handle_), durable_bytes_, bytes); !extended) return extended;
  durable_bytes_ = bytes;
  return Done{};
}

Status Environment::sync_growth() {
  const std::uint64_t end = pages_touched() * page_bytes_;
  if (end <= durable_bytes_) return Done{};
  if (Status synced = sync_file(data_file()); !synced) return synced;
  durable_bytes_ = end;
  return Done{};
}

Status Environment::map_durable_bytes() {
  if (map_bytes() >= durable_bytes_) return Done{};
  const Code code = remap(durable_bytes_);
  if (code.ok()) return Done{};
  map_lost_ = abandoned_ = true;  // LMDB has let go of the old one.
  return code.error("cannot map the store at " + directory_.string());
}

void Environment::check_readers() const {
  int freed = 0;
  mdb_reader_check(handle_, &freed);
}

// ---- Opening ----

namespace {

Status make_directory(const fs::path& directory) {
  std::error_code error;
  if (fs::exists(directory, error)) return Done{};
  if (Status made = make_state_directory(fs::absolute(directory).lexically_normal().parent_path()); !made) return made;
  if (Status made = make_state_directory(directory); !made) return made;
  fs::permissions(directory, fs::perms::owner_all, error);
  if (!error) return Done{};
  const Code code{error.value()};
  return code.is_denied() ? denied_to_account(directory, code.words())
                          : code.error("cannot create " + directory.string());
}

// How much of the file is mapped at first.
std::size_t first_map_bytes(const fs::path& file, const LmdbOptions& options) {
  if (!options.map_follows_file && !map_needs_file()) return static_cast<std::size_t>(options.size_max_bytes);
  std::error_code none;
  const std::uint64_t size = fs::file_size(file, none);
  return static_cast<std::size_t>(std::max(none ? 0 : size, std::min(options.growth_bytes, options.size_max_bytes)));
}

Code open_once(MDB_env*& handle, const fs::path& path, const LmdbOptions& options, unsigned flags) {
  int code = mdb_env_create(&handle);
  if (code == MDB_SUCCESS) code = mdb_env_set_maxdbs(handle, static_cast<MDB_dbi>(kTableCount));
  if (code == MDB_SUCCESS && !options.read_only) {
    const bool is_file = (flags & MDB_NOSUBDIR) != 0;
    code = mdb_env_set_mapsize(handle, first_map_bytes(is_file ? path : path / "data.mdb", options));
  }
  const std::u8string text = path.u8string();  // LMDB takes UTF-8 on every platform.
  if (code == MDB_SUCCESS) code = mdb_env_open(handle, reinterpret_cast<const char*>(text.c_str()), flags, 0600);
  if (code != MDB_SUCCESS && handle != nullptr) mdb_env_close(std::exchange(handle, nullptr));
  return {code};
}

// `handle` is null afterwards unless the answer is ok.
Code open_handle(MDB_env*& handle, const fs::path& path, const LmdbOptions& options, unsigned flags) {
  const auto begun = std::chrono::steady_clock::now();
  for (;;) {
    const Code code = open_once(handle, path, options, flags);
    if (!code.is_held() || std::chrono::steady_clock::now() - begun >= kHeldMax) return code;
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
  const Code code = open_handle(handle, unfinished, options, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOTLS);
  if (!code.ok())
    return code.is_denied() ? denied_to_account(directory, code.words()) : code.error("cannot create " + file.string());
  MDB_stat stat{};
  mdb_env_stat(handle, &stat);
  const std::uint64_t begun = lmdb_pages::kMetaPages * stat.ms_psize;
  const std::uint64_t wanted = std::max(begun, std::min(options.growth_bytes, options.size_max_bytes));
  Status durable = extend_with_zeros(file_of(handle), begun, wanted);
  mdb_env_close(handle);
  if (!durable) return durable;
  // A second name, so that a store that somebody else made meanwhile is not replaced.
  fs::create_hard_link(unfinished, file, error);
  if (!error) fs::remove(unfinished, error);
  if (error && !fs::exists(file)) {  // No links on this file system.
    error.clear();
    fs::rename(unfinished, file, error);
  }
  if (error) return Code{error.value()}.error("cannot create " + file.string());
  return Done{};
}

}  // namespace

// Opens LMDB's files, without locks where that is safe and the only way.
Status Environment::open_files(const LmdbOptions& options) {
  // MDB_NOTLS: a snapshot belongs to its object, not to the thread that took it.
  const unsigned flags = MDB_NOTLS | (options.read_only ? MDB_RDONLY : 0u);
  Code code = open_handle(handle_, directory_, options, flags);
  std::error_code ignored;
  if (options.read_only && code.is_denied() && !fs::exists(directory_ / "lock.mdb", ignored) && !ignored) {
    // Every store that was ever written in place has a lock file: this is a copy on a medium that we cannot write.
    code = open_handle(handle_, directory_, options, flags | MDB_NOLOCK);
  }
  if (!code.ok()) return open_failed(directory_, code);
  mdb_env_set_userctx(handle_, this);
  mdb_env_set_assert(handle_, on_assertion);
  MDB_stat stat{};
  mdb_env_stat(handle_, &stat);
  page_bytes_ = stat.ms_psize;
  const std::uint64_t size = fs::file_size(data_file(), ignored);
  const std::uint64_t needed = pages_touched() * page_bytes_;
  if (!ignored && size < needed && size > 0) {
    return Error{ErrorCode::kCorrupt, data_file().string() + " is cut short: it has " + std::to_string(size) +
                                          " bytes and refers to " + std::to_string(needed) +
                                          ". Set it aside and restore a backup"};
  }
  return Done{};
}

// MDB_NOTFOUND: a table is missing and was not to be created.
Code Environment::open_tables(bool create) {
  using enum Transaction::Access;
  Result<Transaction> transaction = Transaction::begin(*this, create ? kWrite : kRead);
  if (!transaction) return {MDB_PANIC};
  for (std::size_t i = 0; i < kTableCount; ++i) {
    const Code code{mdb_dbi_open(transaction->handle_, kTableNames[i], create ? MDB_CREATE : 0u, &tables_[i])};
    if (!code.ok()) return code;
  }
  return transaction->commit();
}

Status Environment::open_tables() {
  Code code = open_tables(false);
  if (code.value == MDB_NOTFOUND) code = open_tables(true);
  if (!code.ok()) return open_failed(directory_, code);
  return Done{};
}

// Makes files, names and a first stretch of zeros durable before anything is committed.
Status Environment::make_durable(const LmdbOptions& options) {
  const std::uint64_t first = std::min(options.growth_bytes, options.size_max_bytes);
  if (Status extended = extend(std::max(durable_bytes_, first)); !extended) return extended;
  if (Status synced = sync_directory(directory_); !synced) return synced;
  return sync_directory(fs::absolute(directory_).lexically_normal().parent_path());
}

Status Environment::open_checked(const LmdbOptions& options) {
  const fs::path file = data_file();
  Result<std::shared_ptr<const lmdb_pages::ByteSource>> bytes = lmdb_pages::open_bytes(file);
  if (bytes) {  // If it cannot be opened, LMDB is asked why.
    bytes_ = std::move(*bytes);
    Status holds = lmdb_pages::check_before_use(*bytes_, !options.read_only);
    if (!holds) return not_a_store(file, holds.error().message);
  }
  if (Status opened = open_files(options); !opened) return opened;
  if (!bytes_) {
    bytes = lmdb_pages::open_bytes(file);
    if (!bytes) return bytes.error();
    bytes_ = std::move(*bytes);
  }
  std::error_code error;
  durable_bytes_ = fs::file_size(file, error);
  if (error) return Code{error.value()}.error("cannot read the size of " + file.string());
  if (options.read_only) return Done{};
  if (Status durable = make_durable(options); !durable) return durable;
  return open_tables();
}

Result<std::shared_ptr<Environment>> Environment::open(const fs::path& directory, const LmdbOptions& options) {
  if (options.read_only) {
    std::error_code error;
    const bool there = fs::exists(directory / "data.mdb", error);
    if (error && Code{error.value()}.is_denied()) return denied_to_account(directory, Code{error.value()}.words());
    if (!there) return Error{ErrorCode::kNotFound, "there is no store at " + directory.string()};
  } else {
    if (Status made = make_directory(directory); !made) return made.error();
    if (Status made = create_file(directory, options); !made) return made.error();
  }
  std::optional<DirectoryClaim> claim = DirectoryClaim::take(directory);
  if (!claim) {
    return Error{ErrorCode::kLocked, directory.string() + " is already open in this process: share that handle"};
  }
  const std::shared_ptr<Environment> environment(new Environment(std::move(*claim), directory));
  if (Status opened = environment->open_checked(options); !opened) return opened.error();
  return environment;
}

}  // namespace nodemeter::lmdb
