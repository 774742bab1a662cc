// The registration's customer subscriptions where they are really kept: PUT, GET and DELETE of
// …/customerSubscriptions/{id}?api-version=2017-06-01 below the registration, over HTTPS.
//
// 502, other signs of a busy or absent server, and no answer at all are tried again, with pauses that double; what is
// left of them then is MetadataResolverBadGatewayError. Every other refusal comes back by the code that the server
// gave. Blocks. One thread.

#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "platform/clock.h"
#include "uploader/aggregator/registration.h"
#include "uploader/aggregator/web_request.h"

namespace nodemeter {

struct UpstreamOptions {
  std::string url;          // "https://management.azure.com"
  std::string bearer_file;  // Read again for each request.
  std::string ca_file;
  int attempts = 5;
  Milliseconds pause{1'000};  // Before the second attempt.
  Milliseconds timeout{60'000};
};

struct CustomerSubscription {
  std::string id;      // As the server writes it.
  std::string tenant;  // "" if it does not tell.
};

class RegistrationUpstream {
 public:
  using Sleep = std::function<void(Milliseconds)>;

  // `registration` names what is asked for; it must outlive the object.
  RegistrationUpstream(UpstreamOptions options, const Registration& registration, Sleep sleep)
      : options_(std::move(options)), registration_(registration), sleep_(std::move(sleep)) {}

  // Nothing: done. Both may be repeated: a second one changes nothing.
  std::optional<RegistrationError> put(const std::string& subscription, const Uuid& tenant);
  std::optional<RegistrationError> remove(const std::string& subscription);

  // 404 without a code is CustomerSubscriptionNotFound.
  std::variant<CustomerSubscription, RegistrationError> get(const std::string& subscription);

  // All pages. No customer subscription at all is an empty list, however the server says it.
  std::variant<std::vector<CustomerSubscription>, RegistrationError> list();

 private:
  std::variant<WebAnswer, RegistrationError> ask(const std::string& method, const std::string& url,
                                                 const std::string& body = {});
  [[nodiscard]] std::string url_of(const std::string& subscription) const;

  const UpstreamOptions options_;
  const Registration& registration_;
  const Sleep sleep_;
};

}  // namespace nodemeter
