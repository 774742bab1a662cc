// The screen of `top`: what is shown of a snapshot in a terminal of a given size, and what keys change about it. Pure.

#pragma once

#include <optional>
#include <string>

#include "agent/cli/live_text.h"

namespace nodemeter::cli {

// What the user chose to see.
struct TopView {
  VmOrder order = VmOrder::kCpu;
  bool reverse = false;
  std::string filter;    // Part of a name, an id, a subscription or a state, without regard to case. "": all VMs.
  bool typing = false;   // Keys go into the filter.
  std::size_t skip = 0;  // Rows scrolled away. Larger than there are: the last page is shown.
};

// A key as the terminal means it.
enum class TopKey { kCharacter, kUp, kDown, kPageUp, kPageDown, kHome, kEnd, kEscape };

// False: the user leaves. `page`: rows of one screen.
bool press(TopView& view, TopKey key, char character, std::size_t page);

// The word after --sort; nothing: it is none.
std::optional<VmOrder> order_named(const std::string& word);

// At most `lines` lines of at most `columns` characters, without a newline after the last. Fits 80x24: what has no room
// is left out by column, the VM's name last.
std::string top_text(const LiveSnapshot& snapshot, const ClockReading& now, const TopView& view, std::size_t lines,
                     std::size_t columns, bool colour);

// Rows of VMs on a screen of so many lines.
std::size_t top_rows(std::size_t lines);

}  // namespace nodemeter::cli
