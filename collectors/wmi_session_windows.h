// WMI by COM. The only user of wbemidl.h is wmi_session_windows.cpp.

#pragma once

#include <string>

#include "collectors/wmi_session.h"

namespace nodemeter {

inline constexpr const char* kHypervNamespace = "root\\virtualization\\v2";

// Connects the calling thread, which becomes one of COM's multithreaded apartment for as long as the session lives.
// As WmiConnector.
Result<std::unique_ptr<WmiSession>> open_wmi_session(const std::string& name_space);

}  // namespace nodemeter
