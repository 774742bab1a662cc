#include <map>
#include <sstream>
#include <thread>

#include "agent/cli/live_text.h"
#include "agent/cli/terminal.h"
#include "agent/cli/verbs.h"
#include "platform/text.h"
#include "store/live_view.h"

namespace nodemeter::cli {

namespace {

// Home, and erase what is left of each line and below: no flicker as from clearing everything first.
constexpr const char* kHome = "\x1b[H";
constexpr const char* kEraseLine = "\x1b[K\n";
constexpr const char* kEraseBelow = "\x1b[J";
constexpr const char* kOtherScreen = "\x1b[?1049h\x1b[?25l";
constexpr const char* kFirstScreen = "\x1b[?25h\x1b[?1049l";

struct Live {
  std::optional<LiveSnapshot> snapshot;
  int code = kDone;
};

// The snapshot of a running agent, or the exit code after the sentence that says why there is none.
Live live_view(const CommonOptions& common, const Console& console) {
  const Result<Options> options = configured(common);
  if (!options) return {std::nullopt, say(console, options.error())};
  Result<LiveSnapshot> snapshot = read_live_view(options->live_name);
  if (snapshot && snapshot->writer_alive) return {std::move(snapshot).value(), kDone};
  if (snapshot || snapshot.error().code == ErrorCode::kNotFound) {
    console.err << "nodemeter: no agent is running on this node under the name \"" << options->live_name << "\"";
    if (snapshot) console.err << "; the last one sampled at " << iso_time(snapshot->node.sampled, true);
    console.err << ": start it (systemctl start nodemeter) and look at its log (journalctl -u nodemeter)\n";
    return {std::nullopt, kIncomplete};
  }
  if (snapshot.error().code == ErrorCode::kPermissionDenied) {
    console.err << "nodemeter: " << display_text(snapshot.error().message) << "; this needs the group \""
                << options->live_group << "\" (sudo usermod -aG " << options->live_group
                << " $USER, then log in again) or sudo\n";
    return {std::nullopt, kFailed};
  }
  return {std::nullopt, say(console, snapshot.error())};
}

// Puts the screen back however the verb ends.
class Screen {
 public:
  explicit Screen(std::ostream& out) : out_(out) { out_ << kOtherScreen << std::flush; }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;
  ~Screen() { out_ << kFirstScreen << std::flush; }

  void draw(const std::string& text) {
    out_ << kHome;
    for (const char c : text) {
      if (c == '\n') {
        out_ << kEraseLine;
      } else {
        out_ << c;
      }
    }
    out_ << kEraseBelow << std::flush;
  }

 private:
  std::ostream& out_;
};

std::optional<VmOrder> order_of(char key) {
  switch (key) {
    case 'c': return VmOrder::kCpu;
    case 'm': return VmOrder::kMemory;
    case 'd': return VmOrder::kDisk;
    case 'n': return VmOrder::kNetwork;
    default: return std::nullopt;
  }
}

int top_on_terminal(const CommonOptions& common, const TopOptions& options, VmOrder order, const Console& console,
                    Keyboard& keyboard) {
  std::optional<Screen> screen(console.out);
  for (std::uint32_t drawn = 0;;) {
    std::ostringstream sentence;
    const Live live = live_view(common, Console{console.out, sentence, console.clock});
    if (!live.snapshot) {
      screen.reset();  // What is said on the other screen goes with it.
      console.err << sentence.str();
      return live.code;
    }
    const TerminalSize size = keyboard.size();
    screen->draw(top_text(*live.snapshot, console.clock.now(), order, size.lines - 1, size.columns, console.colour));
    if (++drawn == options.count) return kDone;
    const std::optional<char> key = keyboard.key(Milliseconds{options.interval_ms});
    if (key == 'q') return kDone;
    if (key) order = order_of(*key).value_or(order);
  }
}

int top_as_text(const CommonOptions& common, const TopOptions& options, VmOrder order, const Console& console) {
  const std::uint32_t count = options.count == 0 ? 1 : options.count;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (i != 0) std::this_thread::sleep_for(Milliseconds{options.interval_ms});
    const Live live = live_view(common, console);
    if (!live.snapshot) return live.code;
    if (common.json) {
      console.out << vms_json(*live.snapshot) << std::flush;
      continue;
    }
    constexpr std::size_t kEverything = SIZE_MAX;
    console.out << (i == 0 ? "" : "\n")
                << top_text(*live.snapshot, console.clock.now(), order, kEverything, kEverything, false) << std::flush;
  }
  return kDone;
}

}  // namespace

int status(const CommonOptions& common, const Console& console) {
  const Live live = live_view(common, console);
  if (!live.snapshot) return live.code;
  const ClockReading now = console.clock.now();
  console.out << (common.json ? status_json(*live.snapshot, now) : status_text(*live.snapshot, now, console.colour));
  return kDone;
}

int vms(const CommonOptions& common, const Console& console) {
  const Live live = live_view(common, console);
  if (!live.snapshot) return live.code;
  console.out << (common.json ? vms_json(*live.snapshot) : vms_text(*live.snapshot, VmOrder::kName, console.colour));
  return kDone;
}

int top(const CommonOptions& common, const TopOptions& options, const Console& console) {
  const std::map<std::string, VmOrder> orders = {{"name", VmOrder::kName},
                                                 {"cpu", VmOrder::kCpu},
                                                 {"memory", VmOrder::kMemory},
                                                 {"disk", VmOrder::kDisk},
                                                 {"network", VmOrder::kNetwork}};
  const auto order = orders.find(options.sort);
  if (order == orders.end()) {
    return say(console, Error{ErrorCode::kInvalidInput, "--sort is \"" + display_text(options.sort) +
                                                            "\"; cpu, memory, disk, network or name is expected"});
  }
  const std::unique_ptr<Keyboard> keyboard = console.terminal && !common.json ? Keyboard::open() : nullptr;
  if (keyboard) return top_on_terminal(common, options, order->second, console, *keyboard);
  return top_as_text(common, options, order->second, console);
}

}  // namespace nodemeter::cli
