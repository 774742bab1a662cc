// The few operations on a database file that its library leaves to us: growing it durably and syncing it.

#pragma once

#include <cstdint>
#include <filesystem>

#include "platform/result.h"

namespace nodemeter {

// Writes zeros to bytes [from, to) of an open file (a descriptor on POSIX, a HANDLE on Windows) and makes them and the
// new size durable. kFull: the file system is full; the file may be longer than before. kUnavailable: anything else.
Status extend_with_zeros(std::intptr_t file, std::uint64_t from, std::uint64_t to);

// Makes content and size of a file durable. kNotFound, kPermissionDenied, kUnavailable.
Status sync_file(const std::filesystem::path& path);

}  // namespace nodemeter
