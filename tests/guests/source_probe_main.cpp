// Runs the libvirt source against a daemon and prints each sample as a line of a trace.
//
//   source_probe URI INTERVAL_MS COUNT [VM_DEADLINE_MS]
//
// Samples early when something arrives. Each line is followed, on standard error, by how long the read took and what it
// cost. COUNT 0: until standard output closes.

#include <sys/resource.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <string>
#include <vector>

#include "collectors/libvirt_source.h"
#include "collectors/trace.h"
#include "platform/text.h"

using namespace nodemeter;

namespace {

double cpu_ms() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto in_ms = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_usec) / 1e3;
  };
  return in_ms(usage.ru_utime) + in_ms(usage.ru_stime);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() < 3) {
    std::fputs("usage: source_probe URI INTERVAL_MS COUNT [VM_DEADLINE_MS]\n", stderr);
    return 2;
  }
  const Milliseconds interval{static_cast<std::int64_t>(parse_u64(arguments[1]).value_or(1000))};
  const std::uint64_t count = parse_u64(arguments[2]).value_or(1);
  std::mutex mutex;
  std::condition_variable wake;
  bool urgent = false;
  LibvirtOptions options;
  options.uri = arguments[0];
  if (arguments.size() > 3) {
    options.source.vm_deadline = Milliseconds{static_cast<std::int64_t>(parse_u64(arguments[3]).value_or(500))};
  }
  options.on_urgency = [&] {
    const std::lock_guard lock(mutex);
    urgent = true;
    wake.notify_all();
  };
  const std::unique_ptr<Clock> clock = system_clock();
  const std::unique_ptr<Log> log = standard_error_log(LogLevel::kInfo, false);
  const std::unique_ptr<Source> source = open_libvirt_source(options, *clock, *log);
  for (std::uint64_t i = 0; count == 0 || i < count; ++i) {
    const auto began = std::chrono::steady_clock::now();
    const double cpu_before = cpu_ms();
    const Result<Sample> sample = source->read_all();
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - began);
    std::fprintf(stderr, "read took_us=%lld cpu_ms=%.2f %s\n", static_cast<long long>(took.count()),
                 cpu_ms() - cpu_before, sample ? "" : sample.error().message.c_str());
    if (sample && std::printf("%s\n", trace_line(*sample).c_str()) < 0) break;
    if (std::fflush(stdout) != 0) break;
    std::unique_lock lock(mutex);
    wake.wait_until(lock, began + interval, [&] { return urgent; });
    urgent = false;
    source->take_urgency();
  }
  return 0;
}
