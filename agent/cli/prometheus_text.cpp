#include "agent/cli/prometheus_text.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "agent/cli/live_text.h"
#include "collectors/source.h"
#include "platform/text.h"

namespace nodemeter::cli {

namespace {

using Labels = std::vector<std::pair<std::string_view, std::string>>;

constexpr std::uint64_t kBytesPerMib = 1'048'576;

// A label's value: what a terminal may show is valid UTF-8 on one line, and the format's own marks are escaped.
std::string quoted(std::string_view value) {
  std::string text = "\"";
  for (const char c : display_text(value)) {
    if (c == '\\' || c == '"') text.push_back('\\');
    text.push_back(c);
  }
  return text + "\"";
}

class Exposition {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    text_.append("# HELP ").append(name).append(" ").append(help).append("\n");
    text_.append("# TYPE ").append(name).append(" ").append(type).append("\n");
  }

  void sample(const Labels& labels, const std::string& value) {
    text_ += name_;
    const char* before = "{";
    for (const auto& [name, text] : labels) {
      text_.append(before).append(name).append("=").append(quoted(text));
      before = ",";
    }
    text_.append(labels.empty() ? " " : "} ").append(value).append("\n");
  }

  void gauge(std::string_view name, std::string_view help, const std::string& value) {
    family(name, "gauge", help);
    sample({}, value);
  }
  void gauge(std::string_view name, std::string_view help, std::uint64_t value) {
    gauge(name, help, std::to_string(value));
  }
  void flag(std::string_view name, std::string_view help, bool value) {
    gauge(name, help, std::string(value ? "1" : "0"));
  }

