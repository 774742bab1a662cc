// Goal: whatever hangs in WMI or in a counter's provider, every call comes back in time, and what hung is replaced.
// Method: sessions in memory that can be made to hang; deadlines are generous where they must hold, short where they
// end.

#include <atomic>
#include <catch2/catch.hpp>
#include <deque>
#include <thread>

#include "collectors/hyperv_workers.h"
#include "tests/collectors/hyperv_host.h"

using namespace nodemeter;

namespace {

using std::chrono::steady_clock;
using namespace std::chrono_literals;

// Shared with sessions that outlive a test.
struct Backstage {
  std::mutex mutex;
  std::condition_variable changed;
  bool hangs = false;
  bool away = false;
  bool subscribable = true;
  int opened = 0;
  int inside = 0;
  std::deque<WmiNotice> notices;
  bool break_notices = false;
  bool refuse_notices = false;  // As WMI does, instead of the first one.
  bool hang_notices = false;
  int hung = 0;
  std::chrono::milliseconds rows_take{0};
  bool late = false;       // The next size comes when nothing hangs any more,
  bool late_file = false;  // "missing" is there now.
  std::string mib = "1";   // as it was when it was asked for.

  void set(const std::function<void(Backstage&)>& change) {
    const std::lock_guard lock(mutex);
    change(*this);
    changed.notify_all();
  }
  template <class T>
  T get(T Backstage::*field) {
    const std::lock_guard lock(mutex);
    return this->*field;
  }
  void pass() {
    std::unique_lock lock(mutex);
    ++inside;
    changed.notify_all();
    changed.wait(lock, [&] { return !hangs; });
    --inside;
  }
};

class StageSession final : public WmiSession {
 public:
  explicit StageSession(std::shared_ptr<Backstage> stage) : stage_(std::move(stage)) {}
  Result<WmiRows> rows(const WmiQuery& query) override {
    std::this_thread::sleep_for(stage_->get(&Backstage::rows_take));
    stage_->pass();
    const std::lock_guard lock(stage_->mutex);
    if (stage_->away) return Error{ErrorCode::kUnavailable, "away"};
    if (query.class_name == hyperv_class::kPlanned) return Error{ErrorCode::kNotFound, "no such class"};
    WmiRow row;
    const char* device = query.class_name == hyperv_class::kSettings ? "" : "\\x";
    row.set("InstanceID", "Microsoft:" + FakeHost::id(1).text() + device);
    row.set("VirtualQuantity", "2");
    return WmiRows{row};
  }
  Status subscribe(const WmiQuery&) override {
    if (stage_->get(&Backstage::subscribable)) return Done{};
    return Error{ErrorCode::kUnavailable, "no events"};
  }
  Result<std::optional<WmiNotice>> next_notice(Milliseconds wait) override {
    std::unique_lock lock(stage_->mutex);
    ++stage_->hung;
    stage_->changed.wait(lock, [&] { return !stage_->hang_notices; });
    --stage_->hung;
    if (stage_->refuse_notices) return Error{ErrorCode::kPermissionDenied, "no notices for this account"};
    // Not for long: a pump must be heard of within whatever a test calls silence.
    stage_->changed.wait_for(lock, std::min(wait, Milliseconds{10}),
                             [&] { return stage_->break_notices || !stage_->notices.empty(); });
    if (std::exchange(stage_->break_notices, false)) return Error{ErrorCode::kUnavailable, "broke"};
    if (stage_->notices.empty()) return std::optional<WmiNotice>();
    WmiNotice notice = stage_->notices.front();
    stage_->notices.pop_front();
    return std::optional(std::move(notice));
  }
  Result<std::string> virtual_disk_settings(const std::string& path) override {
    if (path == "hangs") stage_->pass();
    if (path == "resized") {
      const std::string bytes = std::to_string(std::stoull(stage_->get(&Backstage::mib)) << 20);
      bool late = false;
      stage_->set([&](Backstage& b) { late = std::exchange(b.late, false); });
      if (late) stage_->pass();
      return R"(<I><PROPERTY NAME="MaxInternalSize"><VALUE>)" + bytes + "</VALUE></PROPERTY></I>";
    }
    if (path == "missing" && !stage_->get(&Backstage::late_file)) return Error{ErrorCode::kNotFound, "no such file"};
    return std::string(R"(<I><PROPERTY NAME="MaxInternalSize"><VALUE>1048576</VALUE></PROPERTY></I>)");
  }

