#include <boost/interprocess/mapped_region.hpp>
#include <boost/interprocess/windows_shared_memory.hpp>
#include <cstring>
#include <optional>

#include "platform/process.h"
#include "platform/shared_region.h"
#include "platform/windows_api.h"

namespace nodemeter {

namespace bip = boost::interprocess;

namespace {

struct Mapping {
  bip::windows_shared_memory object;  // The name lives as long as a handle.
  bip::mapped_region region;
};

// Every session sees the first; only services and administrators may make a name there. A trial in a user's own session
// has the second.
std::string everywhere(const std::string& name) { return "Global\\" + name; }
std::string this_session(const std::string& name) { return "Local\\" + name; }

Error failed(const std::string& what, const bip::interprocess_exception& e) {
  switch (e.get_error_code()) {
    case bip::not_found_error: return Error{ErrorCode::kNotFound, what + ": there is none"};
    case bip::security_error:
      return Error{ErrorCode::kPermissionDenied, what + ": account " + account_name() + " may not"};
    default: break;
  }
  return windows::failed(what, static_cast<windows::ErrorNumber>(e.get_native_error()));
}

// One that a reader still holds cannot be replaced: it is cleared and used again, if nobody else prepared it. Null if
// somebody did.
std::shared_ptr<Mapping> make(const std::string& name, std::size_t size, const bip::permissions& permissions) {
  bip::windows_shared_memory object;
  bool fresh = true;
  try {
    object = bip::windows_shared_memory(bip::create_only, name.c_str(), bip::read_write, size, permissions);
  } catch (const bip::interprocess_exception& e) {
    if (e.get_error_code() != bip::already_exists_error) throw;
    object = bip::windows_shared_memory(bip::open_only, name.c_str(), bip::read_write);
    fresh = false;
  }
  bip::mapped_region region(object, bip::read_write);
  if (region.get_size() < size) return nullptr;
  if (!fresh) {
    if (!windows::memory_owner_is_trusted(name)) return nullptr;
    std::memset(region.get_address(), 0, region.get_size());
  }
  return std::make_shared<Mapping>(Mapping{std::move(object), std::move(region)});
}

}  // namespace

Result<SharedRegion> SharedRegion::create(const std::string& name, std::size_t size, const std::string& group) {
  const std::string what = "cannot create the shared memory '" + name + "'";
  const windows::Security security(group);
  const bip::permissions permissions(security.attributes());
  std::optional<Error> last;
  for (const std::string& full : {everywhere(name), this_session(name)}) {
    try {
      if (const std::shared_ptr<Mapping> made = make(full, size, permissions)) {
        return SharedRegion(made, made->region.get_address(), made->region.get_size());
      }
      return Error{ErrorCode::kPermissionDenied, what + ": the name belongs to another account or program"};
    } catch (const bip::interprocess_exception& e) {
      last = failed(what, e);
      if (last->code != ErrorCode::kPermissionDenied) break;
    }
  }
  return *last;
}

Result<SharedRegion> SharedRegion::open(const std::string& name) {
  std::optional<Error> last;
  for (const std::string& full : {everywhere(name), this_session(name)}) {
    try {
      bip::windows_shared_memory object(bip::open_only, full.c_str(), bip::read_only);
      bip::mapped_region region(object, bip::read_only);
      const auto mapping = std::make_shared<Mapping>(Mapping{std::move(object), std::move(region)});
      return SharedRegion(mapping, mapping->region.get_address(), mapping->region.get_size());
    } catch (const bip::interprocess_exception& e) {
      last = failed("cannot read the shared memory '" + name + "'", e);
      if (last->code != ErrorCode::kNotFound) break;
    }
  }
  return *last;
}

void SharedRegion::remove(const std::string&) {}  // The system does, with the last handle.

}  // namespace nodemeter
