#include "agent/cli/live_text.h"

#include <algorithm>

#include "agent/cli/advice.h"
#include "agent/cli/table.h"
#include "collectors/source.h"
#include "platform/json_writer.h"
#include "platform/text.h"
#include "store/entry.h"

namespace nodemeter::cli {

namespace {

constexpr std::size_t kNameShownMax = 32;
constexpr std::size_t kReasonShownMax = 200;

// Less room than this many days of growth is a risk: an operator needs a working week to act.
constexpr std::uint64_t kForecastDaysMin = 7;
// Above this share of its bound the store is a risk even if its growth is not known.
constexpr std::uint64_t kStorePercentMax = 90;

std::uint64_t count_of(Milliseconds ms) { return static_cast<std::uint64_t>(std::max<std::int64_t>(0, ms.count())); }

// Retention begins to delete before the store is full.
bool retention_holds(const LiveNode& node) {
  return node.store_retained_bytes != 0 && node.store_retained_bytes < node.store_size_max_bytes;
}

std::string counted(std::uint64_t n, const std::string& one, const std::string& many) {
  return std::to_string(n) + " " + (n == 1 ? one : many);
}

void judge_store(const LiveNode& node, Verdict& verdict) {
  const std::optional<std::uint64_t> days = days_left(node);
  if (days && *days < kForecastDaysMin) {
    verdict.reasons.push_back("the journal is full in about " + counted(*days, "day", "days") +
                              ": raise state.size_max or restore delivery");
  } else if (node.store_size_max_bytes != 0 &&
             node.store_used_bytes / (node.store_size_max_bytes / 100 + 1) >= kStorePercentMax) {
    verdict.reasons.push_back("the journal fills " + size_text(node.store_used_bytes) + " of " +
                              size_text(node.store_size_max_bytes) + ": raise state.size_max or restore delivery");
  }
}

std::string forecast_text(const LiveNode& node) {
  if (const std::optional<std::uint64_t> days = days_left(node)) {
    return "full in " + counted(*days, "day", "days") + " at this rate";
  }
  if (retention_holds(node)) return "retention keeps it at about " + size_text(node.store_retained_bytes);
  return "growth not known yet";
}

std::string rate_text(const std::optional<std::uint64_t>& bytes_per_s) {
  if (!bytes_per_s) return "-";
  constexpr std::pair<std::uint64_t, const char*> kUnits[] = {
      {1'000'000'000, "GB/s"}, {1'000'000, "MB/s"}, {1'000, "kB/s"}};
  for (const auto& [factor, unit] : kUnits) {
    if (*bytes_per_s < factor) continue;
    const std::uint64_t tenths = *bytes_per_s / (factor / 10);
    return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " " + unit;
  }
  return std::to_string(*bytes_per_s) + " B/s";
}

std::uint64_t traffic(const std::optional<std::uint64_t>& a, const std::optional<std::uint64_t>& b) {
  return a.value_or(0) + b.value_or(0);
}

Table vm_table(const LiveSnapshot& snapshot, VmOrder order) {
  Table table({{"VM"},
               {"NAME"},
               {"SUBSCRIPTION"},
               {"STATE"},
               {"VCORES", true},
               {"CPU %", true},
               {"MEMORY", true},
               {"READ", true},
               {"WRITE", true},
               {"RECEIVE", true},
               {"TRANSMIT", true},
               {"VCORE H", true},
               {"MARKS"}});
  for (const LiveVm* vm : ordered(snapshot, order)) {
    const std::string owner = vm->owner_known ? vm->subscription.text() : "(unowned)";
    table.add({vm->vm.text(), display_text(vm->name, kNameShownMax), owner + (vm->billable ? "" : " not billed"),
               power_word(vm->power), std::to_string(vm->vcores), cpu_text(*vm),
               std::to_string(vm->memory_mib) + " MiB", rate_text(vm->disk_read_bytes_per_s),
               rate_text(vm->disk_write_bytes_per_s), rate_text(vm->network_receive_bytes_per_s),
               rate_text(vm->network_transmit_bytes_per_s), decimal_text(vm->hour_vcore_ms, 1, 3'600'000),
               nodemeter::status_text(vm->status)});
  }
  return table;
}

std::string coloured(const std::string& line, bool safe, bool colour) {
  return colour ? (safe ? "\x1b[32m" : "\x1b[31m") + line + "\x1b[0m" : line;
}

}  // namespace

Milliseconds sample_age(const LiveNode& node, const ClockReading& now) {
  // An agent whose clock runs faster than ours (a trial) is ahead of us: its samples are fresh.
  return std::max(Milliseconds{0}, now.monotonic - node.sampled_monotonic);
}

const char* power_word(std::uint8_t power) {
  switch (static_cast<Power>(power)) {
    case Power::kRunning: return "running";
    case Power::kPaused: return "paused";
    case Power::kOff: return "off";
  }
  return "unknown";
}

std::string cpu_text(const LiveVm& vm) {
  if (!vm.cpu_permille) return "-";
  return std::to_string(*vm.cpu_permille / 10) + "." + std::to_string(*vm.cpu_permille % 10);
}

std::vector<const LiveVm*> ordered(const LiveSnapshot& snapshot, VmOrder order) {
  std::vector<const LiveVm*> vms;
  for (const LiveVm& vm : snapshot.vms) vms.push_back(&vm);
  const auto weight = [order](const LiveVm& vm) -> std::uint64_t {
    switch (order) {
      case VmOrder::kName: return 0;
      case VmOrder::kCpu: return vm.cpu_permille.value_or(0);
      case VmOrder::kMemory: return vm.memory_mib;
      case VmOrder::kDisk: return traffic(vm.disk_read_bytes_per_s, vm.disk_write_bytes_per_s);
      case VmOrder::kNetwork: return traffic(vm.network_receive_bytes_per_s, vm.network_transmit_bytes_per_s);
    }
    return 0;
  };
  std::stable_sort(vms.begin(), vms.end(), [&](const LiveVm* a, const LiveVm* b) {
    if (weight(*a) != weight(*b)) return weight(*a) > weight(*b);
    return a->name < b->name;
  });
  return vms;
}

std::uint64_t unowned_vms(const LiveSnapshot& snapshot) {
  return static_cast<std::uint64_t>(
      std::count_if(snapshot.vms.begin(), snapshot.vms.end(), [](const LiveVm& vm) { return !vm.owner_known; }));
}

std::string headline(const Verdict& verdict, const LiveSnapshot& snapshot) {
  if (!verdict.safe) return "billing at risk: " + verdict.reasons.front();
  return "billing safe: " + counted(snapshot.vms.size() + snapshot.vms_left_out, "VM", "VMs") + " metered" +
         (snapshot.node.uploading ? ", delivery works" : ", kept on this node (no aggregator is configured)");
}

std::uint64_t backlog_of(const LiveNode& node) {
  return node.last_sequence > node.acknowledged ? node.last_sequence - node.acknowledged : 0;
}

std::optional<std::uint64_t> days_left(const LiveNode& node) {
  if (node.store_bytes_per_day == 0 || retention_holds(node)) return std::nullopt;
  if (node.store_used_bytes >= node.store_size_max_bytes) return 0;
  return (node.store_size_max_bytes - node.store_used_bytes) / node.store_bytes_per_day;
}

Milliseconds stale_after(const LiveNode& node) {
  const auto interval = static_cast<std::int64_t>(std::min<std::uint64_t>(node.sample_interval_ms, 3'600'000));
  return Milliseconds{std::max<std::int64_t>(3 * interval, 5'000)};
}

std::string age_text(Milliseconds age) {
  const std::int64_t s = std::max<std::int64_t>(0, age.count() / 1000);
  const auto two = [](std::int64_t big, const char* big_unit, std::int64_t small, const char* small_unit) {
    std::string text = std::to_string(big) + " " + big_unit;
    if (small != 0) text += " " + std::to_string(small) + " " + small_unit;
    return text;
  };
  if (s < 60) return std::to_string(s) + " s";
  if (s < 3600) return two(s / 60, "min", s % 60, "s");
  if (s < 86'400) return two(s / 3600, "h", s % 3600 / 60, "min");
  return two(s / 86'400, "d", s % 86'400 / 3600, "h");
}

Verdict judge(const LiveSnapshot& snapshot, const ClockReading& now) {
  const LiveNode& node = snapshot.node;
  Verdict verdict;
  if (node.state != "metering") {
    verdict.reasons.push_back(display_text(node.state, kReasonShownMax) +
                              (node.reason.empty() ? "" : ": " + display_text(node.reason, kReasonShownMax)));
  }
  if (node.state == "metering" && !node.reason.empty()) {
    verdict.reasons.push_back(display_text(node.reason, kReasonShownMax));
  }
  if (snapshot.vms_left_out != 0) {
    verdict.notes.push_back(counted(snapshot.vms_left_out, "VM is", "VMs are") + " metered but not shown here");
  }
  if (sample_age(node, now) > stale_after(node)) {
    verdict.reasons.push_back("the last sample is " + age_text(sample_age(node, now)) + " old (every " +
                              age_text(Milliseconds{static_cast<std::int64_t>(node.sample_interval_ms)}) +
                              " expected): look at the log of the agent");
  }
  if (node.simulated) verdict.reasons.push_back("the source is simulated: nothing here is a real VM");
  if (!node.clock_synchronised) {
    verdict.reasons.push_back("the clock of this node is not synchronised: " + advice().time_service);
  }
  if (node.uploading && node.upload_state == "held") {
    verdict.reasons.push_back("delivery is held until an operator acts: " +
                              display_text(node.upload_reason, kReasonShownMax));
  }
  if (node.parked != 0) {
    verdict.reasons.push_back(
        counted(node.parked, "entry was", "entries were") +
        " refused by the aggregator and put aside: see nodemeter journal info, then journal unpark");
  }
  judge_store(node, verdict);
  if (node.uploading && node.upload_state == "backing off") {
    verdict.notes.push_back("delivery waits and is retried: " + display_text(node.upload_reason, kReasonShownMax));
  }
  if (node.gaps_today != 0) {
    verdict.notes.push_back(counted(node.gaps_today, "gap", "gaps") + " recorded today: see nodemeter gaps");
  }
  const std::uint64_t unowned = unowned_vms(snapshot);
  if (unowned != 0) {
    verdict.notes.push_back(counted(unowned, "VM has", "VMs have") +
                            " no known owner: their usage falls to the default subscription");
  }
  if (!node.owners_fault.empty()) {
    verdict.reasons.push_back("the owners file cannot be used, the owners before stay in force: " +
                              display_text(node.owners_fault, kReasonShownMax));
  }
  if (node.owner_conflicts != 0) {
    verdict.notes.push_back(counted(node.owner_conflicts, "VM has", "VMs have") +
                            " another owner by the hypervisor than by the owners file, which decides");
  }
  verdict.safe = verdict.reasons.empty();
  return verdict;
}

std::string status_text(const LiveSnapshot& snapshot, const ClockReading& now, bool colour) {
  const LiveNode& node = snapshot.node;
  const Verdict verdict = judge(snapshot, now);
  std::string text = coloured(headline(verdict, snapshot), verdict.safe, colour) + "\n";
  for (std::size_t i = 1; i < verdict.reasons.size(); ++i) text += "also at risk: " + verdict.reasons[i] + "\n";
  for (const std::string& note : verdict.notes) text += "note: " + note + "\n";
  const auto line = [&](const std::string& name, const std::string& value) {
    text += name + std::string(name.size() < 18 ? 18 - name.size() : 1, ' ') + value + "\n";
  };
  const std::uint64_t backlog = backlog_of(node);
  const std::string process = node.process_id == 0 ? "" : ", process " + std::to_string(node.process_id);
  line("node", display_text(node.node) + " (nodemeter " + display_text(node.version) + process + ", up " +
                   age_text(now.utc - node.started) + ")");
  line("last sample", age_text(sample_age(node, now)) + " ago, took " + std::to_string(node.sample_duration_us / 1000) +
                          " ms, every " +
                          duration_text(Milliseconds{static_cast<std::int64_t>(node.sample_interval_ms)}));
  line("source", display_text(node.source) + (node.simulated ? " (simulated)" : ""));
  line("clock", (node.clock_synchronised ? "synchronised" : "not synchronised") + std::string(", moved ") +
                    std::to_string(node.clock_offset_moved_ms) + " ms at the last sample");
  line("VMs", std::to_string(snapshot.vms.size() + snapshot.vms_left_out));
  if (node.uploading) {
    std::string waiting = counted(backlog, "entry", "entries");
    if (backlog != 0 && node.oldest_unacknowledged != UtcTime{}) {
      waiting += ", oldest from " + iso_time(node.oldest_unacknowledged, true);
    }
    line("backlog", waiting);
    line("acknowledged", std::to_string(node.acknowledged) + " of " + std::to_string(node.last_sequence));
    line("delivery", display_text(node.upload_state) +
                         (node.upload_reason.empty() ? "" : ": " + display_text(node.upload_reason, kReasonShownMax)));
  } else {
    line("backlog", "none (no aggregator is configured)");
    line("last entry", std::to_string(node.last_sequence));
  }
  line("parked", counted(node.parked, "entry", "entries"));
  line("journal",
       size_text(node.store_used_bytes) + " of " + size_text(node.store_size_max_bytes) +
           (node.store_bytes_per_day != 0 ? ", grows by " + size_text(node.store_bytes_per_day) + " a day, " : ", ") +
           forecast_text(node));
  line("gaps today", counted(node.gaps_today, "gap", "gaps") + ", " +
                         age_text(Milliseconds{static_cast<std::int64_t>(node.gap_ms_today)}));
  return text;
}

std::string status_json(const LiveSnapshot& snapshot, const ClockReading& now) {
  const LiveNode& node = snapshot.node;
  const Verdict verdict = judge(snapshot, now);
  JsonWriter json;
  const auto list = [&](std::string_view name, const std::vector<std::string>& values) {
    json.key(name);
    json.begin_array();
    for (const std::string& value : values) json.text(value);
    json.end_array();
  };
  json.begin_object();
  json.flag("billingSafe", verdict.safe);
  list("reasons", verdict.reasons);
  list("notes", verdict.notes);
  json.text("node", node.node);
  json.text("version", node.version);
  json.text("source", node.source);
  json.flag("simulated", node.simulated);
  json.text("state", node.state);
  json.text("reason", node.reason);
  json.number("processId", node.process_id);
  json.text("started", iso_time(node.started));
  json.text("sampled", iso_time(node.sampled));
  json.number("sampleAgeMs", count_of(sample_age(node, now)));
  json.number("sampleIntervalMs", node.sample_interval_ms);
  json.number("sampleDurationUs", node.sample_duration_us);
  json.flag("clockSynchronised", node.clock_synchronised);
  json.signed_number("clockMovedMs", node.clock_offset_moved_ms);
  json.number("vms", std::uint64_t{snapshot.vms.size() + snapshot.vms_left_out});
  json.text("epoch", node.epoch.text());
  json.number("lastSequence", node.last_sequence);
  json.number("acknowledgedSequence", node.acknowledged);
  json.flag("uploading", node.uploading);
  json.text("uploadState", node.upload_state);
  json.text("uploadReason", node.upload_reason);
  json.number("backlog", node.uploading ? backlog_of(node) : std::uint64_t{0});
  json.key("oldestUnacknowledged");
  if (node.oldest_unacknowledged == UtcTime{}) {
    json.null();
  } else {
    json.text(iso_time(node.oldest_unacknowledged));
  }
  json.number("parked", node.parked);
  json.number("journalUsedBytes", node.store_used_bytes);
  json.number("journalSizeMaxBytes", node.store_size_max_bytes);
  json.number("journalBytesPerDay", node.store_bytes_per_day);
  json.number("journalDaysLeft", days_left(node));
  json.number("journalRetainedBytes", retention_holds(node) ? std::optional(node.store_retained_bytes) : std::nullopt);
  json.number("gapsToday", node.gaps_today);
  json.number("gapMsToday", node.gap_ms_today);
  json.text("ownersFault", node.owners_fault);
  json.number("ownersListed", node.owners_listed);
  json.number("ownerConflicts", node.owner_conflicts);
  json.number("vmsWithoutOwner", unowned_vms(snapshot));
  json.end_object();
  return json.take() + "\n";
}

std::string vms_text(const LiveSnapshot& snapshot, VmOrder order, bool colour) {
  return vm_table(snapshot, order).text(colour);
}

std::string vms_json(const LiveSnapshot& snapshot) {
  JsonWriter json;
  json.begin_array();
  for (const LiveVm& vm : snapshot.vms) {
    json.begin_object();
    json.text("vm", vm.vm.text());
    json.text("name", vm.name);
    json.flag("ownerKnown", vm.owner_known);
    json.text("subscription", vm.subscription.text());
    json.text("tenant", vm.tenant.text());
    json.flag("billable", vm.billable);
    json.text("state", power_word(vm.power));
    json.number("vcores", std::uint64_t{vm.vcores});
    json.number("memoryMib", vm.memory_mib);
    json.number("diskMib", vm.disk_mib);
    json.number("cpuPermilleOfOneCore", vm.cpu_permille);
    json.number("diskReadBytesPerSecond", vm.disk_read_bytes_per_s);
    json.number("diskWriteBytesPerSecond", vm.disk_write_bytes_per_s);
    json.number("networkReceiveBytesPerSecond", vm.network_receive_bytes_per_s);
    json.number("networkTransmitBytesPerSecond", vm.network_transmit_bytes_per_s);
    json.number("hourVcoreMs", vm.hour_vcore_ms);
    json.key("hourVcoreHours");
    json.raw(decimal_text(vm.hour_vcore_ms, 1, 3'600'000));
    json.number("hourGapMs", vm.hour_gap_ms);
    json.text("status", nodemeter::status_text(vm.status));
    json.end_object();
  }
  json.end_array();
  return json.take() + "\n";
}

}  // namespace nodemeter::cli
