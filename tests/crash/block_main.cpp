// Goal: the same as crash_main.cpp, with a real journalling file system and its own idea of order in between.
// Method: the journal runs on ext4 on a block device that logs every write and flush (block_log.h). After each commit
// the number of the last durable operation is written beyond the file system, without a flush, so that the log itself
// tells what was acknowledged when. Disk images are made of the log: cut at every write, and with any part of the
// writes since the last flush. Each image is mounted (ext4 recovers its journal) and the store in it is judged. A
// canary whose flushes do nothing has to be noticed.

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>

#include "block_log.h"
#include "platform/random.h"
#include "runs.h"

namespace nodemeter::crash {

namespace {

namespace fs = std::filesystem;

constexpr int kSkipped = 77;
constexpr const char* kNoMount = "ext4 does not mount";
constexpr std::uint64_t kFileSystemBytes = 16u << 20;
constexpr std::uint64_t kDeviceBytes = kFileSystemBytes + (1u << 20);
constexpr std::uint64_t kMarkBlock = kFileSystemBytes / kBlock + 8;

// Writes the mark past the page cache: the log shall have it here, and no flush with it.
void write_mark(const std::string& device, std::int64_t position) {
  const int fd = ::open(device.c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC);
  void* block = std::aligned_alloc(kBlock, kBlock);
  std::memset(block, 0, kBlock);
  std::memcpy(block, &position, sizeof position);
  const ssize_t written = ::pwrite(fd, block, kBlock, static_cast<off_t>(kMarkBlock * kBlock));
  if (written != static_cast<ssize_t>(kBlock)) std::abort();
  std::free(block);
  ::close(fd);
}

struct LoggedRun {
  std::string before;  // The image as it was made.
  std::vector<BlockCall> calls;
  std::string fault;
};

LoggedRun logged_run(const Subject& subject) {
  LoggedRun result;
  Scratch scratch;
  const fs::path image = scratch.next();
  const fs::path log = scratch.next();
  const fs::path exported = scratch.next();
  std::ofstream(image).put('\0');
  std::ofstream(log).put('\0');
  fs::resize_file(image, kDeviceBytes);
  fs::resize_file(log, 1u << 30);
  const std::string format = "mkfs.ext4 -q -F -b 4096 -E lazy_itable_init=0,lazy_journal_init=0 " + image.string() +
                             " " + std::to_string(kFileSystemBytes / 1024) + "k";
  if (std::system(format.c_str()) != 0) return {{}, {}, "mkfs.ext4 failed"};
  result.before.resize(kDeviceBytes);
  std::ifstream(image, std::ios::binary).read(result.before.data(), static_cast<std::streamsize>(kDeviceBytes));
  {
    const std::optional<LoggedFile> logged = LoggedFile::start(image, log, exported);
    if (!logged) return {{}, {}, "qemu-storage-daemon does not start"};
    const std::optional<LoopDevice> device = LoopDevice::attach(exported);
    if (!device) return {{}, {}, "no loop device is free"};
    const fs::path at = scratch.next();
    const std::optional<Ext4> mounted = Ext4::mount(device->path(), at);
    if (!mounted) return {{}, {}, "ext4 cannot be mounted"};
    result.fault = in_child([&] {
      return run_unrecorded(subject.workload, subject.contents, at,
                            [&](std::int64_t position) { write_mark(device->path(), position); });
    });
  }
  result.calls = read_block_log(log);
  return result;
}

void apply(std::string_view data, std::uint64_t block, char* image) {
  std::memcpy(image + block * kBlock, data.data(), data.size());
}

void apply(const BlockCall& call, char* image) {
  if (!call.discard) apply(call.data, call.block, image);
}

// An image in memory under a loop device, for one state after the other.
class Bench {
 public:
  explicit Bench(const Subject& subject)
      : subject_(subject), file_(sized_file(scratch_.next())), device_(LoopDevice::attach(file_)) {
    const int fd = ::open(file_.c_str(), O_RDWR | O_CLOEXEC);
    image_ = static_cast<char*>(::mmap(nullptr, kDeviceBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    ::close(fd);
    if (image_ == MAP_FAILED || !device_) std::abort();
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;
  ~Bench() { ::munmap(image_, kDeviceBytes); }

  // Mounts `base` with those of `pending` that are there, and judges.
  std::string judge_image(const std::string& base, const std::vector<const BlockCall*>& pending,
                          const std::vector<bool>& there, std::int64_t acknowledged) {
    std::memcpy(image_, base.data(), kDeviceBytes);
    for (std::size_t i = 0; i < pending.size(); ++i) {
      if (there[i]) apply(*pending[i], image_);
    }
    const fs::path at = scratch_.next();
    const std::optional<Ext4> mounted = Ext4::mount(device_->path(), at);
    if (!mounted) return kNoMount;
    return in_child([&] { return judge(at / "var" / "state", subject_.expectation, acknowledged); });
  }

 private:
  static fs::path sized_file(const fs::path& file) {
    std::ofstream(file).put('\0');
    fs::resize_file(file, kDeviceBytes);
    return file;
  }

  const Subject& subject_;
  Scratch scratch_;
  fs::path file_;
  std::optional<LoopDevice> device_;
  char* image_ = nullptr;
};

// Which of `count` writes are there: all, all but one, one alone, each beginning, and some drawn ones.
std::set<std::vector<bool>> subsets(std::size_t count, Random& random) {
  std::set<std::vector<bool>> all;
  for (std::size_t i = 0; i <= count; ++i) {
    std::vector<bool> first(count);
    std::fill_n(first.begin(), i, true);
    all.insert(first);
    if (i == count) break;
    std::vector<bool> without(count, true);
    without[i] = false;
    all.insert(without);
    std::vector<bool> only(count);
    only[i] = true;
    all.insert(only);
  }
  for (int n = 0; n < 6 && count > 2; ++n) {
    std::vector<bool> drawn(count);
    for (std::size_t i = 0; i < count; ++i) drawn[i] = random.chance(1, 2);
    all.insert(drawn);
  }
  return all;
}

// All cuts of one shard. `deaf` flushes do nothing: the canary; the number of violations that ended it.
std::uint64_t cuts(const Subject& subject, const LoggedRun& logged, std::uint64_t shards, std::uint64_t shard,
                   bool deaf) {
  constexpr std::size_t kDeafMax = 48;
  Bench bench(subject);
  Random random(7);
  std::string base = logged.before;
  std::vector<const BlockCall*> pending;
  std::int64_t acknowledged = -1;
  std::uint64_t states = 0;
  const auto judge_all = [&](std::size_t at) -> std::uint64_t {
    for (const std::vector<bool>& there : subsets(pending.size(), random)) {
      if (states++ % shards != shard) continue;
      Tally::shared().count(deaf ? Class::kCanary : Class::kBlock);
      const std::string words = bench.judge_image(base, pending, there, acknowledged);
      if (words.empty()) continue;
      if (deaf && words == kNoMount) continue;  // The store is what has to notice.
      if (deaf) std::printf("canary: flushes that do nothing: noticed: %s\n", words.c_str());
      if (deaf) return 1;
      Tally::shared().violation("block log, cut at " + std::to_string(at) + ", acknowledged " +
                                std::to_string(acknowledged) + ": " + words);
    }
    return 0;
  };
  for (std::size_t at = 0; at < logged.calls.size(); ++at) {
    const BlockCall& call = logged.calls[at];
    if (call.block == kMarkBlock && call.data.size() >= sizeof acknowledged) {
      std::memcpy(&acknowledged, call.data.data(), sizeof acknowledged);
      continue;
    }
    const bool settles = call.flush && !deaf;
    if ((settles || pending.size() == kDeafMax) && judge_all(at) > 0) return 1;
    if (settles) {
      for (const BlockCall* earlier : pending) apply(*earlier, base.data());
      pending.clear();
    } else if (pending.size() == kDeafMax) {
      for (std::size_t i = 0; i < kDeafMax / 2; ++i) apply(*pending[i], base.data());
      pending.erase(pending.begin(), pending.begin() + kDeafMax / 2);
    }
    if (!call.data.empty()) pending.push_back(&call);
    // A forced write is on its own; what is pending before it may still be lost.
    if (call.force && !deaf && !call.data.empty()) {
      if (judge_all(at) > 0) return 1;
      pending.pop_back();
      apply(call, base.data());
    }
  }
  return judge_all(logged.calls.size());
}

int main_of() {
  std::string why = why_no_block_log();
  if (why.empty() &&
      (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)) {
    why = "no mount namespace of our own";
  }
  if (!why.empty()) {
    std::printf("SKIPPED: power cuts on a real ext4: %s\n", why.c_str());
    return kSkipped;
  }
  const Subject life(life_of_a_node());
  const LoggedRun logged = logged_run(life);
  if (!logged.fault.empty() || logged.calls.empty()) {
    std::printf("the logged run failed: %s\n", logged.fault.c_str());
    return 1;
  }
  const auto flushes = std::ranges::count_if(logged.calls, [](const BlockCall& call) { return call.flush; });
  const auto marks =
      std::ranges::count_if(logged.calls, [](const BlockCall& call) { return call.block == kMarkBlock; });
  std::printf("%zu entries on the block log, %td of them flushes, %td acknowledgements\n", logged.calls.size(), flushes,
              marks);
  const bool noticed = cuts(life, logged, 1, 0, true) > 0;
  if (!noticed) std::printf("canary: flushes that do nothing: NOT NOTICED\n");
  in_workers([&](std::uint64_t shards, std::uint64_t shard) { cuts(life, logged, shards, shard, false); });
  const Tally& tally = Tally::shared();
  std::printf("crash states: %llu block-level; violations: %llu\n",
              static_cast<unsigned long long>(tally.of(Class::kBlock)),
              static_cast<unsigned long long>(tally.violations()));
  return tally.violations() == 0 && noticed ? 0 : 1;
}

}  // namespace

}  // namespace nodemeter::crash

int main() { return nodemeter::crash::main_of(); }
