// Records what this process asks of the file system, and makes chosen calls fail.
//
// recorder.cpp defines open(), pwrite(), fdatasync() and their like for the whole program, liblmdb included. While a
// recording is armed, every call that changes something below its root is written to a log in shared memory, which
// survives the process. Files are named by inode number, so that renames need no care. The log is read by
// disk_states.h.
//
// One recording at a time and one thread: the process that is armed does nothing else.

#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace nodemeter::crash {

// On the log only. kMark is not a call: whoever runs the workload writes down what became durable.
enum class CallKind : std::uint8_t {
  kWrite = 1,
  kTruncate,
  kSyncData,   // fdatasync
  kSyncAll,    // fsync of a file
  kSyncNames,  // fsync of a directory
  kCreate,     // A new, empty file `name` in `directory`.
  kMakeDirectory,
  kRename,  // From `name` to `other_name`; the directories may differ.
  kLink,
  kRemove,
  kMark,
};

struct Call {
  CallKind kind = CallKind::kMark;
  bool failed = false;   // The caller was told so. A failed write with `durable` may be on disk nevertheless.
  bool durable = false;  // The file was opened with O_DSYNC or O_SYNC.
  std::uint64_t inode = 0;
  std::uint64_t directory = 0;
  std::uint64_t other_directory = 0;
  std::uint64_t offset = 0;  // Of a write; the new size of a truncation.
  std::int64_t mark = 0;
  std::string_view data;
  std::string_view name;
  std::string_view other_name;
};

enum class Fault : std::uint8_t {
  kNone,
  kKillBefore,  // SIGKILL instead of the call.
  kKillMiddle,  // SIGKILL after about half of the pages of a write.
  kIo,          // EIO. A synchronous write reaches the page cache first, as it does in the kernel.
  kFull,        // ENOSPC, likewise.
  kShort,       // Half of a write, and its length as the answer.
};
const char* name_of(Fault fault);

// Which calls fail: `count` of them from number `at` (from 1) on; if `syncs_only`, later ones only if they sync.
struct FaultPlan {
  Fault fault = Fault::kNone;
  std::uint64_t at = 0;
  std::uint64_t count = 1;
};

// The log of one run of one or more processes, one after the other. Made before they are forked.
class Recording {
 public:
  explicit Recording(std::uint64_t bytes_max);
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  ~Recording();

  void clear();
  // Visits every call so far, in order, until `visit` returns false.
  void for_each(const std::function<bool(const Call&)>& visit) const;
  // Calls that count for a FaultPlan, in all processes since clear().
  [[nodiscard]] std::uint64_t calls() const;
  // The greatest mark so far, -1 if there is none.
  [[nodiscard]] std::int64_t last_mark() const;
  [[nodiscard]] bool overflowed() const;
  // Faults that hit so far; and those of them that were EIO from a sync or a synchronous write.
  [[nodiscard]] std::uint64_t faults() const;
  [[nodiscard]] std::uint64_t io_sync_faults() const;
  // Inode number of the root when the recording was armed first.
  [[nodiscard]] std::uint64_t root_inode() const;

  // From here on, in this process. `root` has to be absolute, and to outlive nothing: it is copied.
  void arm(const std::string& root, FaultPlan plan);
  void disarm();
  void mark(std::int64_t number);

  struct Shared;

 private:
  Shared* shared_;
  std::uint64_t bytes_;
};

}  // namespace nodemeter::crash
