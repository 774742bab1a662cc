#include "collectors/libvirt_stats.h"

#include "platform/text.h"

namespace nodemeter {

namespace {

constexpr std::size_t kDevicesMax = 1024;
constexpr std::size_t kDeviceNameMax = 256;

struct Column {
  std::string_view name;
  std::size_t position;
};
constexpr Column kBlockColumns[] = {
    {"rd.bytes", kReadBytes}, {"wr.bytes", kWriteBytes}, {"rd.reqs", kReadOperations}, {"wr.reqs", kWriteOperations}};
constexpr Column kNetColumns[] = {{"rx.bytes", kReceiveBytes},
                                  {"tx.bytes", kTransmitBytes},
                                  {"rx.pkts", kReceivePackets},
                                  {"tx.pkts", kTransmitPackets}};

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (text.substr(0, prefix.size()) != prefix) return false;
  text.remove_prefix(prefix.size());
  return true;
}

template <std::size_t N>
void store(const Column (&columns)[N], std::string_view name, std::uint64_t value,
           std::array<Reading, kCountersMax>& counters) {
  for (const Column& column : columns) {
    if (column.name == name) counters[column.position] = value;
  }
}

}  // namespace

// Takes "N." off the front of `field`.
StatsCollector::Device* StatsCollector::find(std::map<std::uint64_t, Device>& devices, std::string_view& field) {
  const std::size_t dot = field.find('.');
  if (dot == std::string_view::npos) return nullptr;
  const std::optional<std::uint64_t> index = parse_u64(field.substr(0, dot));
  if (!index || (devices.size() >= kDevicesMax && !devices.contains(*index))) return nullptr;
  field.remove_prefix(dot + 1);
  return &devices[*index];
}

void StatsCollector::number(std::string_view field, std::uint64_t value) {
  if (field == "state.state") {
    stats_.state = value;
  } else if (field == "state.reason") {
    stats_.reason = value;
  } else if (field == "block.count") {
    stats_.block_count = value;
  } else if (take_prefix(field, "block.")) {
    Device* device = find(blocks_, field);
    if (device == nullptr) return;
    if (field == "capacity") device->capacity = value;
    store(kBlockColumns, field, value, device->counters);
  } else if (take_prefix(field, "net.")) {
    Device* device = find(nets_, field);
    if (device != nullptr) store(kNetColumns, field, value, device->counters);
  }
}

void StatsCollector::text(std::string_view field, std::string_view value) {
  Device* device = nullptr;
  if (take_prefix(field, "block.")) {
    device = find(blocks_, field);
  } else if (take_prefix(field, "net.")) {
    device = find(nets_, field);
  }
  if (device != nullptr && field == "name" && value.size() <= kDeviceNameMax) device->name = value;
}

DomainStats StatsCollector::take() {
  for (auto& [index, device] : blocks_) {
    if (device.name.empty()) continue;
    stats_.blocks.push_back(BlockStats{std::move(device.name), device.counters, device.capacity});
  }
  for (auto& [index, device] : nets_) {
    if (!device.name.empty()) stats_.nets.push_back(NetStats{std::move(device.name), device.counters});
  }
  blocks_.clear();
  nets_.clear();
  return std::exchange(stats_, DomainStats{});
}

}  // namespace nodemeter
