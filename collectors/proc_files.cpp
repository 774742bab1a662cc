#include "collectors/proc_files.h"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "platform/files.h"

namespace nodemeter {

namespace {

constexpr std::size_t kSmallFileMax = 4096;
constexpr std::size_t kNetDevMax = 1u << 20;        // Thousands of taps, one line of about 120 bytes each.
constexpr std::size_t kCommandLineMax = 1u << 18;   // A QEMU with hundreds of devices stays below.
constexpr std::uint64_t kThreadIdMax = 1ull << 32;  // Linux allows 2^22.

// The next word before white space; empty at the end.
std::string_view next_word(std::string_view& rest) {
  const std::size_t begin = rest.find_first_not_of(" \t\n");
  if (begin == std::string_view::npos) {
    rest = {};
    return {};
  }
  rest.remove_prefix(begin);
  const std::string_view word = rest.substr(0, rest.find_first_of(" \t\n"));
  rest.remove_prefix(word.size());
  return word;
}

std::optional<std::uint64_t> number(std::string_view word) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (word.empty() || error != std::errc{} || end != word.data() + word.size()) return std::nullopt;
  return value;
}

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::optional<NetDevice> parse_net_device(std::string_view line) {
  // The name ends at the last colon before the numbers: aliases have colons of their own.
  const std::size_t colon = line.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view name_part = line.substr(0, colon);
  NetDevice device;
  device.name = next_word(name_part);
  std::string_view rest = line.substr(colon + 1);
  constexpr std::size_t kColumns = 16;
  std::uint64_t columns[kColumns];
  for (std::uint64_t& column : columns) {
    const std::optional<std::uint64_t> value = number(next_word(rest));
    if (!value) return std::nullopt;
    column = *value;
  }
  device.receive_bytes = columns[0];
  device.receive_packets = columns[1];
  device.transmit_bytes = columns[8];
  device.transmit_packets = columns[9];
  if (device.name.empty()) return std::nullopt;
  return device;
}

}  // namespace

std::optional<ProcessStat> parse_process_stat(std::string_view text) {
  const std::size_t open = text.find('(');
  const std::size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) return std::nullopt;
  std::string_view head = text.substr(0, open);
  const std::optional<std::uint64_t> pid = number(next_word(head));
  std::string_view rest = text.substr(close + 1);
  const std::string_view state = next_word(rest);
  if (!pid || state.size() != 1) return std::nullopt;
  // proc(5) counts from 1; the state is field 3, user and system time are 14 and 15, and the start is 22.
  std::uint64_t cpu_ticks = 0;
  for (int field = 4; field < 22; ++field) {
    const std::string_view word = next_word(rest);
    if (word.empty()) return std::nullopt;
    if (field != 14 && field != 15) continue;
    const std::optional<std::uint64_t> ticks = number(word);
    if (!ticks) return std::nullopt;
    cpu_ticks += *ticks;
  }
  const std::optional<std::uint64_t> start = number(next_word(rest));
  if (!start) return std::nullopt;
  return ProcessStat{*pid, state.front(), cpu_ticks, *start};
}

std::optional<std::uint64_t> parse_schedstat(std::string_view text) {
  const std::optional<std::uint64_t> run_ns = number(next_word(text));
  if (!run_ns || !number(next_word(text)) || !number(next_word(text))) return std::nullopt;
  return run_ns;
}

std::vector<NetDevice> parse_net_devices(std::string_view text) {
  std::vector<NetDevice> devices;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (std::optional<NetDevice> device = parse_net_device(line)) devices.push_back(std::move(*device));
  }
  return devices;
}

std::optional<VmId> parse_qemu_command(std::string_view command_line) {
  bool first = true;
  bool uuid_follows = false;
  while (!command_line.empty()) {
    const std::string_view argument = command_line.substr(0, command_line.find('\0'));
    command_line.remove_prefix(std::min(argument.size() + 1, command_line.size()));
    if (first) {
      const std::size_t slash = argument.rfind('/');
      const std::string_view program = slash == std::string_view::npos ? argument : argument.substr(slash + 1);
      if (program.find("qemu") == std::string_view::npos) return std::nullopt;
      first = false;
    } else if (uuid_follows) {
      return VmId::parse(argument);
    } else {
      uuid_follows = argument == "-uuid";
    }
  }
  return std::nullopt;
}

bool is_vcpu_thread(std::string_view name) {
  if (!name.empty() && name.back() == '\n') name.remove_suffix(1);
  if (name == "ALL CPUs/TCG") return true;
  constexpr std::string_view kBegin = "CPU ";
  if (name.substr(0, kBegin.size()) != kBegin) return false;
  name.remove_prefix(kBegin.size());
  // The kernel keeps 15 characters, so a large index may cut the accelerator's name; the slash is always there.
  return all_digits(name.substr(0, name.find('/'))) && name.find('/') != std::string_view::npos;
}

std::optional<std::string> ProcTree::read(std::uint64_t pid, std::string_view rest, std::size_t size_max) const {
  std::filesystem::path path = root_ / std::to_string(pid);
  path /= rest;
  Result<std::string> text = read_file(path, size_max);
  if (!text) return std::nullopt;
  return std::move(text).value();
}

std::optional<ProcessStat> ProcTree::stat(std::uint64_t pid) const {
  const std::optional<std::string> text = read(pid, "stat", kSmallFileMax);
  std::optional<ProcessStat> stat = text ? parse_process_stat(*text) : std::nullopt;
  if (stat && stat->pid != pid) return std::nullopt;
  return stat;
}

std::optional<std::string> ProcTree::thread_name(std::uint64_t pid, std::uint64_t tid) const {
  return read(pid, "task/" + std::to_string(tid) + "/comm", kSmallFileMax);
}

std::optional<std::uint64_t> ProcTree::thread_run_ns(std::uint64_t pid, std::uint64_t tid) const {
  const std::optional<std::string> text = read(pid, "task/" + std::to_string(tid) + "/schedstat", kSmallFileMax);
  return text ? parse_schedstat(*text) : std::nullopt;
}

std::vector<NetDevice> ProcTree::net_devices(std::uint64_t pid) const {
  const std::optional<std::string> text = read(pid, "net/dev", kNetDevMax);
  return text ? parse_net_devices(*text) : std::vector<NetDevice>{};
}

namespace {

std::vector<std::uint64_t> numbered_entries(const std::filesystem::path& folder) {
  std::vector<std::uint64_t> ids;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  const std::filesystem::directory_iterator end;
  while (!error && entry != end) {
    const std::optional<std::uint64_t> id = number(entry->path().filename().string());
    if (id && *id < kThreadIdMax) ids.push_back(*id);
    entry.increment(error);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace

std::vector<std::uint64_t> ProcTree::threads(std::uint64_t pid) const {
  return numbered_entries(root_ / std::to_string(pid) / "task");
}

std::vector<ProcTree::QemuProcess> ProcTree::find_qemu_processes() const {
  std::vector<QemuProcess> found;
  for (const std::uint64_t pid : numbered_entries(root_)) {
    const std::optional<std::string> command_line = read(pid, "cmdline", kCommandLineMax);
    const std::optional<VmId> vm = command_line ? parse_qemu_command(*command_line) : std::nullopt;
    if (!vm) continue;
    if (const std::optional<ProcessStat> stat = this->stat(pid)) found.push_back(QemuProcess{*vm, *stat});
  }
  return found;
}

}  // namespace nodemeter
