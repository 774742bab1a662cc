// A named piece of memory that one process writes and others read (the only Boost.Interprocess).
//
// POSIX: a shared memory object, readable by one group, which outlives its writer until it is removed or replaced.
// Windows: a named mapping, seen by all sessions where the account may do that, that the system removes with its last
// handle. One that somebody still reads is cleared and used again.

#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "platform/result.h"

namespace nodemeter {

class SharedRegion {
 public:
  SharedRegion(SharedRegion&&) noexcept = default;
  SharedRegion& operator=(SharedRegion&&) noexcept = default;
  ~SharedRegion() = default;  // Unmaps. The name stays: remove() takes it away.

  // A new region of `size` zero bytes under `name`, in place of one that may exist. Members of `group` may read it;
  // with "" or a group that does not exist only this account may. Memory is used when it is first written.
  // kUnavailable, kPermissionDenied (the name belongs to another account).
  static Result<SharedRegion> create(const std::string& name, std::size_t size, const std::string& group);

  // Maps an existing region for reading: a write to it ends the process.
  // kNotFound, kPermissionDenied, kUnavailable.
  static Result<SharedRegion> open(const std::string& name);

  static void remove(const std::string& name);

  // Page-aligned. Writing requires a region made by create().
  [[nodiscard]] void* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  SharedRegion(std::shared_ptr<const void> mapping, void* data, std::size_t size)
      : mapping_(std::move(mapping)), data_(data), size_(size) {}
  std::shared_ptr<const void> mapping_;  // Of the platform's own kind.
  void* data_;
  std::size_t size_;
};

}  // namespace nodemeter