 private:
  const std::shared_ptr<Backstage> stage_;
};

class StageQuery final : public CounterQuery {
 public:
  explicit StageQuery(std::shared_ptr<Backstage> stage) : stage_(std::move(stage)) {}
  Result<std::vector<CounterColumn>> read() override {
    stage_->pass();
    return std::vector<CounterColumn>(hyperv_counter_paths().size());
  }

 private:
  const std::shared_ptr<Backstage> stage_;
};

WmiConnector wmi_of(const std::shared_ptr<Backstage>& stage) {
  return [stage]() -> Result<std::unique_ptr<WmiSession>> {
    stage->set([](Backstage& b) { ++b.opened; });
    return std::unique_ptr<WmiSession>(std::make_unique<StageSession>(stage));
  };
}

struct Warnings final : Log {
  void write(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) override {
    const std::lock_guard lock(mutex);
    if (level >= LogLevel::kWarning) all.push_back(log_text(message, fields));
  }
  std::vector<std::string> get() {
    const std::lock_guard lock(mutex);
    return all;
  }
  std::mutex mutex;
  std::vector<std::string> all;
};

template <class Condition>
bool comes_true(const Condition& condition) {
  for (int i = 0; i < 3000 && !condition(); ++i) std::this_thread::sleep_for(10ms);
  return condition();
}

struct Workers {
  explicit Workers(HypervWorkers::Options options = {}, const std::function<void(Backstage&)>& at_first = nullptr) {
    if (at_first) stage->set(at_first);
    const CounterOpener counters = [stage = counter_stage](const std::vector<CounterPath>&) {
      return Result<std::unique_ptr<CounterQuery>>(std::make_unique<StageQuery>(stage));
    };
    workers = std::make_unique<HypervWorkers>(options, wmi_of(stage), counters, tracker, clock, log);
  }
  ~Workers() {
    stage->set([](Backstage& b) { b.hangs = b.hang_notices = false; });
    counter_stage->set([](Backstage& b) { b.hangs = false; });
  }
  HandClock clock;
  Warnings log;
  std::shared_ptr<Backstage> stage = std::make_shared<Backstage>();
  std::shared_ptr<Backstage> counter_stage = std::make_shared<Backstage>();
  std::shared_ptr<HypervTracker> tracker = std::make_shared<HypervTracker>(HypervTracker::Options{}, clock);
  std::unique_ptr<HypervWorkers> workers;
};

HypervWorkers::Options short_patience() {
  HypervWorkers::Options options;
  options.patience = Milliseconds{100};
  options.disk_patience = Milliseconds{100};
  return options;
}

}  // namespace

TEST_CASE("rows come by class, and a class that Windows does not have is left out", "[hyperv]") {
  Workers w;
  const Result<HypervReader::Rows> rows = w.workers->rows(hyperv_machine_queries());
  REQUIRE(rows.ok());
  CHECK(rows->tables.contains(hyperv_class::kSystem));
  CHECK_FALSE(rows->tables.contains(hyperv_class::kPlanned));
}

TEST_CASE("WMI that hangs costs its call's deadline, and counters nothing", "[hyperv]") {
  Workers w(short_patience());
  w.stage->set([](Backstage& b) { b.hangs = true; });
  CHECK(w.workers->rows(hyperv_machine_queries()).error().code == ErrorCode::kUnavailable);
  CHECK(w.workers->counters().ok());
  // While it hangs nobody waits for it again.
  CHECK(w.workers->rows(hyperv_machine_queries()).error().message.find("earlier call") != std::string::npos);
  w.stage->set([](Backstage& b) { b.hangs = false; });
  CHECK(comes_true([&] { return w.workers->rows(hyperv_machine_queries()).ok(); }));
}

TEST_CASE("a host that answers too late is waited for longer", "[hyperv]") {
  Workers w(short_patience());
  w.stage->set([](Backstage& b) { b.rows_take = 250ms; });
  CHECK_FALSE(w.workers->rows(hyperv_machine_queries()).ok());
  CHECK(comes_true([&] { return w.workers->rows(hyperv_machine_queries()).ok(); }));
  // Each list for itself: a short one is no promise for a long one.
  w.stage->set([](Backstage& b) { b.rows_take = 0ms; });
  CHECK(comes_true([&] { return w.workers->rows({hyperv_summary_query()}).ok(); }));
}