  // One of `states` is 1, the others 0.
  void states(std::string_view name, std::string_view help, std::string_view present,
              std::initializer_list<std::string_view> all) {
    family(name, "gauge", help);
    for (const std::string_view state : all) sample({{"state", std::string(state)}}, state == present ? "1" : "0");
  }

  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::string text_;
  std::string name_;
};

std::string seconds(std::int64_t ms) {
  const auto size = static_cast<std::uint64_t>(ms < 0 ? -ms : ms);
  return (ms < 0 ? "-" : "") + decimal_text(size, 1, 1000);
}
std::string seconds(UtcTime t) { return seconds(t.time_since_epoch().count()); }
std::string seconds(std::uint64_t ms) { return decimal_text(ms, 1, 1000); }

void add_agent(Exposition& out, const LiveSnapshot& snapshot, const ClockReading& now) {
  const LiveNode& node = snapshot.node;
  const Verdict verdict = judge(snapshot, now);
  out.flag("nodemeter_up", "Whether an agent is running on this node.", true);
  out.family("nodemeter_agent_info", "gauge", "The agent: node, version, source, and epoch of its journal.");
  out.sample({{"node", node.node}, {"version", node.version}, {"source", node.source}, {"epoch", node.epoch.text()}},
             "1");
  out.flag("nodemeter_billing_safe", "1 if nothing endangers billing on this node now.", verdict.safe);
  out.gauge("nodemeter_billing_risks", "How many things endanger it: nodemeter status names them.",
            std::uint64_t{verdict.reasons.size()});
  out.states("nodemeter_agent_state", "What the agent does: 1 for the present state.", node.state,
             {"metering", "starting", "source down", "disk full", "failed"});
  out.gauge("nodemeter_start_timestamp_seconds", "When the agent was started, Unix time.", seconds(node.started));
  out.gauge("nodemeter_last_sample_timestamp_seconds", "When the last sample was committed, Unix time.",
            seconds(node.sampled));
  out.gauge("nodemeter_sample_interval_seconds", "Time between two samples.", seconds(node.sample_interval_ms));
  out.gauge("nodemeter_sample_duration_seconds", "What the last sample took: reading, metering, committing.",
            decimal_text(node.sample_duration_us, 1, 1'000'000));
  out.flag("nodemeter_clock_synchronised", "1 if the operating system believes its clock to be set.",
           node.clock_synchronised);
  out.gauge("nodemeter_clock_moved_seconds", "By how much the wall clock moved against time since boot.",
            seconds(node.clock_offset_moved_ms));
  out.flag("nodemeter_simulated", "1 if the source is simulated or replayed.", node.simulated);
  out.gauge("nodemeter_vms", "VMs allocated on this node.", std::uint64_t{snapshot.vms.size() + snapshot.vms_left_out});
  out.gauge("nodemeter_vms_left_out", "VMs that are metered but have no series here.",
            std::uint64_t{snapshot.vms_left_out});
  out.gauge("nodemeter_gaps_today", "Gaps recorded since midnight UTC.", node.gaps_today);
  out.gauge("nodemeter_gaps_today_seconds", "Time that was not observed since midnight UTC.",
            seconds(node.gap_ms_today));
}

void add_journal(Exposition& out, const LiveNode& node) {
  out.gauge("nodemeter_journal_last_sequence", "Sequence number of the newest entry.", node.last_sequence);
  out.gauge("nodemeter_journal_used_bytes", "Bytes of the journal that are in use.", node.store_used_bytes);
  out.gauge("nodemeter_journal_size_max_bytes", "Bytes that it may grow to.", node.store_size_max_bytes);
  if (node.store_bytes_per_day != 0) {
    out.gauge("nodemeter_journal_growth_daily_bytes", "Bytes by which it grows in a day, over the last days.",
              node.store_bytes_per_day);
  }
  if (const std::optional<std::uint64_t> days = days_left(node)) {
    out.gauge("nodemeter_journal_full_in_seconds", "Time until it is full at that rate, in whole days.",
              *days * 86'400);
  }
  out.flag("nodemeter_delivery_configured", "1 if entries are delivered to an aggregator.", node.uploading);
  if (!node.uploading) return;
  out.gauge("nodemeter_delivery_acknowledged_sequence", "Everything up to this sequence number is acknowledged.",
            node.acknowledged);
  out.gauge("nodemeter_delivery_backlog_entries", "Entries that are not acknowledged.", backlog_of(node));
  out.gauge("nodemeter_delivery_parked_entries", "Entries that the aggregator refused and that were put aside.",
            node.parked);
  if (node.oldest_unacknowledged != UtcTime{}) {
    out.gauge("nodemeter_delivery_oldest_timestamp_seconds",
              "When the oldest entry that is not acknowledged was reported, Unix time.",
              seconds(node.oldest_unacknowledged));
  }
  out.states("nodemeter_delivery_state", "What delivery does: 1 for the present state.", node.upload_state,
             {"idle", "sending", "writing", "backing off", "held"});
}

void for_each_vm(Exposition& out, const LiveSnapshot& snapshot, std::string_view name, std::string_view help,
                 const std::function<std::string(const LiveVm&)>& value) {
  out.family(name, "gauge", help);
  for (const LiveVm& vm : snapshot.vms) out.sample({{"vm", vm.vm.text()}}, value(vm));
}

void add_levels(Exposition& out, const LiveSnapshot& snapshot) {
  const auto word = [](bool flag) { return std::string(flag ? "true" : "false"); };
  out.family("nodemeter_vm_info", "gauge", "The VM's name and owner: join it with the other series on vm.");
  for (const LiveVm& vm : snapshot.vms) {
    out.sample({{"vm", vm.vm.text()},
                {"name", vm.name},
                {"subscription", vm.owner_known ? vm.subscription.text() : ""},
                {"tenant", vm.owner_known ? vm.tenant.text() : ""},
                {"billable", word(vm.billable)},
                {"windows_licence", word(vm.windows_licence)}},
               "1");
  }
  const auto each = [&](std::string_view name, std::string_view help,
                        const std::function<std::string(const LiveVm&)>& value) {
    for_each_vm(out, snapshot, name, help, value);
  };
  each("nodemeter_vm_running", "1 if the VM runs; 0 if it is paused or off.",
       [](const LiveVm& vm) { return std::string(static_cast<Power>(vm.power) == Power::kRunning ? "1" : "0"); });
  each("nodemeter_vm_vcores", "vcores allocated.", [](const LiveVm& vm) { return std::to_string(vm.vcores); });
  each("nodemeter_vm_memory_bytes", "Memory assigned.",
       [](const LiveVm& vm) { return decimal_text(vm.memory_mib, kBytesPerMib, 1); });
  each("nodemeter_vm_disk_bytes", "Virtual size of all hard disks.",
       [](const LiveVm& vm) { return decimal_text(vm.disk_mib, kBytesPerMib, 1); });
  each("nodemeter_vm_hour_gap_seconds", "Time of this hour in which the VM was here and is not proven to be used.",
       [](const LiveVm& vm) { return seconds(vm.hour_gap_ms); });
}

struct Register {
  MeterIndex meter;
  std::string_view name;
  std::uint64_t multiplier;
  std::uint64_t divisor;
  std::string_view help;
};

constexpr Register kRegisters[] = {
    {MeterIndex::kBaseVmHours, "nodemeter_vm_vcore_seconds_total", 1, 1000,
     "Allocated time times vcores: what base-vm-hours and windows-vm-hours bill."},
    {MeterIndex::kVmHours, "nodemeter_vm_allocated_seconds_total", 1, 1000, "Allocated time."},
    {MeterIndex::kCpuTime, "nodemeter_vm_cpu_seconds_total", 1, 1'000'000, "CPU time of the vcpus."},
    {MeterIndex::kMemoryHours, "nodemeter_vm_memory_byte_seconds_total", kBytesPerMib, 1000,
     "Memory assigned while powered on, times time."},
    {MeterIndex::kDiskAllocatedHours, "nodemeter_vm_disk_byte_seconds_total", kBytesPerMib, 1000,
     "Virtual size of all hard disks, times time."},
    {MeterIndex::kDiskReadBytes, "nodemeter_vm_disk_read_bytes_total", 1, 1, "Bytes read from disks."},
    {MeterIndex::kDiskWriteBytes, "nodemeter_vm_disk_written_bytes_total", 1, 1, "Bytes written to disks."},
    {MeterIndex::kDiskReadOperations, "nodemeter_vm_disk_read_operations_total", 1, 1, "Read operations of disks."},
    {MeterIndex::kDiskWriteOperations, "nodemeter_vm_disk_write_operations_total", 1, 1, "Write operations of disks."},
    {MeterIndex::kNetworkReceiveBytes, "nodemeter_vm_network_receive_bytes_total", 1, 1,
     "Bytes that the guest received."},
    {MeterIndex::kNetworkTransmitBytes, "nodemeter_vm_network_transmit_bytes_total", 1, 1,
     "Bytes that the guest transmitted."},
    {MeterIndex::kNetworkReceivePackets, "nodemeter_vm_network_receive_packets_total", 1, 1,
     "Packets that the guest received."},
    {MeterIndex::kNetworkTransmitPackets, "nodemeter_vm_network_transmit_packets_total", 1, 1,
     "Packets that the guest transmitted."},
};
static_assert(std::size(kRegisters) == kMeterCount - 1);  // Both vcore meters are one.

}  // namespace

std::string prometheus_text(const LiveSnapshot& snapshot, const ClockReading& now) {
  Exposition out;
  add_agent(out, snapshot, now);
  add_journal(out, snapshot.node);
  if (snapshot.vms.empty()) return out.take();
  add_levels(out, snapshot);
  for (const Register& shown : kRegisters) {
    const auto index = static_cast<std::size_t>(shown.meter);
    const auto known = [&](const LiveVm& vm) { return vm.registers[index].has_value(); };
    if (std::none_of(snapshot.vms.begin(), snapshot.vms.end(), known)) continue;
    out.family(shown.name, "counter", shown.help);
    for (const LiveVm& vm : snapshot.vms) {
      if (!known(vm)) continue;  // Absent is not zero.
      out.sample({{"vm", vm.vm.text()}}, decimal_text(*vm.registers[index], shown.multiplier, shown.divisor));
    }
  }
  return out.take();
}

std::string prometheus_absent_text() {
  Exposition out;
  out.flag("nodemeter_up", "Whether an agent is running on this node.", false);
  return out.take();
}

}  // namespace nodemeter::cli
