#include <algorithm>
#include <sstream>
#include <thread>

#include "agent/cli/advice.h"
#include "agent/cli/live_text.h"
#include "agent/cli/prometheus_text.h"
#include "agent/cli/terminal.h"
#include "agent/cli/top_text.h"
#include "agent/cli/verbs.h"
#include "platform/files.h"
#include "platform/text.h"
#include "store/live_view.h"

namespace nodemeter::cli {

namespace {

// Home, and erase what is left of each line and below: no flicker as from clearing everything first.
constexpr const char* kHome = "\x1b[H";
constexpr const char* kEraseLine = "\x1b[K";
constexpr const char* kEraseBelow = "\x1b[J";
// Without wrapping: a wide character at the edge must not cost a line.
constexpr const char* kOtherScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l";
constexpr const char* kFirstScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l";

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
    console.err << ": " << advice().start << "\n";
    return {std::nullopt, kIncomplete};
  }
  if (snapshot.error().code == ErrorCode::kPermissionDenied) {
    console.err << "nodemeter: " << display_text(snapshot.error().message) << "; this needs the group \""
                << options->live_group << "\": " << advice().join_group(options->live_group) << "\n";
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

  // In one piece, so that nobody sees half of it.
  void draw(const std::string& text) {
    std::string frame = kHome;
    for (const char c : text) {
      if (c == '\n') frame += kEraseLine;
      frame.push_back(c);
    }
    out_ << frame + kEraseLine + kEraseBelow << std::flush;
  }

 private:
  std::ostream& out_;
};

// What follows an escape within a moment is a key with a name.
constexpr Milliseconds kEscapeWait{30};

TopKey key_after_escape(Keyboard& keyboard) {
  const std::optional<char> bracket = keyboard.key(kEscapeWait);
  if (bracket != '[' && bracket != 'O') return TopKey::kEscape;
  const char which = keyboard.key(kEscapeWait).value_or('\0');
  if (which >= '0' && which <= '9') (void)keyboard.key(kEscapeWait);  // The tilde after it.
  switch (which) {
    case 'A': return TopKey::kUp;
    case 'B': return TopKey::kDown;
    case '5': return TopKey::kPageUp;
    case '6': return TopKey::kPageDown;
    case 'H':
    case '1': return TopKey::kHome;
    case 'F':
    case '4': return TopKey::kEnd;
    default: return TopKey::kCharacter;
  }
}

// False: the user leaves.
bool take_key(Keyboard& keyboard, Milliseconds longest, TopView& view) {
  const std::optional<char> key = keyboard.key(longest);
  if (!key) return true;
  if (keyboard.ended()) return false;
  constexpr char kEscapeCharacter = 27;
  const std::size_t page = top_rows(keyboard.size().lines);
  if (*key == kEscapeCharacter) return press(view, key_after_escape(keyboard), '\0', page);
  return press(view, TopKey::kCharacter, *key, page);
}

int top_on_terminal(const CommonOptions& common, const TopOptions& options, TopView view, const Console& console,
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
    view.skip = std::min(view.skip, live.snapshot->vms.size());
    // Erasing to the end of a full line would take its last character.
    const std::size_t columns = std::max<std::size_t>(size.columns, 2) - 1;
    screen->draw(top_text(*live.snapshot, console.clock.now(), view, size.lines, columns, console.colour));
    if (++drawn == options.count) return kDone;
    if (!take_key(keyboard, Milliseconds{options.interval_ms}, view)) return kDone;
  }
}

int top_as_text(const CommonOptions& common, const TopOptions& options, const TopView& view, const Console& console) {
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
                << top_text(*live.snapshot, console.clock.now(), view, kEverything, kEverything, false) << "\n"
                << std::flush;
  }
  return kDone;
}

}  // namespace

int status(const CommonOptions& common, const StatusOptions& options, const Console& console) {
  const std::string format = options.format.empty() ? (common.json ? "json" : "text") : options.format;
  if (format != "text" && format != "json" && format != "prometheus") {
    return say(console, Error{ErrorCode::kInvalidInput,
                              "--format is \"" + display_text(format) + "\"; text, json or prometheus is expected"});
  }
  if (common.json && format != "json") {
    return say(console, Error{ErrorCode::kInvalidInput, "--format is \"" + format + "\"; --json asks for another one"});
  }
  const Live live = live_view(common, console);
  const ClockReading now = console.clock.now();
  std::string text;
  if (live.snapshot) {
    text = format == "json"   ? status_json(*live.snapshot, now)
           : format == "text" ? status_text(*live.snapshot, now, console.colour && options.out.empty())
                              : prometheus_text(*live.snapshot, now);
  } else if (live.code == kIncomplete && format == "prometheus") {
    text = prometheus_absent_text();  // That nothing runs is worth an alert.
  } else {
    return live.code;
  }
  if (options.out.empty()) {
    console.out << text;
    return live.code;
  }
  const Status written = replace_file(options.out, text);
  return written ? live.code : say(console, written.error());
}

int vms(const CommonOptions& common, const Console& console) {
  const Live live = live_view(common, console);
  if (!live.snapshot) return live.code;
  console.out << (common.json ? vms_json(*live.snapshot) : vms_text(*live.snapshot, VmOrder::kName, console.colour));
  return kDone;
}

int top(const CommonOptions& common, const TopOptions& options, const Console& console) {
  const std::optional<VmOrder> order = order_named(options.sort);
  if (!order) {
    return say(console, Error{ErrorCode::kInvalidInput, "--sort is \"" + display_text(options.sort) +
                                                            "\"; cpu, memory, disk, network or name is expected"});
  }
  TopView view;
  view.order = *order;
  view.filter = options.filter;
  const std::unique_ptr<Keyboard> keyboard = console.terminal && !common.json ? Keyboard::open() : nullptr;
  if (keyboard) return top_on_terminal(common, options, view, console, *keyboard);
  return top_as_text(common, options, view, console);
}

}  // namespace nodemeter::cli
