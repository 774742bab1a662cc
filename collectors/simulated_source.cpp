#include "collectors/simulated_source.h"

#include <utility>

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
    return world_.take_sample(now, std::exchange(read_before_, true));
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
