// KeyValue on LMDB (the only lmdb.h).
//
// Caveats that LMDB hands us, and what is done about each:
//   one environment per process and directory  the agent shares one handle; the command line is another process
//   the map size is a hard limit                kFull is a designed answer; `size_max` is the operator's
//   data-file growth may be lost after a power cut with fdatasync; the directory is never synced
//                                               open() makes the files and their names durable before first use
//   an I/O error on sync leaves the outcome unknown   the handle refuses everything afterwards
//   slots of dead readers pin old pages         maintain() frees them
//   its lock file can hold the writer lock      only the service account may open the directory

#pragma once

#include <filesystem>
#include <memory>

#include "store/kv.h"

namespace nodemeter {

struct LmdbOptions {
  std::uint64_t size_max_bytes = 8ull << 30;
  bool read_only = false;
};

//   kNotFound          read_only and there is no store
//   kPermissionDenied  this account may not open it; the message names path and account
//   kCorrupt           not a store, or damaged
//   kLocked            another environment of this process has it open
Result<std::unique_ptr<KeyValue>> open_lmdb(const std::filesystem::path& directory, const LmdbOptions& options);

}  // namespace nodemeter
