// Any bytes as a trace line: no crash, and an accepted line means the same after it was written again.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "collectors/trace.h"

using namespace nodemeter;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Result<Sample> sample = parse_trace_line(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!sample) return 0;
  const std::string line = trace_line(*sample);
  const Result<Sample> again = parse_trace_line(line);
  if (!again || trace_line(*again) != line) std::abort();
  return 0;
}
