// A source whose VMs have the owners that the owners file says, laid over those of another source.
//
// The file is looked at with every sample, and when reload() asks for it; what it says holds from that sample on. A
// file that is wrong or gone changes nothing: the last good content stays in force, the log and owners_state() say so.
// That content is kept at `kept`, too, so that a node that restarts while the file is wrong goes on metering for the
// right owners.

#pragma once

#include <filesystem>
#include <memory>

#include "collectors/source.h"
#include "platform/log.h"
#include "platform/result.h"

namespace nodemeter {

struct OwnersOptions {
  std::filesystem::path file;
  std::filesystem::path kept;    // The last good content; "": it is not kept.
  bool patterns_allowed = true;  // False where tenants choose the names of their VMs.
};

// `log` must outlive the source.
//   kInvalidInput  the file is wrong, and there is no kept content; every fault with its line
//   and what reading the file gives, if there is no kept content
Result<std::unique_ptr<Source>> open_owned_source(const OwnersOptions& options, std::unique_ptr<Source> inner,
                                                  Log& log);

}  // namespace nodemeter
