// nodemeter-aggregator without a verb: serves until it is asked to stop. The composition root of the serving process;
// it alone reads the real clock, disk and signals.

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace nodemeter {

// What the command line says; it wins over the configuration file.
struct ServeFlags {
  std::string config_file, listen, state, cert, key, client_ca, nodes, tokens, port_file;
  bool allow_simulated = false;
};

// Address space, not disk: the file grows with what is stored.
inline constexpr std::uint64_t kStoreSizeMax = 256ull << 30;

inline std::filesystem::path rows_directory(const std::filesystem::path& state) { return state / "rows"; }

// The exit code: 0 asked to stop, 1 failed, 2 configuration. Messages go to standard error.
int serve(const ServeFlags& flags);

}  // namespace nodemeter
