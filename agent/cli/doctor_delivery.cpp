// The checks of `doctor` that concern delivery: certificates, keys, and the aggregator itself.

#include <algorithm>
#include <thread>

#include "agent/cli/advice.h"
#include "agent/cli/certificates.h"
#include "agent/cli/doctor.h"
#include "agent/daemon.h"
#include "platform/text.h"
#include "uploader/answer.h"
#include "uploader/client_certificate.h"
#include "uploader/curl_transport.h"

namespace nodemeter::cli {

namespace {

// Long enough to have a certificate renewed by people.
constexpr std::chrono::days kRenewWithin{21};

// A probe waits less long than a delivery does.
constexpr Milliseconds kProbeTimeout{15'000};
constexpr Milliseconds kProbePoll{20};

bool denied(const Error& error) { return error.code == ErrorCode::kPermissionDenied; }

// Validity of what one file holds. `all`: each certificate counts; else one that is valid is enough (authorities).
void check_validity(Examination& examination, const std::string& key, const std::string& path, bool all) {
  const std::string check = "certificate";
  const Result<std::vector<CertificateFacts>> read = read_certificates(path);
  if (!read) {
    const bool unknown = denied(read.error());
    return examination.add(unknown ? Health::kUnknown : Health::kFail, check,
                           "upload." + key + ": " + read.error().message,
                           unknown ? advice().as_service : "put a PEM certificate there, or correct upload." + key);
  }
  const UtcTime now = examination.console.clock.now().utc;
  const auto worse = [](const CertificateFacts& a, const CertificateFacts& b) { return a.not_after < b.not_after; };
  const CertificateFacts& one =
      all ? *std::min_element(read->begin(), read->end(), worse) : *std::max_element(read->begin(), read->end(), worse);
  const std::string name = "upload." + key + " " + path + " (" + one.subject + ")";
  if (one.not_after <= now) {
    examination.add(Health::kFail, check, name + " expired at " + iso_time(one.not_after, true),
                    "renew it; it is read again for every attempt, no restart is needed");
  } else if (one.not_before > now) {
    examination.add(Health::kFail, check, name + " is not valid before " + iso_time(one.not_before, true),
                    "see whether this node's clock is right");
  } else if (one.not_after - now < kRenewWithin) {
    examination.add(Health::kWarn, check, name + " expires at " + iso_time(one.not_after, true), "renew it");
  } else {
    examination.ok(check, name + " is valid until " + iso_time(one.not_after, true));
  }
}

// Text of libcurl and of OpenSSL, by what somebody can do about it.
std::string action_for(const UploadResponse& response) {
  const std::string& text = *response.transport_error;
  const auto says = [&](std::string_view words) { return text.find(words) != std::string::npos; };
  if (says("resolve")) return "DNS: check the name in upload.url and this node's resolver (getent hosts NAME)";
  if (response.certificate_error) return "TLS: check upload.ca_file, the name in upload.url and the certificates above";
  if (response.configuration_error) return "check the files that [upload] names, and upload.proxy";
  if (says("timed out") || says("Timeout")) return "check firewalls and routes between this node and the aggregator";
  return "see whether the aggregator runs and listens there, and what stands between";
}

UploadResponse send_empty_batch(const CurlOptions& upload, const NodeId& node, const Console& console) {
  Result<std::unique_ptr<Transport>> transport = open_curl_transport(upload, console.clock, {});
  UploadResponse response;
  if (!transport) {
    response.transport_error = transport.error().message;
    response.configuration_error = true;
    return response;
  }
  UploadRequest request;
  request.url_suffix_token = node.text() + ":doctor";
  request.headers.emplace_back("Nodemeter-Node", node.text());
  (*transport)->begin(std::move(request));
  for (;;) {  // The transport's own time-outs end it.
    if (std::optional<UploadResponse> answer = (*transport)->poll()) return *std::move(answer);
    std::this_thread::sleep_for(kProbePoll);
  }
}

void check_url(Examination& examination, const std::string& url, const NodeId& node) {
  CurlOptions upload = examination.options.upload;
  upload.urls = {url};
  upload.compression = Compression::kNone;
  upload.connect_timeout = std::min(upload.connect_timeout, kProbeTimeout);
  upload.total_timeout = std::min(upload.total_timeout, kProbeTimeout);
  upload.user_agent = std::string("nodemeter-doctor/") + NODEMETER_VERSION;
  const UploadResponse response = send_empty_batch(upload, node, examination.console);
  const std::string check = "aggregator";
  if (response.transport_error) {
    return examination.add(Health::kFail, check, *response.transport_error, action_for(response));
  }
  const std::string shown = url.substr(0, url.find('?'));
  const Answer answer = classify(response, 0);
  switch (answer.verdict) {
    case Verdict::kAccepted:
    case Verdict::kData:  // "The body is empty": it is, and whoever says so would take a batch.
      return examination.ok(check, shown + " is reached and answers (" + std::to_string(response.status) + ")");
    case Verdict::kHeld:
      return examination.add(Health::kFail, check, shown + ": " + answer.reason,
                             "check the path of upload.url, this node's certificate or token, and its rights there");
    case Verdict::kRetry: break;
  }
  examination.add(Health::kWarn, check, shown + ": " + answer.reason,
                  "delivery is retried; if it stays so, look at the aggregator");
}

void check_medium(Examination& examination, const std::filesystem::path& directory) {
  std::error_code error;
  if (std::filesystem::is_directory(directory, error)) {
    return examination.ok("aggregator", "nothing is sent; the medium " + directory.string() + " is there");
  }
  examination.add(Health::kWarn, "aggregator", "the medium " + directory.string() + " is not there",
                  "mount it: what is not acknowledged is written to it then");
}

}  // namespace

void check_certificates(Examination& examination) {
  const CurlOptions& upload = examination.options.upload;
  if (!upload.ca_file.empty()) check_validity(examination, "ca_file", upload.ca_file, false);
  if (upload.cert_file.empty()) return;
  check_validity(examination, "cert_file", upload.cert_file, true);
  if (const auto fault = client_certificate_fault(upload, "upload.")) {
    return examination.add(Health::kFail, "certificate", "upload." + fault->key + " " + fault->what,
                           "correct [upload] in the configuration");
  }
  if (upload.key_file.empty()) return;  // It lies with its certificate.
  const Status matches = check_key_of(upload.cert_file, upload.key_file);
  if (matches) return examination.ok("certificate", "upload.key_file is the key of upload.cert_file");
  const bool unknown = denied(matches.error());
  examination.add(unknown ? Health::kUnknown : Health::kFail, "certificate", matches.error().message,
                  unknown ? advice().as_service : "put the certificate and its key there together");
}

void check_aggregator(Examination& examination) {
  const Options& options = examination.options;
  if (!options.carry.directory.empty()) return check_medium(examination, options.carry.directory);
  if (options.upload.urls.empty()) {
    return examination.add(Health::kWarn, "aggregator", "none is configured: what is metered stays on this node",
                           "set upload.url, unless that is what you want");
  }
  const Result<NodeId> node = node_id_of(options);
  if (!node) return examination.add(Health::kFail, "aggregator", node.error().message, "set node.id");
  for (const std::string& url : options.upload.urls) check_url(examination, url, *node);
}

}  // namespace nodemeter::cli
