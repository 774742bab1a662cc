#include "collectors/simulated_source.h"

#include "collectors/world.h"

namespace nodemeter {

namespace {

class SimulatedSource final : public Source {
 public:
  SimulatedSource(Scenario scenario, const Clock& clock)
      : clock_(clock), origin_(clock.now().monotonic), world_(std::move(scenario)) {}

  Result<Sample> read_all() override {
    const ClockReading now = clock_.now();
    world_.advance_to(world_.scenario().start + (now.monotonic - origin_));
    Sample sample;
    sample.boot = now.boot;
    sample.taken_at = now.monotonic;
    sample.wall = now.utc;
    sample.clock_synchronised = now.synchronised;
    sample.events_unbroken = read_before_;
    sample.events = world_.take_events(now.monotonic);
    sample.vms = world_.readings(now.monotonic);
    read_before_ = true;
    return sample;
  }

  [[nodiscard]] std::string description() const override { return "simulated"; }

 private:
  const Clock& clock_;
  const MonotonicTime origin_;
  World world_;
  bool read_before_ = false;
};

}  // namespace

std::unique_ptr<Source> open_simulated_source(Scenario scenario, const Clock& clock) {
  return std::make_unique<SimulatedSource>(std::move(scenario), clock);
}

}  // namespace nodemeter
