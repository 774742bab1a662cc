// The names under which Windows knows the service. Only *_windows.cpp include this.

#pragma once

namespace nodemeter::cli {

inline constexpr const wchar_t* kServiceName = L"nodemeter";
inline constexpr const wchar_t* kServiceTitle = L"nodemeter usage metering";
inline constexpr const wchar_t* kServiceText =
    L"Meters the virtual machines of this host and delivers their usage to the aggregator.";
// An account of the service's own, without a password, that the system makes with the service.
inline constexpr const wchar_t* kServiceAccount = L"NT SERVICE\\nodemeter";

// What the service asks for to commit and to end; at a shutdown the system is told to wait as long.
inline constexpr unsigned long kStopsWithinMs = 30'000;

// Events of the application log: this number plus the level (0 debug, 1 information, 2 warning, 3 error).
inline constexpr unsigned long kEventOfLevel = 100;

}  // namespace nodemeter::cli
