// What a platform knows of its clocks, one file each: system_clock() is made of it, and nothing else asks.

#pragma once

#include "platform/clock.h"

namespace nodemeter {

// The boot that this process runs in; all zeros if the system has no name for it.
BootId read_boot_id();

// All but the boot. Any thread.
ClockReading read_system_clocks();

}  // namespace nodemeter
