#include "agent/simulation.h"

#include <utility>

#include "platform/digest.h"
#include "store/entry_codec.h"

namespace nodemeter {

SimulatedClock::SimulatedClock(UtcTime start, std::uint64_t seed)
    : seed_(seed), boot_began_(start - std::chrono::hours{1}), true_time_(start) {
  boot_ = BootId(uuid_from_name(Uuid{}, "boot/" + std::to_string(seed_) + "/0"));
}

ClockReading SimulatedClock::now() const {
  ClockReading reading;
  reading.boot = boot_;
  reading.monotonic = MonotonicTime{true_time_ - boot_began_};
  reading.utc = true_time_ + wall_offset_;
  reading.synchronised = synchronised_;
  return reading;
}

void SimulatedClock::reboot() {
  ++boots_;
  boot_ = BootId(uuid_from_name(Uuid{}, "boot/" + std::to_string(seed_) + "/" + std::to_string(boots_)));
  boot_began_ = true_time_;
}

Result<Sample> WorldSource::read_all() {
  if (clock_.true_time() < down_until_) {
    cut();
    return Error{ErrorCode::kUnavailable, "the simulated hypervisor service is down"};
  }
  ++samples_;
  return world_.take_sample(clock_.now(), std::exchange(unbroken_, true));
}

void SimulatedAggregator::begin(UploadRequest request) {
  UploadResponse response;
  response.received_at = clock_.now().utc;
  if (clock_.true_time() < down_until_) {
    response.transport_error = "connection refused";
    response.sent_nothing = true;
    answer_ = std::move(response);
    return;
  }
  const auto rows = decode_rows(request.body, 1'000'000);
  if (!rows) {
    response.status = 400;
    response.body = rows.error().message;
    answer_ = std::move(response);
    return;
  }
  Sequence last = 0;
  for (const DecodedEntry& row : *rows) {
    last = row.entry.sequence;
    const auto [stored, fresh] = rows_.try_emplace({row.entry.epoch, last}, row.row);
    if (fresh) continue;
    ++(stored->second == row.row ? repeats_ : forks_);
  }
  if (answers_to_lose_ > 0) {
    --answers_to_lose_;
    response.transport_error = "connection reset while waiting for the answer";
  } else {
    response.status = 200;
    response.headers["content-type"] = "application/json";
    response.body = "{\"acknowledged\":" + std::to_string(last) + ",\"resend_from\":null}";
  }
  answer_ = std::move(response);
}

std::optional<UploadResponse> SimulatedAggregator::poll() { return std::exchange(answer_, std::nullopt); }

Status FullDisk::commit(const std::vector<Write>& writes) {
  if (clock_.true_time() < full_until_) return Error{ErrorCode::kFull, "the simulated disk is full"};
  return store_.commit(writes);
}

}  // namespace nodemeter
