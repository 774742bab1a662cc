// KeyValue on LMDB (store/lmdb_environment.h has the environment itself).
//
// Caveats that LMDB hands us, and what is done about each:
//   one environment per process and directory  the agent shares one handle; the command line is another process
//   the map size is a hard limit                kFull is a designed answer; `size_max` is the operator's
//   Windows: the file becomes as large as the map   the map follows the file's growth, in steps
//   Windows: who scans or copies a file locks it    opening and committing wait for two seconds
//   data-file growth may be lost after a power cut with fdatasync; the directory is never synced
//                                               the file grows ahead of use, by zeros that are synced with its size;
//                                               open() makes the files and their names durable before first use
//   an I/O error on sync leaves the outcome unknown   the handle refuses everything afterwards
//   slots of dead readers pin old pages         maintain() frees them
//   its lock file can hold the writer lock      only the service account may open the directory
//   a file cut short ends the process on access  open() compares the file's size with what the store refers to

#pragma once

#include <filesystem>
#include <memory>

#include "store/kv.h"

namespace nodemeter {

struct LmdbOptions {
  // The most that the data file may grow to. Beyond it commits with entries answer kFull.
  std::uint64_t size_max_bytes = 8ull << 30;

  // Kept free, within size_max and as zeros on disk, for commits that put no entries: marks, state, pruning. They still
  // succeed when the file system is full. At most an eighth of size_max is taken.
  std::uint64_t reserve_bytes = 4ull << 20;

  // The file grows by this much at a time: a larger value syncs less often and occupies more before it is needed.
  std::uint64_t growth_bytes = 4ull << 20;

  // The memory map follows the file as it grows, instead of covering size_max from the start. On Windows it always
  // does: there LMDB makes the file as large as the map.
  bool map_follows_file = false;

  bool read_only = false;
};

//   kNotFound          read_only and there is no store
//   kPermissionDenied  this account may not open it; the message names path and account
//   kCorrupt           not a store, or damaged
//   kLocked            another environment of this process has it open
// A read-only store without a lock file in a directory that cannot be written is taken for a copy and read without
// locks: nobody may write to it meanwhile.
Result<std::unique_ptr<KeyValue>> open_lmdb(const std::filesystem::path& directory, const LmdbOptions& options);

}  // namespace nodemeter
