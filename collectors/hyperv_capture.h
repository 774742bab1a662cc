// What a Hyper-V host shows, in one file: for support, and so that a host that is met for the first time becomes a
// test.
//
// A capture holds every row and every raw value that the sampler asks for, twice: two passes tell which counters move.
// Unless asked for, it holds nothing that tenants wrote: notes are left out, and each word of names and paths that is
// not Windows' or Hyper-V's own is replaced by another, the same everywhere, so that everything still fits together.
// GUIDs, numbers and times stay. Plain values, pure functions.

#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "collectors/hyperv_reader.h"

namespace nodemeter {

struct HypervCapture {
  struct Pass {
    MonotonicTime taken_at{};
    std::vector<CounterColumn> columns;  // In the order of hyperv_counter_paths(); empty: not readable.
    WmiTables tables;
    std::vector<std::string> faults;  // What could not be read, and why.
  };
  std::vector<Pass> passes;
  std::map<std::string, std::uint64_t> sizes;  // Of image files.
};

// Reads `reader` once.
HypervCapture::Pass capture_pass(HypervReader& reader, const Clock& clock);
// Two passes of this host, a second apart, and the sizes of its image files. kUnsupported: no Hyper-V host.
Result<HypervCapture> capture_this_host();

HypervCapture without_tenant_data(const HypervCapture& capture);

// JSON, one value a line.
std::string capture_text(const HypervCapture& capture);
// kInvalidInput: not such a file; the message names the line. kUnsupported: of another version.
Result<HypervCapture> parse_capture(std::string_view text);

// Answers as the captured host did in its first pass; next() goes on to the pass after it.
class CaptureReader final : public HypervReader {
 public:
  // `clock` must outlive the reader.
  CaptureReader(HypervCapture capture, const Clock& clock) : capture_(std::move(capture)), clock_(clock) {}
  void next() { ++pass_; }

  Result<Rows> rows(const std::vector<WmiQuery>& queries) override;
  Result<Counters> counters() override;
  std::map<std::string, std::uint64_t> disk_sizes(const std::vector<std::string>& paths) override;

 private:
  [[nodiscard]] const HypervCapture::Pass* pass() const;
  const HypervCapture capture_;
  const Clock& clock_;
  std::size_t pass_ = 0;
};

}  // namespace nodemeter
