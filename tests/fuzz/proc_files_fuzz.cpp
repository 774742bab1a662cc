// Any bytes as a file of /proc: no crash.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "collectors/libvirt_stats.h"
#include "collectors/proc_files.h"

using namespace nodemeter;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  parse_process_stat(text);
  parse_schedstat(text);
  parse_qemu_command(text);
  is_vcpu_thread(text);
  for (const NetDevice& device : parse_net_devices(text)) {
    if (device.name.empty()) std::abort();
  }
  StatsCollector collector;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    collector.number(line, size);
    collector.text(line, line);
    rest.remove_prefix(line.size() < rest.size() ? line.size() + 1 : line.size());
  }
  for (const BlockStats& disk : collector.take().blocks) {
    if (disk.target.empty()) std::abort();
  }
  return 0;
}
