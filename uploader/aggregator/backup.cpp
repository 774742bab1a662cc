#include "uploader/aggregator/backup.h"

#include <system_error>
#include <utility>
#include <vector>

#include "platform/files.h"
#include "store/lmdb_kv.h"
#include "uploader/aggregator/aggregator_store.h"
#include "uploader/aggregator/serve.h"

namespace nodemeter {
namespace {

namespace fs = std::filesystem;

// Of one snapshot, and of one commit.
constexpr std::size_t kChunkBytes = 4u << 20;

struct Moment {
  std::vector<Write> marks;
  UtcTime arrival{};  // Of the newest row.
};

Result<Moment> take_moment(const KeyValue& from) {
  const auto snapshot = from.snapshot();
  if (!snapshot) return snapshot.error();
  Moment moment;
  const auto arrival = newest_arrival_of(**snapshot);
  if (!arrival) return arrival.error();
  moment.arrival = *arrival;
  for (const Table table : {Table::kMeta, Table::kState}) {
    Status scanned = (*snapshot)->scan(table, {}, [&](std::string_view key, std::string_view value) {
      moment.marks.push_back(Write{.table = table, .key = std::string(key), .value = std::string(value)});
      return true;
    });
    if (!scanned) return scanned.error();
  }
  return moment;
}

// The rows that arrived no later than `arrival`, chunk by chunk.
Status copy_rows(const KeyValue& from, KeyValue& to, UtcTime arrival) {
  std::string next;
  for (bool more = true; more;) {
    std::vector<Write> rows;
    {
      const auto snapshot = from.snapshot();
      if (!snapshot) return snapshot.error();
      std::size_t bytes = 0;
      more = false;
      Status scanned = (*snapshot)->scan(Table::kEntries, next, [&](std::string_view key, std::string_view value) {
        const auto row = parse_row(key, value);
        if (!row || row->arrived <= arrival) {
          rows.push_back(Write{.table = Table::kEntries, .key = std::string(key), .value = std::string(value)});
        }
        bytes += key.size() + value.size();
        more = bytes >= kChunkBytes;
        if (more) next = std::string(key) + '\0';
        return !more;
      });
      if (!scanned) return scanned;
    }
    if (rows.empty()) continue;
    if (Status committed = to.commit(rows); !committed) return committed;
  }
  return Done{};
}

Status failed(const fs::path& path, const std::error_code& error) {
  return Error{ErrorCode::kUnavailable, "cannot write " + path.string() + ": " + error.message()};
}

}  // namespace

Status backup_aggregator(const fs::path& from, const fs::path& to) {
  const fs::path rows = rows_directory(to);
  std::error_code error;
  if (fs::exists(rows, error)) {
    return Error{ErrorCode::kInvalidInput, rows.string() + " exists already: a backup goes into a new directory"};
  }
  const auto source = open_lmdb(rows_directory(from), LmdbOptions{.size_max_bytes = kStoreSizeMax, .read_only = true});
  if (!source) return source.error();
  if (Status made = make_state_directory(to); !made) return made;
  // Under another name until it is whole. What an earlier attempt left there is worth nothing.
  const fs::path partial = to / "rows.unfinished";
  fs::remove_all(partial, error);
  if (error) return failed(partial, error);
  {
    const auto target = open_lmdb(partial, LmdbOptions{.size_max_bytes = kStoreSizeMax});
    if (!target) return target.error();
    Result<Moment> moment = take_moment(**source);
    if (!moment) return moment.error();
    if (Status copied = copy_rows(**source, **target, moment->arrival); !copied) return copied;
    if (Status marked = (*target)->commit(moment->marks); !marked) return marked;
  }
  fs::remove(partial / "lock.mdb", error);
  fs::rename(partial, rows, error);
  if (error) return failed(rows, error);
  return sync_directory(to);
}

}  // namespace nodemeter
