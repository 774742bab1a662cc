#include "platform/clock.h"

#include "platform/system_clock.h"

namespace nodemeter {

namespace {

class SystemClock final : public Clock {
 public:
  [[nodiscard]] ClockReading now() const override {
    ClockReading reading = read_system_clocks();
    reading.boot = boot_;
    return reading;
  }

 private:
  const BootId boot_ = read_boot_id();
};

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

std::unique_ptr<Clock> system_clock() { return std::make_unique<SystemClock>(); }

std::unique_ptr<Clock> accelerated_clock(std::unique_ptr<Clock> base, std::uint32_t speed) {
  return std::make_unique<AcceleratedClock>(std::move(base), speed);
}

}  // namespace nodemeter
