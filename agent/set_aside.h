// A damaged store is put aside, never repaired or deleted: metering goes on in a new one, and the old one is evidence.
//
// <state>/journal is renamed to <state>/journal.damaged-<UTC time>, with a note in it (damage.txt). Everything that the
// new store says about it is read from that directory, so that a crash in between loses nothing.

#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "platform/clock.h"
#include "platform/result.h"

namespace nodemeter {

// More damage than this within a day is a failing disk: new stores would not last either.
inline constexpr std::size_t kSetAsidePerDay = 5;

// Moves the store away; nobody may have it open. Durable. Gives the new directory's name.
// kLimitExceeded: kSetAsidePerDay of them are of the last day. Else what the file system says.
Result<std::string> set_aside_store(const std::filesystem::path& state, const std::string& why, UtcTime now);

// The detail of the entry with which a new store begins: {"event":"store-replaced",…} with the newest directory that
// was put aside, the reason, and the epoch and last sequence number in it, as far as they can be read. Nothing: there
// is no such directory.
std::optional<std::string> store_replaced_detail(const std::filesystem::path& state, UtcTime now);

}  // namespace nodemeter
