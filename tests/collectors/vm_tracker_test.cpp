// Goal: a VM is allocated from the right notice to the right notice, whatever way it comes and goes.
// Method: libvirt's notices by number in, events out as words.

#include <catch2/catch.hpp>
#include <string>

#include "collectors/vm_tracker.h"

using namespace nodemeter;
namespace ev = domain_event;

namespace {

class TestClock final : public Clock {
 public:
  [[nodiscard]] ClockReading now() const override {
    ClockReading reading;
    reading.monotonic = MonotonicTime{Milliseconds{++ms}};
    return reading;
  }
  mutable std::int64_t ms = 0;
};

constexpr const char* kXml =
    "<domain><name>a</name><uuid>6f1a6d4e-8a6c-4e54-9d5b-0d8b8a3f6a01</uuid><memory>2048</memory><vcpu>3</vcpu></"
    "domain>";

struct Fixture {
  Fixture() { tracker.connected(); }

  void tell(int event, int detail = 0) {
    LifecycleNotice notice;
    notice.vm = vm;
    notice.name = "a";
    notice.event = event;
    notice.detail = detail;
    notice.definition = [this]() -> Result<std::string> {
      if (gone) return Error{ErrorCode::kNotFound, "gone"};
      return std::string(kXml);
    };
    tracker.lifecycle(notice);
  }
  void list(bool persistent, std::optional<Power> power) { tracker.accept({{vm, persistent, power}}, tracker.mark()); }
  std::string events() {
    static const char* const kNames[] = {"",       "arrived", "departed", "started", "stopped",
                                         "paused", "resumed", "resized",  "rebooted"};
    std::string out;
    for (const VmEvent& event : tracker.take(tracker.mark()).events) {
      out += (out.empty() ? "" : ", ") + std::string(kNames[static_cast<int>(event.kind)]) + " " + event.how;
      if (event.levels) out += "/" + std::to_string(event.levels->vcores);
    }
    return out;
  }

  TestClock clock;
  int urgent_calls = 0;
  VmTracker tracker{{true, [this] { ++urgent_calls; }, 8}, clock};
  VmId vm = *VmId::parse("6f1a6d4e-8a6c-4e54-9d5b-0d8b8a3f6a01");
  bool gone = false;
};

}  // namespace

TEST_CASE("a defined VM is allocated from its definition until it is undefined and off", "[tracker]") {
  Fixture f;
  f.tell(ev::kDefined);
  CHECK(f.urgent_calls == 1);
  CHECK(f.tracker.take_urgency());
  CHECK_FALSE(f.tracker.take_urgency());
  f.tell(ev::kStarted);
  f.tell(ev::kSuspended);
  f.tell(ev::kResumed);
  CHECK(f.events() == "arrived created/3, started booted/3, paused paused, resumed resumed/3");
  f.tell(ev::kUndefined);
  CHECK(f.events().empty());
  f.tell(ev::kShutdown);
  f.tell(ev::kStopped, ev::kStoppedShutdown);
  CHECK(f.events() == "departed shutdown");
}

TEST_CASE("a persistent VM that stops stays, and departs when it is deleted", "[tracker]") {
  Fixture f;
  f.list(true, Power::kRunning);
  f.tell(ev::kStopped, ev::kStoppedCrashed);
  f.tell(ev::kUndefined);
  CHECK(f.events() == "stopped crashed, departed deleted");
}

TEST_CASE("a transient VM comes with its start and goes with its stop, however short it lived", "[tracker]") {
  Fixture f;
  f.gone = true;
  f.tell(ev::kStarted);
  f.tell(ev::kStopped, ev::kStoppedDestroyed);
  CHECK(f.events() == "arrived created, started booted, departed destroyed");
}

TEST_CASE("a VM that migrates in counts from its resumption", "[tracker]") {
  Fixture f;
  f.tell(ev::kStarted, ev::kStartedMigrated);
  CHECK(f.events().empty());
  CHECK(f.urgent_calls == 0);
  f.tell(ev::kResumed, ev::kResumedMigrated);
  CHECK(f.events() == "arrived migrated/3");
  CHECK(f.urgent_calls == 1);
}

