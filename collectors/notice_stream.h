// What every tracker of a hypervisor's notices keeps beside what the notices tell: whether they come without a break,
// how many came, and whether one of them deserves an early sample.
//
// Threads: the public methods from any thread. What derives from it holds `mutex_` while it uses the members.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "platform/clock.h"

namespace nodemeter {

class NoticeStream {
 public:
  NoticeStream(const NoticeStream&) = delete;
  NoticeStream& operator=(const NoticeStream&) = delete;

  // Notices are kept from now on; what is known from before may be stale.
  void connected();
  // Notices may be lost from now on.
  void closed();

  // True once after something deserved an early sample.
  bool take_urgency();

  // A mark in the stream of notices; grows with each.
  [[nodiscard]] std::uint64_t mark() const;
  // Waits until a notice after `mark` came, at most `wait`.
  void wait_beyond(std::uint64_t mark, Milliseconds wait) const;

  // Whether notices are kept, and have been since the last sample took them.
  [[nodiscard]] bool unbroken() const;

 protected:
  NoticeStream() = default;
  ~NoticeStream() = default;

  // For the sample that takes the notices. The stream counts as unbroken from here on if notices are kept.
  bool take_unbroken();

  mutable std::mutex mutex_;
  mutable std::condition_variable noticed_;
  std::uint64_t mark_ = 0;
  bool attached_ = false;  // Notices are kept.
  bool gap_ = true;        // Some were lost, or may have been, since they were last taken.
  bool urgent_ = false;
};

}  // namespace nodemeter
