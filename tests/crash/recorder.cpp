#include "recorder.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace nodemeter::crash {

struct Recording::Shared {
  std::atomic<std::uint64_t> used;
  std::atomic<std::uint64_t> calls;
  std::atomic<std::uint64_t> faults;
  std::atomic<std::uint64_t> sync_faults;
  std::atomic<std::int64_t> mark;
  std::atomic<std::uint64_t> root;
  std::atomic<bool> overflow;
  std::uint64_t size;  // Of `bytes`.
  char bytes[1];
};

namespace {

// What precedes data and names of a call on the log.
struct Header {
  std::uint64_t inode, directory, other_directory, offset;
  std::int64_t mark;
  std::uint32_t data, name, other_name;
  CallKind kind;
  bool failed, durable;
};

// The armed recording of this process. Global because open() and write() are.
struct Armed {
  Recording::Shared* shared = nullptr;
  std::string root;
  FaultPlan plan;
};
Armed& armed() {
  static Armed state;
  return state;
}

template <class Function>
Function* real(const char* name) {
  void* found = ::dlsym(RTLD_NEXT, name);
  if (found == nullptr) std::abort();
  return reinterpret_cast<Function*>(found);
}
#define REAL(name) static auto* const real_##name = real<decltype(::name)>(#name)

bool below_root(std::string_view path) {
  const Armed& a = armed();
  return a.shared != nullptr && path.starts_with(a.root) &&
         (path.size() == a.root.size() || path[a.root.size()] == '/');
}

bool tracked(int fd) {
  if (armed().shared == nullptr) return false;
  char link[64];
  char target[1024];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t n = ::readlink(link, target, sizeof target);
  return n > 0 && below_root({target, static_cast<std::size_t>(n)});
}

std::uint64_t inode_of(int fd) {
  struct stat info {};
  return ::fstat(fd, &info) == 0 ? info.st_ino : 0;
}

std::uint64_t inode_of(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 ? info.st_ino : 0;
}

struct Place {
  std::uint64_t directory;
  std::string name;
};
Place place_of(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const std::size_t slash = path.rfind('/');
  return {inode_of(path.substr(0, slash)), path.substr(slash + 1)};
}

void log(const Call& call) {
  Recording::Shared& shared = *armed().shared;
  const Header header{call.inode,
                      call.directory,
                      call.other_directory,
                      call.offset,
                      call.mark,
                      static_cast<std::uint32_t>(call.data.size()),
                      static_cast<std::uint32_t>(call.name.size()),
                      static_cast<std::uint32_t>(call.other_name.size()),
                      call.kind,
                      call.failed,
                      call.durable};
  const std::uint64_t at = shared.used;
  const std::uint64_t size = sizeof header + call.data.size() + call.name.size() + call.other_name.size();
  if (at + size > shared.size) {
    shared.overflow = true;
    return;
  }
  char* out = shared.bytes + at;
  const auto put = [&out](const void* from, std::size_t n) {
    if (n > 0) std::memcpy(out, from, n);
    out += n;
  };
  put(&header, sizeof header);
  put(call.data.data(), call.data.size());
  put(call.name.data(), call.name.size());
  put(call.other_name.data(), call.other_name.size());
  shared.used = at + size;
}

// Counts a call and says what is to become of it; kKillBefore does not return.
Fault next_call(bool syncs) {
  Armed& a = armed();
  const std::uint64_t number = ++a.shared->calls;
  if (a.plan.fault == Fault::kNone || number < a.plan.at || a.plan.count == 0) return Fault::kNone;
  if (number > a.plan.at && !syncs) return Fault::kNone;  // What lasts is a device that cannot sync.
  --a.plan.count;
  ++a.shared->faults;
  if (syncs && a.plan.fault == Fault::kIo) ++a.shared->sync_faults;
  if (a.plan.fault == Fault::kKillBefore) ::raise(SIGKILL);
  return a.plan.fault;
}

bool is_error(Fault fault) { return fault == Fault::kIo || fault == Fault::kFull; }

int error_of(Fault fault) { return fault == Fault::kFull ? ENOSPC : EIO; }

// The kernel looks at signals between the pages of a write: what it has done by then ends at one's edge.
std::size_t page_cut(std::uint64_t offset, std::size_t size) {
  constexpr std::uint64_t kPage = 4096;
  const std::uint64_t edge = std::max((offset + size / 2) / kPage, offset / kPage + 1) * kPage;
  return std::min<std::size_t>(size, edge - offset);
}

// Every write ends here. The offset is explicit; the caller moves the file's own.
ssize_t write_at(int fd, std::string_view data, std::uint64_t offset) {
  REAL(pwrite);
  const int flags = ::fcntl(fd, F_GETFL);
  const bool durable = (flags & O_DSYNC) != 0;
  const Fault fault = next_call(durable);
  if (is_error(fault) && !durable) {
    errno = error_of(fault);
    return -1;
  }
  std::size_t size = data.size();
  if (fault == Fault::kShort) size /= 2;
  if (fault == Fault::kKillMiddle) size = page_cut(offset, size);
  const ssize_t written = real_pwrite(fd, data.data(), size, static_cast<off_t>(offset));
  if (written < 0) return written;
  Call call;
  call.kind = CallKind::kWrite;
  call.failed = is_error(fault);
  call.durable = durable;
  call.inode = inode_of(fd);
  call.offset = offset;
  call.data = data.substr(0, static_cast<std::size_t>(written));
  log(call);
  if (fault == Fault::kKillMiddle) ::raise(SIGKILL);
  if (!call.failed) return written;
  errno = error_of(fault);
  return -1;
}

ssize_t write_on(int fd, std::string_view data) {
  const int flags = ::fcntl(fd, F_GETFL);
  const off_t at = ::lseek(fd, 0, (flags & O_APPEND) != 0 ? SEEK_END : SEEK_CUR);
  const ssize_t written = write_at(fd, data, static_cast<std::uint64_t>(at));
  if (written > 0) ::lseek(fd, at + written, SEEK_SET);
  return written;
}

std::string gathered(const iovec* parts, int count) {
  std::string data;
  for (int i = 0; i < count; ++i) data.append(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
  return data;
}

int sync_call(int fd, CallKind kind) {
  const Fault fault = next_call(true);
  struct stat info {};
  ::fstat(fd, &info);
  Call call;
  call.kind = S_ISDIR(info.st_mode) ? CallKind::kSyncNames : kind;
  call.inode = info.st_ino;
  call.failed = is_error(fault);
  log(call);
  if (!call.failed) return 0;  // Nothing survives this machine anyway: the log is the disk.
  errno = error_of(fault);
  return -1;
}

// A call that changes names, or a file's size: all of it happens or nothing.
template <class Do>
int name_call(Call call, const Do& perform) {
  const Fault fault = next_call(false);
  if (is_error(fault)) {
    errno = error_of(fault);
    return -1;
  }
  const int result = perform();
  if (result >= 0) log(call);
  return result;
}

int remove_call(const std::string& path, const std::function<int()>& perform) {
  const Place place = place_of(path);
  Call call;
  call.kind = CallKind::kRemove;
  call.inode = inode_of(path);
  if (call.inode == 0) return perform();  // Nothing there: nothing changes.
  call.directory = place.directory;
  call.name = place.name;
  return name_call(call, perform);
}

int open_call(const std::string& path, int flags, const std::function<int()>& perform) {
  const bool creates = (flags & O_CREAT) != 0 && inode_of(path) == 0;
  const bool cuts = (flags & O_TRUNC) != 0 && !creates;
  if (!below_root(path) || (!creates && !cuts)) return perform();
  const Fault fault = next_call(false);
  if (is_error(fault)) {
    errno = error_of(fault);
    return -1;
  }
  const int fd = perform();
  if (fd < 0) return fd;
  const Place place = place_of(path);
  Call call;
  call.kind = creates ? CallKind::kCreate : CallKind::kTruncate;
  call.inode = inode_of(fd);
  call.directory = place.directory;
  call.name = place.name;
  log(call);
  return fd;
}

int two_names(CallKind kind, const char* from, const char* to, const std::function<int()>& perform) {
  const Place old_place = place_of(from);
  const Place new_place = place_of(to);
  Call call;
  call.kind = kind;
  call.inode = inode_of(std::string(from));
  call.directory = old_place.directory;
  call.name = old_place.name;
  call.other_directory = new_place.directory;
  call.other_name = new_place.name;
  return name_call(call, perform);
}

}  // namespace

const char* name_of(Fault fault) {
  switch (fault) {
    case Fault::kNone: return "none";
    case Fault::kKillBefore: return "kill";
    case Fault::kKillMiddle: return "kill in the middle";
    case Fault::kIo: return "EIO";
    case Fault::kFull: return "ENOSPC";
    case Fault::kShort: return "short write";
  }
  return "?";
}

Recording::Recording(std::uint64_t bytes_max) : bytes_(sizeof(Shared) + bytes_max) {
  void* memory = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  shared_ = new (memory) Shared{};
  shared_->size = bytes_max;
  clear();
}

Recording::~Recording() { ::munmap(shared_, bytes_); }

void Recording::clear() {
  shared_->used = 0;
  shared_->calls = 0;
  shared_->faults = 0;
  shared_->sync_faults = 0;
  shared_->mark = -1;
  shared_->root = 0;
  shared_->overflow = false;
}

void Recording::for_each(const std::function<bool(const Call&)>& visit) const {
  const char* at = shared_->bytes;
  const char* const end = at + shared_->used;
  while (at < end) {
    Header header;
    std::memcpy(&header, at, sizeof header);
    at += sizeof header;
    const auto take = [&at](std::size_t size) {
      const std::string_view part(at, size);
      at += size;
      return part;
    };
    Call call;
    call.kind = header.kind;
    call.failed = header.failed;
    call.durable = header.durable;
    call.inode = header.inode;
    call.directory = header.directory;
    call.other_directory = header.other_directory;
    call.offset = header.offset;
    call.mark = header.mark;
    call.data = take(header.data);
    call.name = take(header.name);
    call.other_name = take(header.other_name);
    if (!visit(call)) return;
  }
}

std::uint64_t Recording::calls() const { return shared_->calls; }
std::int64_t Recording::last_mark() const { return shared_->mark; }
bool Recording::overflowed() const { return shared_->overflow; }
std::uint64_t Recording::faults() const { return shared_->faults; }
std::uint64_t Recording::io_sync_faults() const { return shared_->sync_faults; }
std::uint64_t Recording::root_inode() const { return shared_->root; }

void Recording::arm(const std::string& root, FaultPlan plan) {
  if (shared_->root == 0) shared_->root = inode_of(root);
  armed().root = root;
  armed().plan = plan;
  armed().shared = shared_;
}

void Recording::disarm() { armed().shared = nullptr; }

void Recording::mark(std::int64_t number) {
  if (armed().shared == nullptr) return;
  Call call;
  call.mark = number;
  log(call);
  shared_->mark = number;
}

}  // namespace nodemeter::crash

