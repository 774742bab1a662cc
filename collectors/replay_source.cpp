#include "collectors/replay_source.h"

#include <algorithm>
#include <fstream>
#include <string>

#include "collectors/sample_moves.h"
#include "collectors/trace.h"
#include "platform/contract.h"

namespace nodemeter {

namespace {

class ReplaySource final : public Source {
 public:
  ReplaySource(std::ifstream file, std::filesystem::path path, const Clock& clock)
      : file_(std::move(file)), path_(std::move(path)), clock_(clock) {}

  // Makes the next line the one that is not due yet.
  Status advance() {
    next_.reset();
    std::string line;
    do {
      line.clear();
      char c = 0;
      while (file_.get(c) && c != '\n') {
        if (line.size() == kTraceLineMax) return wrong("is too long");
        line.push_back(c);
      }
      if (line.empty() && !file_) return Done{};
      ++line_number_;
      if (!line.empty() && line.back() == '\r') line.pop_back();
    } while (line.empty());
    Result<Sample> sample = parse_trace_line(line);
    if (!sample) return Error{sample.error().code, where() + sample.error().message};
    next_ = std::move(*sample);
    return Done{};
  }

  Result<Sample> read_all() override {
    const ClockReading now = clock_.now();
    const bool first = !begun_;
    if (first) {
      begun_ = now;
      boot_ = next_ ? next_->boot : BootId{};
      offset_ = next_ ? now.monotonic - next_->taken_at : Milliseconds{};
    }
    bool unbroken = !first;
    std::vector<VmEvent> events;
    bool fresh = false;
    while (next_ && next_->taken_at + offset_ <= now.monotonic) {
      if (next_->boot != boot_) return wrong("is of another boot; split the trace there");
      fresh = true;
      unbroken = unbroken && next_->events_unbroken;
      for (VmEvent& event : next_->events) {
        // What came before the trace began is no event of this replay.
        event.at = std::max(event.at + offset_, previous_);
        if (!first) events.push_back(std::move(event));
      }
      current_ = std::move(*next_);
      if (Status advanced = advance(); !advanced) return advanced.error();
    }
    // The last line is valid until it would have been followed by another.
    if (!fresh && !next_) return Error{ErrorCode::kUnavailable, "the trace has ended: " + path_.string()};
    previous_ = now.monotonic;
    return moved(now, unbroken, std::move(events));
  }

  [[nodiscard]] std::string description() const override { return "replay of " + path_.string(); }

 private:
  std::string where() const { return path_.string() + " line " + std::to_string(line_number_) + ": "; }
  Error wrong(const std::string& what) const { return Error{ErrorCode::kCorrupt, where() + what}; }

  // The current line with its instants on the clock.
  [[nodiscard]] Sample moved(const ClockReading& now, bool unbroken, std::vector<VmEvent> events) const {
    Sample sample = current_;
    put_instants(sample, now);
    sample.events_unbroken = unbroken;
    sample.events = std::move(events);
    for (VmReading& vm : sample.vms) {
      if (vm.process_began) *vm.process_began += offset_;
      for (DeviceReading& device : vm.devices) {
        device.read_at += offset_;
        if (device.begun) *device.begun += offset_;
      }
    }
    return sample;
  }

  std::ifstream file_;
  const std::filesystem::path path_;
  const Clock& clock_;
  std::uint64_t line_number_ = 0;
  std::optional<Sample> next_;
  Sample current_;
  std::optional<ClockReading> begun_;
  MonotonicTime previous_{};  // When the last read was. A line that was not due then may tell of what was before.
  BootId boot_;
  Milliseconds offset_{};
};

}  // namespace

Result<std::unique_ptr<Source>> open_replay_source(const std::filesystem::path& path, const Clock& clock) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return Error{ErrorCode::kNotFound, "no trace " + path.string()};
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error{ErrorCode::kPermissionDenied, "cannot read trace " + path.string()};
  auto source = std::make_unique<ReplaySource>(std::move(file), path, clock);
  if (Status advanced = source->advance(); !advanced) return advanced.error();
  return std::unique_ptr<Source>(std::move(source));
}

}  // namespace nodemeter
