#include "store/meters.h"

#include <algorithm>

#include "platform/contract.h"

namespace nodemeter {

namespace {

constexpr std::uint64_t kMsPerHour = 3'600'000;
constexpr std::uint64_t kUsPerHour = 3'600'000'000;
constexpr std::uint64_t kBytesPerGb = 1'000'000'000;
constexpr std::uint64_t kBytesPerMib = 1'048'576;
constexpr std::uint64_t kPerTenThousand = 10'000;

Uuid id(std::string_view text) {
  const std::optional<Uuid> parsed = Uuid::parse(text);
  NM_ASSERT(parsed.has_value());
  return *parsed;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

std::array<MeterInfo, kMeterCount> make_catalogue() {
  using enum MeterIndex;
  constexpr std::uint64_t kGbHours = kBytesPerGb * kMsPerHour;
  static_assert(kGbHours == 3'600'000'000'000'000);
  return {{
      {kBaseVmHours, id("FAB6EB84-500B-4A09-A8CA-7358F8BBAEA5"), "base-vm-hours", "vcore hours", "vcore ms", 1,
       kMsPerHour, "Virtual cores allocated to VMs without a Windows licence, running or stopped."},
      {kWindowsVmHours, id("9CD92D4C-BAFD-4492-B278-BEDC2DE8232A"), "windows-vm-hours", "vcore hours", "vcore ms", 1,
       kMsPerHour, "Virtual cores allocated to VMs with a Windows licence, running or stopped."},
      {kVmHours, id("6DAB500F-A4FD-49C4-956D-229BB9C8C793"), "vm-hours", "VM hours", "VM ms", 1, kMsPerHour,
       "VMs allocated, whatever their size. Informative: the same time is in the two meters above."},
      {kCpuTime, id("2A54ED4B-8E7D-5923-9F49-3FCFEB177ED4"), "cpu-time", "core hours used", "us", 1, kUsPerHour,
       "Time that the virtual processors ran."},
      {kMemoryHours, id("EB5B9A8A-6EE8-5465-8798-FD04D7B00558"), "memory-hours", "GB hours", "MiB ms", kBytesPerMib,
       kGbHours, "Memory assigned while powered on."},
      {kDiskAllocatedHours, id("413A12C1-EB7B-5CA1-9BA8-9BFA584296A8"), "disk-allocated-hours", "GB hours", "MiB ms",
       kBytesPerMib, kGbHours, "Virtual size of the hard disks while allocated."},
      {kDiskReadBytes, id("C7DB86AC-AF44-545E-B0ED-9281B44456E2"), "disk-read-bytes", "GB", "bytes", 1, kBytesPerGb,
       "Bytes read from disks."},
      {kDiskWriteBytes, id("A1DBEFC8-63AC-56F8-890C-757B2F11D0F3"), "disk-write-bytes", "GB", "bytes", 1, kBytesPerGb,
       "Bytes written to disks."},
      {kDiskReadOperations, id("E839D1FA-20A4-5102-A8B2-7EA0F994603F"), "disk-read-operations", "10 000", "operations",
       1, kPerTenThousand, "Read requests to disks."},
      {kDiskWriteOperations, id("FC8BF575-CA84-5508-B0DA-DEDAC19168B6"), "disk-write-operations", "10 000",
       "operations", 1, kPerTenThousand, "Write requests to disks."},
      {kNetworkReceiveBytes, id("D79126DE-73C5-5838-A4E1-ED6D0D72CF6E"), "network-receive-bytes", "GB", "bytes", 1,
       kBytesPerGb, "Bytes that the guest received."},
      {kNetworkTransmitBytes, id("228E643D-BF3D-555F-9DB3-872CC582A9CF"), "network-transmit-bytes", "GB", "bytes", 1,
       kBytesPerGb, "Bytes that the guest sent."},
      {kNetworkReceivePackets, id("07E10380-9BFB-5FD2-B960-C4CCE8963663"), "network-receive-packets", "packets",
       "packets", 1, 1, "Packets that the guest received."},
      {kNetworkTransmitPackets, id("5F397A82-5349-537F-B09C-C45666C80086"), "network-transmit-packets", "packets",
       "packets", 1, 1, "Packets that the guest sent."},
  }};
}

}  // namespace

const std::array<MeterInfo, kMeterCount>& meter_catalogue() {
  static const std::array<MeterInfo, kMeterCount> catalogue = make_catalogue();
  return catalogue;
}

const MeterInfo* find_meter(const Uuid& id) {
  for (const MeterInfo& meter : meter_catalogue()) {
    if (meter.id == id) return &meter;
  }
  return nullptr;
}

const MeterInfo* find_meter(std::string_view id_or_name) {
  if (const std::optional<Uuid> id = Uuid::parse(id_or_name)) return find_meter(*id);
  for (const MeterInfo& meter : meter_catalogue()) {
    if (equal_ignoring_case(meter.name, id_or_name)) return &meter;
  }
  return nullptr;
}

}  // namespace nodemeter
