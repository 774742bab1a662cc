// The moving parts of a simulation: a clock, a source, an aggregator and a store with a full disk, all driven by a
// World.
//
// Used by simulate() and by the seeded tests, which add their own faults.

#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "collectors/world.h"
#include "platform/clock.h"
#include "store/kv.h"
#include "uploader/transport.h"

namespace nodemeter {

// True time, and how the node's clocks show it.
class SimulatedClock final : public Clock {
 public:
  explicit SimulatedClock(UtcTime start, std::uint64_t seed);

  [[nodiscard]] ClockReading now() const override;
  void set(UtcTime true_time) { true_time_ = true_time; }
  [[nodiscard]] UtcTime true_time() const { return true_time_; }
  void step_wall(Milliseconds by) { wall_offset_ += by; }
  void set_synchronised(bool synchronised) { synchronised_ = synchronised; }
  void reboot();  // A new boot begins now.
  [[nodiscard]] UtcTime true_time_of(MonotonicTime t) const { return boot_began_ + t.time_since_epoch(); }

 private:
  std::uint64_t seed_;
  std::uint64_t boots_ = 0;
  BootId boot_;
  UtcTime boot_began_;
  UtcTime true_time_;
  Milliseconds wall_offset_{0};
  bool synchronised_ = true;
};

class WorldSource final : public Source {
 public:
  WorldSource(World& world, const SimulatedClock& clock) : world_(world), clock_(clock) {}

  Result<Sample> read_all() override;
  [[nodiscard]] std::string description() const override { return "simulated"; }

  // The event stream was cut: the next sample says so.
  void cut() {
    world_.drop_events();
    unbroken_ = false;
  }
  void keep_unbroken() { unbroken_ = true; }
  void fail_until(UtcTime t) { down_until_ = t; }
  [[nodiscard]] std::uint64_t samples() const { return samples_; }

 private:
  World& world_;
  const SimulatedClock& clock_;
  UtcTime down_until_{};
  bool unbroken_ = false;
  std::uint64_t samples_ = 0;
};

// The far end: keeps every row it was ever sent, removes repeats by (epoch, sequence, digest).
class SimulatedAggregator final : public Transport {
 public:
  explicit SimulatedAggregator(const SimulatedClock& clock) : clock_(clock) {}

  void begin(UploadRequest request) override;
  std::optional<UploadResponse> poll() override;
  void cancel() override { answer_.reset(); }

  void fail_until(UtcTime t) { down_until_ = t; }
  void lose_answers(std::uint32_t count) { answers_to_lose_ += count; }

  // Row bytes by (epoch, sequence); a second row with another digest is a fork and is counted.
  using Rows = std::map<std::pair<Uuid, Sequence>, std::string>;
  [[nodiscard]] const Rows& rows() const { return rows_; }
  [[nodiscard]] std::uint64_t forks() const { return forks_; }
  [[nodiscard]] std::uint64_t repeats() const { return repeats_; }

 private:
  const SimulatedClock& clock_;
  UtcTime down_until_{};
  std::uint32_t answers_to_lose_ = 0;
  std::optional<UploadResponse> answer_;
  Rows rows_;
  std::uint64_t forks_ = 0;
  std::uint64_t repeats_ = 0;
};

// Passes everything on, except that commits find no room until the given instant.
class FullDisk final : public KeyValue {
 public:
  FullDisk(KeyValue& store, const SimulatedClock& clock) : store_(store), clock_(clock) {}

  Status commit(const std::vector<Write>& writes) override;
  [[nodiscard]] Result<std::unique_ptr<Snapshot>> snapshot() const override { return store_.snapshot(); }
  [[nodiscard]] Usage usage() const override { return store_.usage(); }
  void maintain() override { store_.maintain(); }
  void full_until(UtcTime t) { full_until_ = t; }

 private:
  KeyValue& store_;
  const SimulatedClock& clock_;
  UtcTime full_until_{};
};

}  // namespace nodemeter