TEST_CASE("a thread that never comes back is left behind, and another one serves", "[hyperv]") {
  const auto stage = std::make_shared<Backstage>();
  stage->hangs = true;
  SessionWorker<WmiSession>::Limits limits;
  limits.wedged_after = 1ms;
  limits.left_behind_max = 2;
  SessionWorker<WmiSession> worker(wmi_of(stage), "WMI", limits);
  const auto ask = [&](std::chrono::milliseconds wait) {
    return worker.call<WmiRows>([](WmiSession& s) { return s.rows({"Any", {}, ""}); }, steady_clock::now() + wait);
  };
  for (int thread = 1; thread <= 3; ++thread) {
    CHECK_FALSE(ask(20ms).ok());
    CHECK(comes_true([&] { return stage->get(&Backstage::inside) == thread; }));
  }
  CHECK(worker.left_behind() == 2);
  // No more than that: a provider that holds up everybody must not fill the process with threads.
  CHECK_FALSE(ask(20ms).ok());
  CHECK(stage->get(&Backstage::inside) == 3);
  stage->set([](Backstage& b) { b.hangs = false; });
  CHECK(comes_true([&] { return ask(1000ms).ok(); }));
  CHECK(comes_true([&] { return worker.left_behind() == 0; }));
}

TEST_CASE("a session whose service went away is opened anew", "[hyperv]") {
  const auto stage = std::make_shared<Backstage>();
  SessionWorker<WmiSession> worker(wmi_of(stage), "WMI");
  const auto ask = [&] {
    return worker.call<WmiRows>([](WmiSession& s) { return s.rows({"Any", {}, ""}); }, steady_clock::now() + 30s);
  };
  REQUIRE(ask().ok());
  CHECK(ask().ok());
  CHECK(stage->get(&Backstage::opened) == 1);
  stage->set([](Backstage& b) { b.away = true; });
  CHECK_FALSE(ask().ok());
  stage->set([](Backstage& b) { b.away = false; });
  CHECK(ask().ok());
  CHECK(stage->get(&Backstage::opened) == 2);
}

TEST_CASE("sizes are read on in the background, and an unreadable file costs itself", "[hyperv]") {
  Workers w(short_patience());
  w.stage->set([](Backstage& b) { b.hangs = true; });
  const std::vector<std::string> paths = {"a", "missing", "hangs", "z"};
  CHECK(comes_true([&] {
    return w.workers->disk_sizes(paths) == std::map<std::string, std::uint64_t>{{"a", 1048576}};
  }));
  w.stage->set([](Backstage& b) { b.hangs = false; });
  CHECK(comes_true([&] { return w.workers->disk_sizes(paths).size() == 3; }));
  CHECK_FALSE(w.workers->disk_sizes(paths).contains("missing"));
}

TEST_CASE("a file that cannot be read is told once, and asked for again before long", "[hyperv]") {
  HypervWorkers::Options options;
  options.disk_patience = Milliseconds{30'000};
  options.size_retry = Milliseconds{1};
  Workers w(options);
  for (int i = 0; i < 5; ++i) CHECK_FALSE(w.workers->disk_sizes({"a", "missing"}).contains("missing"));
  const std::vector<std::string> warnings = w.log.get();
  REQUIRE(warnings.size() == 1);
  CHECK(warnings.front().find("no such file") != std::string::npos);
  w.stage->set([](Backstage& b) { b.late_file = true; });
  CHECK(comes_true([&] { return w.workers->disk_sizes({"a", "missing"}).contains("missing"); }));
}

TEST_CASE("a file that hangs keeps nobody from the sizes of the others", "[hyperv]") {
  HypervWorkers::Options options = short_patience();
  options.wedged_after = Milliseconds{1};
  Workers w(options);
  w.stage->set([](Backstage& b) { b.hangs = true; });
  const std::vector<std::string> paths = {"hangs", "a", "z"};
  CHECK(comes_true([&] { return w.workers->disk_sizes(paths).size() == 2; }));
  // However often it is asked for since, it does not fill the process with threads: another one is read as soon.
  for (int i = 0; i < 8; ++i) (void)w.workers->disk_sizes(paths);
  CHECK(comes_true([&] { return w.workers->disk_sizes({"hangs", "a", "y", "z"}).size() == 3; }));
  w.stage->set([](Backstage& b) { b.hangs = false; });
  CHECK(comes_true([&] { return w.workers->disk_sizes(paths).size() == 3; }));
}

TEST_CASE("a size that was asked for earlier and comes later is not the newer one", "[hyperv]") {
  HypervWorkers::Options options = short_patience();
  options.wedged_after = Milliseconds{1};
  Workers w(options);
  w.stage->set([](Backstage& b) { b.hangs = b.late = true; });
  CHECK(w.workers->disk_sizes({"resized"}).empty());
  w.stage->set([](Backstage& b) { b.mib = "5"; });
  const std::map<std::string, std::uint64_t> newer = {{"resized", 5u << 20}};
  CHECK(comes_true([&] { return w.workers->disk_sizes({"resized"}) == newer; }));
  w.stage->set([](Backstage& b) { b.hangs = false; });
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(10ms);
    CHECK(w.workers->disk_sizes({"resized"}) == newer);
  }
}

