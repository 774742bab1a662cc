// Everything an operator can set, with its default, unit and limits. Plain values; agent/config_file.h fills them.

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "agent/machine.h"
#include "agent/meter.h"
#include "collectors/source.h"
#include "uploader/carrier.h"
#include "uploader/curl_transport.h"
#include "uploader/uploader.h"

namespace nodemeter {

enum class SourceKind { kAuto, kLibvirt, kHyperv, kSimulated, kReplay };

struct Options {
  // [node]
  std::string node_id;  // "": derived from the machine id.
  std::string location = "local";

  // [source]
  SourceKind source_kind = SourceKind::kAuto;
  std::string source_uri = "qemu:///system";
  std::string scenario;
  std::uint32_t speed = 1;  // 1 to 100 000.
  std::string trace;

  // [sampling]
  Milliseconds sample_interval{10'000};  // 100 ms to 1 h. Shorter: finer marks, more CPU.
  SourceOptions source;

  // [metering]
  MeterOptions meter;

  // [state]
  std::filesystem::path state_path = default_state_path();
  Milliseconds retention{400ll * 86'400'000};
  std::uint64_t store_size_max = 8ull << 30;

  // [upload]
  CurlOptions upload;
  UploaderOptions uploader;
  // A file:// URL in the place of all others: what is not acknowledged is written there, to be carried.
  CarryTarget carry;
  [[nodiscard]] bool delivers() const { return !upload.urls.empty() || !carry.directory.empty(); }

  // [owners]
  std::string owners_file;

  // [live]
  std::string live_name = "nodemeter";
  std::string live_group = "nodemeter";

  // [log]
  std::string log_level = "info";
  bool log_json = false;
};

inline constexpr std::uint32_t kSpeedMax = 100'000;
inline constexpr Milliseconds kSampleIntervalMin{100};
inline constexpr Milliseconds kSampleIntervalMax{3'600'000};

}  // namespace nodemeter
