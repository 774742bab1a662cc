// What a test and the stand-in for pdh.dll, which lies beside it, say to each other.

#pragma once

#include <cstdint>

namespace nodemeter {

struct FakePdhHost {
  // The status that a pass over all counters ends with.
  std::uint32_t (*collected)();
  // Whether "\Set(*)\Counter" is offered, and its type code.
  bool (*offered)(const wchar_t* path, std::uint32_t& type);
  // How many instances it has now; then each: its name (valid until the next call), raw value and status.
  std::uint32_t (*count)(const wchar_t* path);
  void (*value)(const wchar_t* path, std::uint32_t index, const wchar_t*& name, std::uint64_t& raw,
                std::uint32_t& status);
  // Changes when the counters' provider is started again: those that were added before show nothing any more.
  std::uint32_t (*provider)();
};

// Exported by the stand-in as "fake_pdh_host". Null: there is nothing to read.
using SetFakePdhHost = void (*)(const FakePdhHost* host);

}  // namespace nodemeter
