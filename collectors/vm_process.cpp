#include "collectors/vm_process.h"

#include <string>

#include "platform/bytes.h"
#include "platform/digest.h"

namespace nodemeter {

namespace {

// Ended vcpu threads remembered one by one; a VM that unplugs more within one run has the oldest numbers folded.
constexpr std::size_t kEndedMax = 1024;

}  // namespace

bool VmProcess::alive(const ProcTree& proc) const {
  const std::optional<ProcessStat> now = proc.stat(stat_.pid);
  // A zombie has no memory left: only its parent has not looked yet.
  return now && now->start_ticks == stat_.start_ticks && now->state != 'Z' && now->state != 'X';
}

Reading VmProcess::vcpu_time_us(const ProcTree& proc) {
  for (auto& [tid, thread] : threads_) thread.seen = false;
  live_ = 0;
  for (const std::uint64_t tid : proc.threads(stat_.pid)) {
    Thread& thread = threads_[tid];
    thread.seen = true;
    if (!thread.vcpu) {
      // Asked again each time: a thread gets its name only some moments after it began.
      const std::optional<std::string> name = proc.thread_name(stat_.pid, tid);
      thread.vcpu = name && is_vcpu_thread(*name);
      if (!thread.vcpu) continue;
    }
    const std::optional<std::uint64_t> run_ns = proc.thread_run_ns(stat_.pid, tid);
    if (!run_ns) continue;
    // A counter that fell belongs to a new thread with an old number.
    if (*run_ns < thread.run_ns) ended_ns_ += thread.run_ns;
    thread.run_ns = *run_ns;
    any_vcpu_ = true;
    ++live_;
  }
  // Only now is it certain that what was read belongs to this process.
  if (!alive(proc)) return Absence::kNotRunning;
  // Ended vcpu threads stay listed: a listing may miss a thread that the next one has again, and it must not count
  // twice.
  std::erase_if(threads_, [](const auto& entry) { return !entry.second.seen && !entry.second.vcpu; });
  for (auto entry = threads_.begin(); threads_.size() > kEndedMax + live_ && entry != threads_.end();) {
    if (entry->second.seen) {
      ++entry;
      continue;
    }
    ended_ns_ += entry->second.run_ns;
    entry = threads_.erase(entry);
  }
  if (!any_vcpu_) return Absence::kNotOffered;
  std::uint64_t sum_ns = ended_ns_;
  for (const auto& [tid, thread] : threads_) sum_ns += thread.run_ns;
  return sum_ns / 1000;
}

MonotonicTime VmProcess::began() const {
  const std::uint64_t whole_s = stat_.start_ticks / ticks_per_s_;
  const std::uint64_t rest = stat_.start_ticks % ticks_per_s_;
  return MonotonicTime{Milliseconds{whole_s * 1000 + rest * 1000 / ticks_per_s_}};
}

std::uint64_t VmProcess::run(const BootId& boot, DeviceKind kind, std::string_view id, std::uint32_t plugged) const {
  ByteWriter key;
  key.uuid(boot);
  key.u64(stat_.pid);
  key.u64(stat_.start_ticks);
  key.u8(static_cast<std::uint8_t>(kind));
  key.text(id);
  key.u32(plugged);
  return ByteReader(digest_of({key.take()}).view()).u64();
}

}  // namespace nodemeter