// ---- The calls of the whole program ----

using namespace nodemeter::crash;

extern "C" {

int open(const char* path, int flags, ...) {
  REAL(open);
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list more;
    va_start(more, flags);
    mode = va_arg(more, mode_t);
    va_end(more);
  }
  return open_call(path, flags, [&] { return real_open(path, flags, mode); });
}

int open64(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list more;
    va_start(more, flags);
    mode = va_arg(more, mode_t);
    va_end(more);
  }
  return open(path, flags, mode);
}

ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  REAL(pwrite);
  if (!tracked(fd)) return real_pwrite(fd, data, size, offset);
  return write_at(fd, {static_cast<const char*>(data), size}, static_cast<std::uint64_t>(offset));
}

ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) { return pwrite(fd, data, size, offset); }

ssize_t write(int fd, const void* data, size_t size) {
  REAL(write);
  if (!tracked(fd)) return real_write(fd, data, size);
  return write_on(fd, {static_cast<const char*>(data), size});
}

ssize_t writev(int fd, const iovec* parts, int count) {
  REAL(writev);
  if (!tracked(fd)) return real_writev(fd, parts, count);
  return write_on(fd, gathered(parts, count));
}

ssize_t pwritev(int fd, const iovec* parts, int count, off_t offset) {
  REAL(pwritev);
  if (!tracked(fd)) return real_pwritev(fd, parts, count, offset);
  return write_at(fd, gathered(parts, count), static_cast<std::uint64_t>(offset));
}

