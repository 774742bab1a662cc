#include "platform/clock.h"

namespace nodemeter {

namespace {

class AcceleratedClock final : public Clock {
 public:
  AcceleratedClock(std::unique_ptr<Clock> base, std::uint32_t speed)
      : base_(std::move(base)), speed_(speed), origin_(base_->now()) {}

  [[nodiscard]] ClockReading now() const override {
    ClockReading reading = base_->now();
    const Milliseconds passed = (reading.monotonic - origin_.monotonic) * speed_;
    reading.monotonic = origin_.monotonic + passed;
    reading.utc = origin_.utc + passed;
    return reading;
  }

 private:
  const std::unique_ptr<Clock> base_;
  const std::uint32_t speed_;
  const ClockReading origin_;
};

}  // namespace

std::unique_ptr<Clock> accelerated_clock(std::unique_ptr<Clock> base, std::uint32_t speed) {
  return std::make_unique<AcceleratedClock>(std::move(base), speed);
}

}  // namespace nodemeter