TEST_CASE("notices reach the tracker with settings, and a broken subscription is told", "[hyperv]") {
  Workers w;
  CHECK(comes_true([&] { return w.tracker->mark() >= 1; }));
  FakeHost host(w.clock);
  host.vms[FakeHost::id(1)] = {"web"};
  WmiNotice notice;
  notice.kind = WmiNotice::Kind::kCreated;
  notice.row = host.row(FakeHost::id(1));
  w.tracker->take(0);
  w.stage->set([&](Backstage& b) { b.notices.push_back(notice); });
  CHECK(comes_true([&] { return w.tracker->mark() >= 2; }));
  const TakenNotices taken = w.tracker->take(0);
  CHECK(taken.unbroken);
  REQUIRE(taken.events.size() == 1);
  CHECK(taken.events.front().kind == VmEventKind::kArrived);
  REQUIRE(taken.events.front().levels);
  CHECK(taken.events.front().levels->vcores == 2);
  w.stage->set([](Backstage& b) { b.break_notices = true; });
  CHECK(comes_true([&] { return !w.tracker->unbroken(); }));
  // It is connected again, and unbroken from the next sample on.
  CHECK(comes_true([&] { return w.tracker->take(0).unbroken; }));
}

TEST_CASE("a subscription that WMI refuses is no stream of notices, and is told once", "[hyperv]") {
  const bool at_once = GENERATE(true, false);  // Else as the answer to the first question.
  Workers w({}, [&](Backstage& b) {
    b.subscribable = !at_once;
    b.refuse_notices = !at_once;
  });
  CHECK(comes_true([&] { return w.stage->get(&Backstage::opened) >= 3; }));
  CHECK(comes_true([&] { return !w.tracker->unbroken(); }));
  const std::vector<std::string> warnings = w.log.get();
  REQUIRE(warnings.size() == 1);
  CHECK(warnings.front().find(at_once ? "no events" : "no notices for this account") != std::string::npos);
  w.stage->set([](Backstage& b) {
    b.subscribable = true;
    b.refuse_notices = false;
  });
  CHECK(comes_true([&] { return w.tracker->take(0).unbroken; }));
}

TEST_CASE("however many subscriptions hang, notices never seem to come without a break", "[hyperv]") {
  HypervWorkers::Options options;
  options.pump_silence_max = Milliseconds{300};
  Workers w(options);
  const auto ask = [&] { return w.workers->rows(hyperv_machine_queries()).ok(); };
  const auto is_unbroken = [&] { return ask() && w.tracker->take(0).unbroken && w.tracker->unbroken(); };
  // More of them than may be left behind at a time; these come back.
  for (int i = 0; i < 6; ++i) {
    REQUIRE(comes_true(is_unbroken));
    w.stage->set([](Backstage& b) { b.hang_notices = true; });
    REQUIRE(comes_true([&] { return ask() && !w.tracker->unbroken(); }));
    w.stage->set([](Backstage& b) { b.hang_notices = false; });
  }
  // These do not, until much later.
  REQUIRE(comes_true(is_unbroken));
  w.stage->set([](Backstage& b) { b.hang_notices = true; });
  REQUIRE(comes_true([&] { return ask() && w.stage->get(&Backstage::hung) == 5; }));
  std::this_thread::sleep_for(2 * options.pump_silence_max);
  CHECK(ask());
  CHECK_FALSE(w.tracker->unbroken());
  CHECK(w.stage->get(&Backstage::hung) == 5);
  w.stage->set([](Backstage& b) { b.hang_notices = false; });
  CHECK(comes_true(is_unbroken));
}