int fsync(int fd) {
  REAL(fsync);
  return tracked(fd) ? sync_call(fd, CallKind::kSyncAll) : real_fsync(fd);
}

int fdatasync(int fd) {
  REAL(fdatasync);
  return tracked(fd) ? sync_call(fd, CallKind::kSyncData) : real_fdatasync(fd);
}

int ftruncate(int fd, off_t size) noexcept {
  REAL(ftruncate);
  if (!tracked(fd)) return real_ftruncate(fd, size);
  Call call;
  call.kind = CallKind::kTruncate;
  call.inode = inode_of(fd);
  call.offset = static_cast<std::uint64_t>(size);
  return name_call(call, [&] { return real_ftruncate(fd, size); });
}

int mkdir(const char* path, mode_t mode) noexcept {
  REAL(mkdir);
  if (!below_root(path) || inode_of(std::string(path)) != 0) return real_mkdir(path, mode);
  const Fault fault = next_call(false);
  if (is_error(fault)) {
    errno = error_of(fault);
    return -1;
  }
  if (real_mkdir(path, mode) != 0) return -1;
  const Place place = place_of(path);
  Call call;
  call.kind = CallKind::kMakeDirectory;
  call.inode = inode_of(std::string(path));
  call.directory = place.directory;
  call.name = place.name;
  log(call);
  return 0;
}

int rename(const char* from, const char* to) noexcept {
  REAL(rename);
  if (!below_root(from)) return real_rename(from, to);
  return two_names(CallKind::kRename, from, to, [&] { return real_rename(from, to); });
}

int link(const char* from, const char* to) noexcept {
  REAL(link);
  if (!below_root(from)) return real_link(from, to);
  return two_names(CallKind::kLink, from, to, [&] { return real_link(from, to); });
}

int unlink(const char* path) noexcept {
  REAL(unlink);
  if (!below_root(path)) return real_unlink(path);
  return remove_call(path, [&] { return real_unlink(path); });
}

int remove(const char* path) noexcept {
  REAL(remove);
  if (!below_root(path)) return real_remove(path);
  return remove_call(path, [&] { return real_remove(path); });
}

}  // extern "C"
