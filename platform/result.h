// What a call that can fail gives back.
//
// Three kinds of wrong stay apart: the world failed (Result holds an Error), something is absent (an empty optional:
// an answer, not an error), we have a bug (platform/contract.h). Plain values: copy and move between threads freely.

#pragma once

#include <string>
#include <utility>
#include <variant>

#include "platform/contract.h"

namespace nodemeter {

// Few codes, each with its own reaction. The message keeps the details: errno, path, VM, HTTP status.
enum class ErrorCode {
  kUnavailable,       // Not now: try again later, the other side may come back.
  kPermissionDenied,  // An operator has to grant something.
  kInvalidInput,      // What was given is wrong: the message names the field, its value and what is allowed.
  kNotFound,          // The named thing does not exist.
  kCorrupt,           // Stored or received bytes make no sense: set aside, report, do not use.
  kFull,              // No room: keep going without, and say so.
  kLocked,            // Somebody else holds it.
  kUnsupported,       // Made by a newer version, or not available on this platform.
  kLimitExceeded,     // A named limit: the message says which and what to do.
};

struct [[nodiscard]] Error {
  ErrorCode code = ErrorCode::kUnavailable;
  std::string message;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : held_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : held_(std::in_place_index<1>, std::move(error)) {}

  [[nodiscard]] bool ok() const { return held_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // Requires ok().
  [[nodiscard]] T& value() & {
    NM_ASSERT(ok());
    return std::get<0>(held_);
  }
  [[nodiscard]] const T& value() const& {
    NM_ASSERT(ok());
    return std::get<0>(held_);
  }
  [[nodiscard]] T value() && {
    NM_ASSERT(ok());
    return std::get<0>(std::move(held_));
  }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }

  // Requires !ok().
  [[nodiscard]] const Error& error() const {
    NM_ASSERT(!ok());
    return std::get<1>(held_);
  }

 private:
  std::variant<T, Error> held_;
};

// Success without a value: `return Done{};`.
struct Done {};
using Status = Result<Done>;

}  // namespace nodemeter