TEST_CASE("vcpus that resume before the start is told are part of the start", "[tracker]") {
  Fixture f;
  f.tell(ev::kResumed);
  f.tell(ev::kStarted);
  f.tell(ev::kResumed);
  CHECK(f.events() == "arrived created/3, started booted/3");
}

TEST_CASE("one reset is one reboot", "[tracker]") {
  Fixture f;
  f.list(true, Power::kRunning);
  for (int i = 0; i < 3; ++i) f.tracker.rebooted(f.vm);
  CHECK(f.events() == "rebooted rebooted");
}

TEST_CASE("an incoming VM that never takes over was never here", "[tracker]") {
  Fixture f;
  f.tell(ev::kStarted, ev::kStartedMigrated);
  f.tell(ev::kStopped, ev::kStoppedFailed);
  CHECK(f.events().empty());
}

TEST_CASE("a VM that migrates out counts until its suspension, and its definition stays behind unallocated",
          "[tracker]") {
  Fixture f;
  f.list(true, Power::kRunning);
  f.tell(ev::kSuspended, ev::kSuspendedMigrated);
  f.tell(ev::kStopped, ev::kStoppedMigrated);
  CHECK(f.events() == "departed migrated");
  f.tell(ev::kUndefined);
  CHECK(f.events().empty());
}

TEST_CASE("a definition left behind is allocated again when it starts here", "[tracker]") {
  Fixture f;
  f.list(true, std::nullopt);
  f.tell(ev::kStarted);
  CHECK(f.events() == "arrived created/3, started booted/3");
}

TEST_CASE("a cancelled migration brings the VM back", "[tracker]") {
  Fixture f;
  f.list(true, Power::kRunning);
  f.tell(ev::kSuspended, ev::kSuspendedMigrated);
  f.tell(ev::kResumed);
  CHECK(f.events() == "departed migrated, arrived migration cancelled/3");
}

TEST_CASE("events that do not fit are missed, and the stream says so once", "[tracker]") {
  Fixture f;
  f.tracker.take(0);
  f.list(true, Power::kRunning);
  f.tell(ev::kSuspended);
  CHECK(f.tracker.take(0).unbroken);
  for (int i = 0; i < 5; ++i) {
    f.tell(ev::kSuspended);
    f.tell(ev::kResumed);
  }
  const TakenNotices taken = f.tracker.take(0);
  CHECK(taken.events.size() == 8);
  CHECK_FALSE(taken.unbroken);
  CHECK(f.tracker.take(0).unbroken);
  f.tracker.closed();
  CHECK_FALSE(f.tracker.take(0).unbroken);
  CHECK_FALSE(f.tracker.take(0).unbroken);
  f.tracker.connected();
  CHECK_FALSE(f.tracker.take(0).unbroken);
  CHECK(f.tracker.take(0).unbroken);
}

TEST_CASE("a list older than a notice does not undo it", "[tracker]") {
  Fixture f;
  f.list(true, Power::kRunning);
  const std::uint64_t mark = f.tracker.mark();
  f.tell(ev::kStopped, ev::kStoppedDestroyed);
  f.tracker.accept({{f.vm, true, Power::kRunning}}, mark);
  CHECK(f.tracker.explains({{f.vm, true, Power::kOff}}));
  CHECK_FALSE(f.tracker.explains({{f.vm, true, Power::kRunning}}));
  CHECK_FALSE(f.tracker.explains({}));
  CHECK(f.tracker.take(mark).moved.at(f.vm) == Power::kOff);
}

TEST_CASE("either end of a migration and a definition left behind are not allocated", "[tracker]") {
  ListedDomain domain;
  domain.active_id = 1;
  domain.state = domain_state::kPaused;
  domain.reason = domain_state::kPausedMigration;
  CHECK_FALSE(allocated_power(domain));
  domain.reason = 1;
  CHECK(allocated_power(domain) == Power::kPaused);
  domain.state = domain_state::kBlocked;
  CHECK(allocated_power(domain) == Power::kRunning);
  domain.active_id.reset();
  domain.state = domain_state::kOff;
  CHECK(allocated_power(domain) == Power::kOff);
  domain.reason = domain_state::kOffMigrated;
  CHECK_FALSE(allocated_power(domain));
}
