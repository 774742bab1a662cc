// libcurl's process-wide part, held by whoever owns the process.
//
// Not safe beside other threads: main() or the embedder makes one before it starts any, and lets go after they ended.
// The library never does it behind its embedder's back.

#pragma once

namespace nodemeter {

class CurlGlobal {
 public:
  CurlGlobal();
  CurlGlobal(const CurlGlobal&) = delete;
  CurlGlobal& operator=(const CurlGlobal&) = delete;
  ~CurlGlobal();

  // False: libcurl cannot be used in this process.
  [[nodiscard]] bool ready() const { return ready_; }

 private:
  bool ready_ = false;
};

}  // namespace nodemeter
