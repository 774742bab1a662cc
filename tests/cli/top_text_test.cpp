// Goal: `top` shows what matters in 80x24, and every key does what the screen says.
// Method: a node with more VMs than fit; keys as the terminal sends them, screens line by line. The real terminal is in
// tests/operator/top_main.py.

#include "agent/cli/top_text.h"

#include <catch2/catch.hpp>

#include "agent/cli/table.h"
#include "live_snapshot.h"

using namespace nodemeter;
using namespace nodemeter::cli;

namespace {

// VM n has n vcores, 10 n permille, and its rates fall with n.
LiveSnapshot crowded(std::size_t vms) {
  LiveSnapshot s = healthy();
  LiveVm vm = s.vms.front();
  s.vms.clear();
  for (std::size_t n = 1; n <= vms; ++n) {
    Uuid id;
    id.bytes[15] = static_cast<std::uint8_t>(n);
    vm.vm = VmId(id);
    vm.name = "vm-" + std::to_string(100 + n);
    vm.vcores = static_cast<std::uint32_t>(n);
    vm.cpu_permille = 10 * n;
    vm.memory_mib = 512 * n;
    vm.disk_read_bytes_per_s = 1'000'000'000 / n;
    vm.network_receive_bytes_per_s = 10'000 * n;
    s.vms.push_back(vm);
  }
  return s;
}

std::vector<std::string> screen_of(const LiveSnapshot& s, const TopView& view, std::size_t lines = 24,
                                   std::size_t columns = 80) {
  std::vector<std::string> screen(1);
  for (const char c : top_text(s, now(), view, lines, columns, false)) {
    if (c == '\n') {
      screen.emplace_back();
    } else {
      screen.back().push_back(c);
    }
  }
  return screen;
}

std::string first_vm(const LiveSnapshot& s, const TopView& view) {
  const std::string row = screen_of(s, view)[4];
  return row.substr(0, row.find(' '));
}

void type(TopView& view, const std::string& keys) {
  for (const char c : keys) CHECK(press(view, TopKey::kCharacter, c, 20));
}

}  // namespace

TEST_CASE("top fills 80x24 with the verdict, the titles and 20 VMs, and nothing wraps", "[top]") {
  const LiveSnapshot s = crowded(60);
  const std::vector<std::string> screen = screen_of(s, {});
  REQUIRE(screen.size() == 24);
  for (const std::string& line : screen) CHECK(width_of(line) <= 80);
  CHECK(screen[0] == "billing safe: 60 VMs metered, delivery works");
  CHECK(screen[2].rfind("1-20 of 60 by cpu  keys:", 0) == 0);
  CHECK(screen[3] == "NAME              STATE    VC   CPU%    MEM READ/s WRITE/s RECV/s SEND/s VCORE-H");
  CHECK(screen[4] == "vm-160            running  60   60.0  30.0G  16.6M     999   600k      -    0.00");
  CHECK(screen[23].rfind("vm-141 ", 0) == 0);
}

TEST_CASE("top uses a wider terminal for owners and ids, and a narrow one for what counts most", "[top]") {
  const LiveSnapshot s = crowded(3);
  CHECK(screen_of(s, {}, 24, 160)[3].find("SUBSCRIPTION") != std::string::npos);
  CHECK(screen_of(s, {}, 24, 230)[3].find("MARKS") != std::string::npos);
  for (std::size_t columns = 1; columns < 80; ++columns) {
    for (const std::string& line : screen_of(s, {}, 24, columns))
      CHECK(width_of(line) <= std::max<std::size_t>(columns, 14));
  }
  CHECK(screen_of(s, {}, 24, 30)[4] == "vm-103             running   3");
  CHECK(screen_of(s, {}, 3, 80).size() == 3);
}

TEST_CASE("a key sorts, turns, scrolls and leaves", "[top]") {
  const LiveSnapshot s = crowded(60);
  TopView view;
  CHECK(first_vm(s, view) == "vm-160");
  type(view, "d");
  CHECK(first_vm(s, view) == "vm-101");
  type(view, "m");
  CHECK(first_vm(s, view) == "vm-160");
  type(view, "a");
  CHECK(first_vm(s, view) == "vm-101");
  type(view, "r");
  CHECK(first_vm(s, view) == "vm-160");
  type(view, "rn");
  CHECK(press(view, TopKey::kDown, '\0', 20));
  CHECK(first_vm(s, view) == "vm-159");
  CHECK(press(view, TopKey::kPageDown, '\0', 20));
  CHECK(first_vm(s, view) == "vm-139");
  CHECK(press(view, TopKey::kEnd, '\0', 20));
  CHECK(first_vm(s, view) == "vm-120");
  CHECK(screen_of(s, view)[2].rfind("41-60 of 60 by network", 0) == 0);
  CHECK(press(view, TopKey::kHome, '\0', 20));
  CHECK(press(view, TopKey::kPageUp, '\0', 20));
  CHECK(press(view, TopKey::kUp, '\0', 20));
  CHECK(first_vm(s, view) == "vm-160");
  CHECK_FALSE(press(view, TopKey::kCharacter, 'q', 20));
}

TEST_CASE("a filter is typed, corrected, kept and taken away", "[top]") {
  LiveSnapshot s = crowded(60);
  s.vms[4].name = "Grüße";
  TopView view;
  type(view, "/VM-15q\x7f");
  CHECK(view.typing);
  CHECK(screen_of(s, view)[2] == "1-10 of 10 (60) by cpu  filter: VM-15_");
  type(view, "9\r");
  CHECK_FALSE(view.typing);
  CHECK(first_vm(s, view) == "vm-159");
  CHECK(screen_of(s, view).size() == 5);
  type(view, "/nobody\r");
  CHECK(screen_of(s, view)[2].rfind("none of 0 (60)", 0) == 0);
  type(view, "/Grü\x7f\x7fr\r");
  CHECK(first_vm(s, view) == "Grüße");
  CHECK(press(view, TopKey::kEscape, '\0', 20));
  CHECK(screen_of(s, view)[2].rfind("1-20 of 60", 0) == 0);
  type(view, "/PAUSED\r");
  s.vms[7].power = 2;
  CHECK(screen_of(s, view).size() == 5);
}

TEST_CASE("a hostile name is one cell of the screen", "[top]") {
  const LiveSnapshot s = healthy();
  const std::string text = top_text(s, now(), {}, 24, 80, false);
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(screen_of(s, {}).size() == 6);
}
