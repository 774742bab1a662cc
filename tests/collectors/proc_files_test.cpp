// Goal: CPU time is the vcpus' own, of the right process, and never falls. Method: files made by hand below a root.

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <string>

#include "collectors/proc_files.h"
#include "collectors/vm_process.h"
#include "platform/process.h"

using namespace nodemeter;

namespace {

namespace fs = std::filesystem;
constexpr std::string_view kVm = "6f1a6d4e-8a6c-4e54-9d5b-0d8b8a3f6a01";

class ProcFixture {
 public:
  ProcFixture() {
    static int number = 0;
    root = fs::temp_directory_path() /
           ("nodemeter-proc-" + std::to_string(current_process()) + "-" + std::to_string(++number));
    fs::create_directories(root);
  }
  ~ProcFixture() { fs::remove_all(root); }
  void write(const std::string& path, std::string_view text) const {
    fs::create_directories((root / path).parent_path());
    std::ofstream(root / path, std::ios::binary) << text;
  }
  void process(int pid, std::uint64_t start, char state = 'S') const {
    std::string stat = std::to_string(pid) + " (qemu (x) ) " + state;
    for (int field = 4; field < 22; ++field) stat += " 7";
    write(std::to_string(pid) + "/stat", stat + " " + std::to_string(start) + " 0 0\n");
  }
  void thread(int pid, int tid, std::string_view name, std::uint64_t ns) const {
    const std::string folder = std::to_string(pid) + "/task/" + std::to_string(tid);
    write(folder + "/comm", std::string(name) + "\n");
    write(folder + "/schedstat", std::to_string(ns) + " 5 6\n");
  }
  void command(int pid, const std::string& text) const {
    std::string nul = text;
    for (char& c : nul) c = c == '|' ? '\0' : c;
    write(std::to_string(pid) + "/cmdline", nul);
  }
  fs::path root;
};

}  // namespace

TEST_CASE("a process name with brackets does not shift the fields", "[proc]") {
  std::string text = "42 (a) S (b)) R";
  for (int field = 4; field < 22; ++field) text += field == 14 || field == 15 ? " 21" : " -1";
  const auto stat = parse_process_stat(text + " 777 1 2");
  REQUIRE(stat);
  CHECK(stat->pid == 42);
  CHECK(stat->state == 'R');
  CHECK(stat->start_ticks == 777);
  CHECK(stat->cpu_ticks == 42);
  CHECK_FALSE(parse_process_stat("42 (a) R 1 2"));
  CHECK_FALSE(parse_process_stat(")("));
}

TEST_CASE("vcpu threads are told by name, with or without an index", "[proc]") {
  for (const char* name : {"CPU 0/KVM\n", "CPU 12/TCG", "ALL CPUs/TCG", "CPU 1234567/KV"}) CHECK(is_vcpu_thread(name));
  for (const char* name : {"qemu-system-x86", "CPU /KVM", "CPU 0", "CPU x/KVM", "worker", "IO mon_iothread", ""}) {
    CHECK_FALSE(is_vcpu_thread(name));
  }
}

TEST_CASE("only a QEMU with a -uuid of its own is a VM's process", "[proc]") {
  using namespace std::string_literals;
  const std::string vm(kVm);
  CHECK(parse_qemu_command("/usr/bin/qemu-system-x86_64\0-name\0guest=a\0-uuid\0"s + vm + "\0-S\0"s));
  CHECK_FALSE(parse_qemu_command("/bin/grep\0-uuid\0"s + vm));
  CHECK_FALSE(parse_qemu_command("/usr/bin/qemu-img\0info\0-uuid"s));
  CHECK_FALSE(parse_qemu_command(""));
}

TEST_CASE("net/dev keeps its columns apart", "[proc]") {
  const auto devices = parse_net_devices(
      "Inter-| Receive | Transmit\n face |bytes packets\n"
      "  vnet0: 100 2 0 0 0 0 0 0 300 4 0 0 0 0 0 0\nvnet1:5 6 0 0 0 0 0 0 7 8 0 0 0 0 0 0\nvnet2: 1 2 3\n");
  REQUIRE(devices.size() == 2);
  CHECK(devices[0].name == "vnet0");
  CHECK(devices[0].transmit_bytes == 300);
  CHECK(devices[1].receive_bytes == 5);
  CHECK(devices[1].transmit_packets == 8);
}

TEST_CASE("an unplugged vcpu does not make the CPU time fall, nor count twice when a listing missed it", "[proc]") {
  const ProcFixture f;
  const ProcTree proc(f.root);
  f.process(10, 12345);
  f.thread(10, 10, "qemu-system-x86", 9'000'000);
  f.thread(10, 11, "CPU 0/KVM", 1'000'999);
  f.thread(10, 12, "CPU 1/KVM", 2'000'000);
  VmProcess process(*proc.stat(10), 100);
  CHECK(process.vcpu_time_us(proc) == Reading{3000u});
  CHECK(process.vcpu_threads() == 2);
  fs::remove_all(f.root / "10/task/12");
  CHECK(process.vcpu_time_us(proc) == Reading{3000u});
  CHECK(process.vcpu_threads() == 1);
  f.thread(10, 12, "CPU 1/KVM", 2'500'000);
  CHECK(process.vcpu_time_us(proc) == Reading{3500u});
  f.thread(10, 12, "CPU 1/KVM", 100'000);  // A new thread with the old number.
  CHECK(process.vcpu_time_us(proc) == Reading{3600u});
  CHECK(process.began() == MonotonicTime{Milliseconds{123450}});
}

TEST_CASE("another process with the same number is not the VM", "[proc]") {
  const ProcFixture f;
  const ProcTree proc(f.root);
  f.process(10, 1);
  f.thread(10, 11, "CPU 0/TCG", 5000);
  f.command(10, "qemu-kvm|-uuid|" + std::string(kVm));
  f.command(20, "bash");
  REQUIRE(proc.find_qemu_processes().size() == 1);
  VmProcess process(proc.find_qemu_processes().front().stat, 100);
  CHECK(process.vcpu_time_us(proc) == Reading{5u});
  const BootId boot;
  const std::uint64_t run = process.run(boot, DeviceKind::kCpu, "vcpus", 0);
  CHECK(run != process.run(boot, DeviceKind::kDisk, "vcpus", 0));
  CHECK(run != process.run(boot, DeviceKind::kCpu, "vcpus", 1));
  f.process(10, 2);
  CHECK(process.vcpu_time_us(proc) == Reading{Absence::kNotRunning});
  f.process(10, 1, 'Z');
  CHECK(process.vcpu_time_us(proc) == Reading{Absence::kNotRunning});
}

TEST_CASE("without threads that can be told as vcpus there is no CPU time, not zero", "[proc]") {
  const ProcFixture f;
  const ProcTree proc(f.root);
  f.process(10, 1);
  f.thread(10, 10, "qemu-system-x86", 9'000'000);
  VmProcess process(*proc.stat(10), 100);
  CHECK(process.vcpu_time_us(proc) == Reading{Absence::kNotOffered});
}
