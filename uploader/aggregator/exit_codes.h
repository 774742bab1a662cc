// What the aggregator's verbs end with: 0 done, 1 failed, 2 wrong use, 3 the answer has holes. README.md names them.

#pragma once

namespace nodemeter {

inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kWrongUse = 2;
inline constexpr int kIncomplete = 3;

}  // namespace nodemeter
