#include "agent/cli/top_text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <functional>

#include "agent/cli/table.h"
#include "platform/text.h"
#include "store/entry.h"

namespace nodemeter::cli {

namespace {

constexpr std::size_t kHeadLines = 4;  // Verdict, node, keys, titles.
constexpr std::size_t kNameMin = 14;
constexpr std::size_t kNameMax = 32;
constexpr std::size_t kFilterMax = 64;
constexpr char kBackspace = 127;
constexpr char kDelete = 8;

struct NamedOrder {
  VmOrder order;
  char key;
  const char* word;
};
constexpr NamedOrder kOrders[] = {{VmOrder::kCpu, 'c', "cpu"},
                                  {VmOrder::kMemory, 'm', "memory"},
                                  {VmOrder::kDisk, 'd', "disk"},
                                  {VmOrder::kNetwork, 'n', "network"},
                                  {VmOrder::kName, 'a', "name"}};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// At most `width` characters, with an ellipsis for what is cut.
std::string cut(const std::string& text, std::size_t width) {
  if (width_of(text) <= width) return text;
  std::string kept;
  std::size_t shown = 0;
  for (const char c : text) {
    const bool begins = (static_cast<unsigned char>(c) & 0xc0u) != 0x80u;
    if (begins && ++shown == std::max<std::size_t>(width, 1)) break;
    kept.push_back(c);
  }
  return kept + "…";
}

// "980", "1.5M", "12G": four digits of what counts, powers of 1000.
std::string short_count(const std::optional<std::uint64_t>& value) {
  if (!value) return "-";
  if (*value < 1000) return std::to_string(*value);
  constexpr std::string_view kUnits = "kMGTPE";
  std::uint64_t tenths = *value / 100;
  std::size_t unit = 0;
  for (; tenths >= 10'000; ++unit) tenths /= 1000;
  const std::string whole = std::to_string(tenths / 10);
  return (tenths < 1000 ? whole + "." + std::to_string(tenths % 10) : whole) + kUnits[unit];
}

std::string gibibytes(std::uint64_t mib) {
  if (mib < 1024) return std::to_string(mib) + "M";
  const std::uint64_t tenths = mib * 10 / 1024;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + "G";
}

std::string vcore_hours(std::uint64_t vcore_ms) {
  const std::uint64_t hundredths = vcore_ms / 36'000;
  const std::string rest = std::to_string(hundredths % 100);
  return std::to_string(hundredths / 100) + "." + std::string(2 - rest.size(), '0') + rest;
}

std::string name_of(const LiveVm& vm) { return vm.name.empty() ? vm.vm.text() : display_text(vm.name); }

bool matches(const LiveVm& vm, const std::string& wanted) {
  if (wanted.empty()) return true;
  const std::array<std::string, 4> texts = {vm.name, vm.vm.text(), vm.owner_known ? vm.subscription.text() : "unowned",
                                            power_word(vm.power)};
  return std::any_of(texts.begin(), texts.end(),
                     [&](const std::string& text) { return lower(text).find(wanted) != std::string::npos; });
}

struct ScreenColumn {
  const char* title;
  std::size_t width;
  bool right;
  std::function<std::string(const LiveVm&)> text;
};

// From left to right; what does not fit is left out from the end.
std::vector<ScreenColumn> columns_for(std::size_t columns) {
  std::vector<ScreenColumn> all = {
      {"NAME", kNameMin, false, name_of},
      {"STATE", 7, false, [](const LiveVm& vm) { return std::string(power_word(vm.power)); }},
      {"VC", 3, true, [](const LiveVm& vm) { return std::to_string(vm.vcores); }},
      {"CPU%", 6, true, cpu_text},
      {"MEM", 6, true, [](const LiveVm& vm) { return gibibytes(vm.memory_mib); }},
      {"READ/s", 6, true, [](const LiveVm& vm) { return short_count(vm.disk_read_bytes_per_s); }},
      {"WRITE/s", 7, true, [](const LiveVm& vm) { return short_count(vm.disk_write_bytes_per_s); }},
      {"RECV/s", 6, true, [](const LiveVm& vm) { return short_count(vm.network_receive_bytes_per_s); }},
      {"SEND/s", 6, true, [](const LiveVm& vm) { return short_count(vm.network_transmit_bytes_per_s); }},
      {"VCORE-H", 7, true, [](const LiveVm& vm) { return vcore_hours(vm.hour_vcore_ms); }},
      {"SUBSCRIPTION", 36, false,
       [](const LiveVm& vm) { return vm.owner_known ? vm.subscription.text() : std::string("(unowned)"); }},
      {"VM", 36, false, [](const LiveVm& vm) { return vm.vm.text(); }},
      {"MARKS", 24, false, [](const LiveVm& vm) { return nodemeter::status_text(vm.status); }}};
  std::size_t used = all.front().width;
  std::size_t fitting = 1;
  for (; fitting < all.size() && used + 1 + all[fitting].width <= columns; ++fitting) used += 1 + all[fitting].width;
  all.resize(fitting);
  if (used < columns) all.front().width = std::min(kNameMax, kNameMin + std::min(columns - used, kNameMax));
  return all;
}

std::string row_of(const std::vector<ScreenColumn>& columns,
                   const std::function<std::string(const ScreenColumn&)>& text) {
  std::string row;
  for (const ScreenColumn& column : columns) {
    const std::string value = cut(text(column), column.width);
    const std::string space(column.width - std::min(column.width, width_of(value)), ' ');
    if (!row.empty()) row += ' ';
    row += column.right ? space + value : value + space;
  }
  row.erase(row.find_last_not_of(' ') + 1);
  return row;
}

std::string keys_text(const TopView& view, std::size_t first, std::size_t shown, std::size_t matching,
                      std::size_t all) {
  std::string text = shown == 0 ? "none" : std::to_string(first + 1) + "-" + std::to_string(first + shown);
  text += " of " + std::to_string(matching);
  if (matching != all) text += " (" + std::to_string(all) + ")";
  for (const NamedOrder& named : kOrders) {
    if (named.order == view.order) text += std::string(" by ") + named.word + (view.reverse ? " up" : "");
  }
  if (view.typing) return text + "  filter: " + display_text(view.filter) + "_";
  if (!view.filter.empty()) text += "  /" + display_text(view.filter);
  return text + "  keys: c m d n a sort, r turn, / filter, q quit";
}

}  // namespace

std::optional<VmOrder> order_named(const std::string& word) {
  for (const NamedOrder& named : kOrders) {
    if (word == named.word) return named.order;
  }
  return std::nullopt;
}

bool press(TopView& view, TopKey key, char character, std::size_t page) {
  switch (key) {
    case TopKey::kUp: view.skip -= std::min<std::size_t>(view.skip, 1); return true;
    case TopKey::kDown: ++view.skip; return true;
    case TopKey::kPageUp: view.skip -= std::min(view.skip, page); return true;
    case TopKey::kPageDown: view.skip += page; return true;
    case TopKey::kHome: view.skip = 0; return true;
    case TopKey::kEnd: view.skip = SIZE_MAX / 2; return true;
    case TopKey::kEscape:
      view.filter.clear();
      view.typing = false;
      return true;
    case TopKey::kCharacter: break;
  }
  if (view.typing) {
    if (character == '\r' || character == '\n') {
      view.typing = false;
    } else if (character == kBackspace || character == kDelete) {
      while (!view.filter.empty() && (static_cast<unsigned char>(view.filter.back()) & 0xc0u) == 0x80u) {
        view.filter.pop_back();
      }
      if (!view.filter.empty()) view.filter.pop_back();
    } else if (static_cast<unsigned char>(character) >= 0x20 && view.filter.size() < kFilterMax) {
      view.filter.push_back(character);
    }
    view.skip = 0;
    return true;
  }
  if (character == 'q') return false;
  if (character == '/') {
    view.typing = true;
    view.filter.clear();
  }
  if (character == 'r') view.reverse = !view.reverse;
  for (const NamedOrder& named : kOrders) {
    if (character == named.key) view.order = named.order;
  }
  return true;
}

std::size_t top_rows(std::size_t lines) { return lines > kHeadLines ? lines - kHeadLines : 0; }

std::string top_text(const LiveSnapshot& snapshot, const ClockReading& now, const TopView& view, std::size_t lines,
                     std::size_t columns, bool colour) {
  const LiveNode& node = snapshot.node;
  const Verdict verdict = judge(snapshot, now);
  std::vector<const LiveVm*> vms;
  const std::string wanted = lower(view.filter);
  for (const LiveVm* vm : ordered(snapshot, view.order)) {
    if (matches(*vm, wanted)) vms.push_back(vm);
  }
  if (view.reverse) std::reverse(vms.begin(), vms.end());
  const std::size_t rows = std::min(top_rows(lines), vms.size());
  const std::size_t first = std::min(view.skip, vms.size() - rows);
  const std::vector<ScreenColumn> shown = columns_for(columns);

  const auto mark = [&](const std::string& line, const char* code) { return colour ? code + line + "\x1b[0m" : line; };
  std::vector<std::string> screen = {
      mark(cut(headline(verdict, snapshot), columns), verdict.safe ? "\x1b[32m" : "\x1b[31m"),
      cut(display_text(node.node) + "  " + iso_time(now.utc, true) + "  sample " + age_text(sample_age(node, now)) +
              " ago  backlog " + std::to_string(node.uploading ? backlog_of(node) : 0),
          columns),
      cut(keys_text(view, first, rows, vms.size(), snapshot.vms.size()), columns),
      mark(row_of(shown, [](const ScreenColumn& column) { return std::string(column.title); }), "\x1b[7m")};
  for (std::size_t i = first; i < first + rows; ++i) {
    screen.push_back(row_of(shown, [&](const ScreenColumn& column) { return column.text(*vms[i]); }));
  }
  std::string text;
  for (std::size_t i = 0; i < std::min(lines, screen.size()); ++i) text += (i == 0 ? "" : "\n") + screen[i];
  return text;
}

}  // namespace nodemeter::cli
