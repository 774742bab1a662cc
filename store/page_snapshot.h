// A Snapshot that reads an LMDB data file through checked pages (store/lmdb_pages.h), never through LMDB's map.
//
// Damage that it comes to is kCorrupt with its place. Threads: one at a time.

#pragma once

#include <array>

#include "store/kv.h"
#include "store/lmdb_pages.h"

namespace nodemeter {

// The names of the tables of KeyValue, by Table.
inline constexpr std::array<const char*, kTableCount> kTableNames{"meta", "state", "entries"};

// The version of `transaction`, or the newest if there is none. `pin` keeps that version's pages from being used
// again; it is released with the snapshot. kNotFound: there are no
// tables (yet). kUnavailable: that version is not in the file (any more): begin again. kCorrupt.
Result<std::unique_ptr<Snapshot>> page_snapshot(std::shared_ptr<const lmdb_pages::ByteSource> bytes,
                                                std::optional<std::uint64_t> transaction,
                                                std::shared_ptr<const void> pin);

// A damaged or foreign data file as a store that can be read as far as it holds. Nobody may write to it meanwhile, and
// LMDB is not involved. The errors are open_bytes' and those of the calls; commits are refused.
Result<std::unique_ptr<KeyValue>> open_pages(const std::filesystem::path& directory);

// A store that its owner may be writing to, for reading only, without LMDB, its lock file and its slots: a reader that
// is killed or stopped in mid-read holds nothing back, and as many may read as like. Its snapshots can be overtaken
// (Snapshot::intact): LMDB takes the pages of a version for new ones in the third commit after it.
// kNotFound, kPermissionDenied (the message says what would do), kUnavailable; the rest shows on reading.
Result<std::unique_ptr<KeyValue>> open_shared(const std::filesystem::path& directory);

// The error of an account that may not open a store. `why`: the system's words, or "".
Error denied_to_account(const std::filesystem::path& path, const std::string& why);

// Bytes in use and entries of the version.
KeyValue::Usage usage_of(const lmdb_pages::ByteSource& bytes, std::optional<std::uint64_t> transaction);

}  // namespace nodemeter
