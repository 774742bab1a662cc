// What Linux shows of processes: the few files of /proc that the libvirt source needs, as values.
//
// The parsers are pure and compile everywhere; ProcTree reads below a root that tests replace by a folder of fixtures.
// Nothing here trusts its input: a file that makes no sense is an empty answer. Thread-safe: no state.

#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "platform/ids.h"

namespace nodemeter {

struct ProcessStat {
  std::uint64_t pid = 0;
  char state = '?';
  std::uint64_t cpu_ticks = 0;    // User and system time of the whole process.
  std::uint64_t start_ticks = 0;  // Since boot, suspend included. With the pid it names one process of this boot.
};

// /proc/PID/stat. The command name may hold anything, brackets and line ends too: the last ')' ends it.
std::optional<ProcessStat> parse_process_stat(std::string_view text);

// /proc/PID/task/TID/schedstat: nanoseconds that the thread has been running.
std::optional<std::uint64_t> parse_schedstat(std::string_view text);

struct NetDevice {
  std::string name;
  std::uint64_t receive_bytes = 0;
  std::uint64_t receive_packets = 0;
  std::uint64_t transmit_bytes = 0;
  std::uint64_t transmit_packets = 0;
};

// /proc/PID/net/dev, seen from the host. Lines that make no sense are left out.
std::vector<NetDevice> parse_net_devices(std::string_view text);

// The VM that a command line (arguments ended by NUL) belongs to; nothing if it is no QEMU or has no `-uuid`.
std::optional<VmId> parse_qemu_command(std::string_view command_line);

// Whether a thread of QEMU runs vcpus: "CPU 0/KVM", "CPU 12/TCG", or "ALL CPUs/TCG" with single-threaded emulation.
bool is_vcpu_thread(std::string_view name);

class ProcTree {
 public:
  // `root`: "/proc", or a folder that looks like it.
  explicit ProcTree(std::filesystem::path root) : root_(std::move(root)) {}

  // Nothing: no such process, or not readable by this account.
  [[nodiscard]] std::optional<ProcessStat> stat(std::uint64_t pid) const;
  [[nodiscard]] std::optional<std::string> thread_name(std::uint64_t pid, std::uint64_t tid) const;
  [[nodiscard]] std::optional<std::uint64_t> thread_run_ns(std::uint64_t pid, std::uint64_t tid) const;
  [[nodiscard]] std::vector<NetDevice> net_devices(std::uint64_t pid) const;

  // Ascending. Empty if the process is gone. Threads that begin or end meanwhile may be missing.
  [[nodiscard]] std::vector<std::uint64_t> threads(std::uint64_t pid) const;

  struct QemuProcess {
    VmId vm;
    ProcessStat stat;
  };
  // Every QEMU process with a `-uuid`. Reads one file per process of the machine: not for every sample.
  [[nodiscard]] std::vector<QemuProcess> find_qemu_processes() const;

 private:
  [[nodiscard]] std::optional<std::string> read(std::uint64_t pid, std::string_view rest, std::size_t size_max) const;
  std::filesystem::path root_;
};

}  // namespace nodemeter
