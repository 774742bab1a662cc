#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <boost/interprocess/mapped_region.hpp>
#include <boost/interprocess/shared_memory_object.hpp>
#include <optional>
#include <system_error>

#include "platform/process.h"
#include "platform/shared_region.h"

namespace nodemeter {

namespace bip = boost::interprocess;

namespace {

Error failed(const std::string& what, const bip::interprocess_exception& e) {
  switch (e.get_error_code()) {
    case bip::not_found_error: return Error{ErrorCode::kNotFound, what + ": there is none"};
    case bip::security_error:
      return Error{ErrorCode::kPermissionDenied, what + ": account " + account_name() + " may not"};
    default:
      return Error{ErrorCode::kUnavailable, what + ": " + e.what() + " (" + std::to_string(e.get_native_error()) + ")"};
  }
}

std::optional<gid_t> group_id(const std::string& name) {
  if (name.empty()) return std::nullopt;
  group entry{};
  group* found = nullptr;
  std::array<char, 16 * 1024> buffer{};
  if (::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) {
    return std::nullopt;
  }
  return found->gr_gid;
}

}  // namespace

Result<SharedRegion> SharedRegion::create(const std::string& name, std::size_t size, const std::string& group) {
  const std::string what = "cannot create the shared memory '" + name + "'";
  try {
    // A fresh object, never the old one: readers that still map the old one keep what they saw, and an object that
    // somebody else prepared under our name is not written to.
    bip::shared_memory_object::remove(name.c_str());
    bip::shared_memory_object object(bip::create_only, name.c_str(), bip::read_write, bip::permissions(0600));
    object.truncate(static_cast<bip::offset_t>(size));
    const int fd = object.get_mapping_handle().handle;
    if (const std::optional<gid_t> id = group_id(group)) {
      // Only a member may give it to a group; if it cannot be done, it stays ours.
      if (::fchown(fd, static_cast<uid_t>(-1), *id) == 0) (void)::fchmod(fd, 0640);
    }
    const auto region = std::make_shared<bip::mapped_region>(object, bip::read_write);
    return SharedRegion(region, region->get_address(), region->get_size());
  } catch (const bip::interprocess_exception& e) {
    Error error = failed(what, e);
    if (e.get_error_code() == bip::already_exists_error) {
      error = Error{ErrorCode::kPermissionDenied, what + ": the name belongs to another account"};
    }
    return error;
  }
}

Result<SharedRegion> SharedRegion::open(const std::string& name) {
  try {
    bip::shared_memory_object object(bip::open_only, name.c_str(), bip::read_only);
    const auto region = std::make_shared<bip::mapped_region>(object, bip::read_only);
    return SharedRegion(region, region->get_address(), region->get_size());
  } catch (const bip::interprocess_exception& e) {
    return failed("cannot read the shared memory '" + name + "'", e);
  }
}

void SharedRegion::remove(const std::string& name) { bip::shared_memory_object::remove(name.c_str()); }

}  // namespace nodemeter
