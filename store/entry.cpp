#include "store/entry.h"

#include <array>
#include <utility>

namespace nodemeter {

const char* entry_kind_name(EntryKind kind) {
  switch (kind) {
    case EntryKind::kUsage: return "usage";
    case EntryKind::kGap: return "gap";
    case EntryKind::kEvent: return "event";
    case EntryKind::kManifest: return "manifest";
  }
  return "unknown";
}

std::string status_text(std::uint32_t status) {
  using namespace status_bit;
  static constexpr std::array<std::pair<std::uint32_t, std::string_view>, 16> kNames{{
      {kEstimated, "estimated"},
      {kGap, "gap"},
      {kClockStepped, "clock_stepped"},
      {kClockUnsynchronised, "clock_unsynchronised"},
      {kRunChanged, "run_changed"},
      {kBaseline, "baseline"},
      {kCounterFell, "counter_fell"},
      {kCounterMissing, "counter_missing"},
      {kOwnerUnknown, "owner_unknown"},
      {kLate, "late"},
      {kPartial, "partial"},
      {kUsageLost, "usage_lost"},
      {kSimulated, "simulated"},
      {kAcrossBoots, "across_boots"},
      {kWrapped, "wrapped"},
      {kLoweringEventLate, "lowering_event_late"},
  }};
  std::string text;
  const auto add = [&text](std::string_view name) {
    if (!text.empty()) text += ',';
    text += name;
  };
  for (const auto& [bit, name] : kNames) {
    if ((status & bit) != 0) add(name);
    status &= ~bit;
  }
  // A bit of a newer version is shown, not swallowed.
  for (std::uint32_t bit = 0; bit < 32; ++bit) {
    if ((status >> bit & 1u) != 0) add("bit_" + std::to_string(bit));
  }
  return text;
}

}  // namespace nodemeter
