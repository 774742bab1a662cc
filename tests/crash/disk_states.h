// The states that a power cut may leave of a recorded run.
//
// Stricter than any one file system: of what was written and not yet synced any part may be there, in any order. A
// write is there or not, or torn at 512 bytes or at 4 KiB. fdatasync() and O_DSYNC keep content and may lose a file's
// new size; only fsync() of the file keeps that. A name made, moved or removed is there for certain only after fsync()
// of its directory. What was written before a sync that failed may be lost although a later sync succeeds.

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "recorder.h"

namespace nodemeter::crash {

// Promises that the disk breaks: the checks have to notice each of them.
struct Lies {
  bool data_sync_does_nothing = false;          // fdatasync(), as if LMDB ran with MDB_NOSYNC
  bool synchronous_write_does_nothing = false;  // O_DSYNC, as with MDB_NOMETASYNC
  bool names_are_not_kept = false;              // fsync() of directories
  bool size_is_not_kept = false;                // fsync() of files keeps content only
  bool sector_is_torn = false;                  // a write within one sector may be half there
};

struct StateOptions {
  std::uint64_t seed = 1;
  // Between two syncs with more than this many things to lose, subsets are drawn, not enumerated.
  std::size_t subsets_of_at_most = 6;
  std::size_t drawn = 24;
  bool torn = true;
  std::uint64_t from_call = 0;         // Only power cuts with so many calls before them, and
  std::uint64_t to_call = UINT64_MAX;  // not more than so many.
  std::uint64_t shards = 1;            // Only every `shards`th state, the `shard`th first.
  std::uint64_t shard = 0;
  Lies lies;
};

struct DiskState {
  std::map<std::string, std::string> files;  // By path below the root.
  std::set<std::string> directories;
  std::int64_t acknowledged = -1;
  bool torn = false;
  std::string origin;  // For people: which cut, and what of the pending is there.
};

// Calls `visit` for each state until it returns false.
void for_each_state(const Recording& recording, const StateOptions& options,
                    const std::function<bool(const DiskState&)>& visit);

// Makes a directory hold the state; it must not exist.
void materialise(const DiskState& state, const std::filesystem::path& root);

// The same for equal states.
std::uint64_t fingerprint(const DiskState& state);

}  // namespace nodemeter::crash
