#include "collectors/notice_stream.h"

#include <utility>

namespace nodemeter {

void NoticeStream::connected() {
  const std::lock_guard lock(mutex_);
  ++mark_;
  attached_ = gap_ = true;
}

void NoticeStream::closed() {
  {
    const std::lock_guard lock(mutex_);
    ++mark_;
    attached_ = false;
    gap_ = true;
  }
  noticed_.notify_all();
}

bool NoticeStream::take_urgency() {
  const std::lock_guard lock(mutex_);
  return std::exchange(urgent_, false);
}

std::uint64_t NoticeStream::mark() const {
  const std::lock_guard lock(mutex_);
  return mark_;
}

void NoticeStream::wait_beyond(std::uint64_t mark, Milliseconds wait) const {
  std::unique_lock lock(mutex_);
  noticed_.wait_for(lock, wait, [&] { return mark_ > mark; });
}

bool NoticeStream::unbroken() const {
  const std::lock_guard lock(mutex_);
  return attached_ && !gap_;
}

bool NoticeStream::take_unbroken() {
  const bool unbroken = attached_ && !gap_;
  gap_ = !attached_;
  return unbroken;
}

}  // namespace nodemeter
