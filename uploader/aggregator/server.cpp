#include "uploader/aggregator/server.h"

#include <httplib.h>

#include <atomic>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "platform/text.h"
#include "uploader/aggregator/inflate.h"
#include "uploader/aggregator/metrics.h"

namespace nodemeter {
namespace {

// A request that is refused is still read up to here, so that its sender gets to see why.
constexpr std::size_t kDrainBytesMax = 64u << 20;
constexpr std::chrono::seconds kBodyTimeMax{120};
constexpr char kEncodingHeader[] = "Nodemeter-Received-Encoding";

std::string error_json(std::string_view sentence) {
  return nlohmann::json{{"error", std::string(sentence)}}.dump(-1, ' ', false,
                                                               nlohmann::json::error_handler_t::replace);
}

void answer_error(httplib::Response& response, int status, std::string_view sentence) {
  response.status = status;
  response.set_content(error_json(sentence), "application/json");
  if (status == 401) response.set_header("WWW-Authenticate", "Bearer");
  if (status == 503) response.set_header("Retry-After", "30");
}

// Answers and then closes the connection: what is left of the request is not read and must not pass for the next one.
void answer_and_close(httplib::Response& response, int status, std::string_view sentence) {
  answer_error(response, status, sentence);
  std::string body = std::exchange(response.body, std::string());
  response.set_header("Connection", "close");
  const std::size_t size = body.size();
  response.headers.erase("Content-Type");
  response.set_content_provider(
      size, "application/json",
      [body = std::move(body)](std::size_t offset, std::size_t length, httplib::DataSink& sink) {
        sink.write(body.data() + offset, length);
        return false;  // The library closes a connection whose body "failed".
      });
}

// Where a connection notes that its client certificate was not accepted.
int refused_certificate_slot() {
  static const int slot = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return slot;
}

// Lets the handshake finish whatever the certificate is: the alert that ends it mostly gets lost in a reset, and its
// sender would take that for weather. An answer with 401 arrives, and an operator reads it.
int note_certificate(int good, X509_STORE_CTX* chain) {
  if (good == 1) return 1;
  auto* const ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx()));
  static char refused = 1;
  return ssl != nullptr && SSL_set_ex_data(ssl, refused_certificate_slot(), &refused) == 1 ? 1 : 0;
}

std::vector<std::string> certificate_names(const SSL* ssl) {
  std::vector<std::string> names;
  if (ssl == nullptr || SSL_get_verify_result(ssl) != X509_V_OK) return names;
  if (SSL_get_ex_data(ssl, refused_certificate_slot()) != nullptr) return names;
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(SSL_get1_peer_certificate(ssl), &X509_free);
  if (!certificate) return names;
  const auto add = [&](const ASN1_STRING* text) {
    unsigned char* utf8 = nullptr;
    const int size = ASN1_STRING_to_UTF8(&utf8, text);
    if (size < 0) return;
    const std::string name(reinterpret_cast<const char*>(utf8), static_cast<std::size_t>(size));
    OPENSSL_free(utf8);
    // "node-1\0.example.org" is a name that means different things to different readers.
    if (is_plain_text(name)) names.push_back(name);
  };
  const X509_NAME* const subject = X509_get_subject_name(certificate.get());
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at >= 0) add(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
  auto* const others =
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate.get(), NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; others != nullptr && i < sk_GENERAL_NAME_num(others); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(others, i);
    if (name->type == GEN_DNS) add(name->d.dNSName);
  }
  GENERAL_NAMES_free(others);
  return names;
}

// Certificates of this server and, where asked for, the authority of its senders. Says what is wrong, "" if nothing.
std::string set_up_tls(SSL_CTX& context, const ServerOptions& options) {
  SSL_CTX_set_min_proto_version(&context, TLS1_2_VERSION);
  // No resumed sessions: every connection shows its certificate anew.
  SSL_CTX_set_options(&context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(&context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(&context, 0);
  if (SSL_CTX_use_certificate_chain_file(&context, options.cert_file.c_str()) != 1) {
    return "cert_file " + options.cert_file + " is not a readable PEM certificate";
  }
  if (SSL_CTX_use_PrivateKey_file(&context, options.key_file.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(&context) != 1) {
    return "key_file " + options.key_file + " is not the readable PEM key of cert_file";
  }
  if (options.client_ca_file.empty()) return "";
  if (SSL_CTX_load_verify_locations(&context, options.client_ca_file.c_str(), nullptr) != 1) {
    return "client_ca_file " + options.client_ca_file + " is not a readable PEM certificate";
  }
  SSL_CTX_set_client_CA_list(&context, SSL_load_client_CA_file(options.client_ca_file.c_str()));
  SSL_CTX_set_verify(&context, SSL_VERIFY_PEER, &note_certificate);
  return "";
}

class HttpServer final : public AggregatorServer {
 public:
  HttpServer(ServerOptions options, AggregatorStore& store, const Clock& clock, Log& log)
      : options_(std::move(options)), store_(store), clock_(clock), log_(log) {}

  Status bind();
  [[nodiscard]] int port() const override { return port_; }
  void run() override;
  void stop() override;
  [[nodiscard]] bool failed() const override { return failed_; }

 private:
  void set_up_routes();
  bool screen(const httplib::Request& request, httplib::Response& response);
  void take_batch(const httplib::Request& request, httplib::Response& response, const httplib::ContentReader& reader);
  std::optional<Refusal> check_sender(const httplib::Request& request) const;
  void store_batch(const IngestBatch& batch, httplib::Response& response);
  void refuse(httplib::Response& response, const Refusal& refusal, const httplib::Request& request);
  void store_failed(httplib::Response& response, const Error& error);

  const ServerOptions options_;
  AggregatorStore& store_;
  const Clock& clock_;
  Log& log_;
  AggregatorMetrics metrics_;
  std::unique_ptr<httplib::Server> server_;
  int port_ = 0;
  std::atomic<bool> failed_ = false;
  std::atomic<bool> done_ = false;
};

Status HttpServer::bind() {
  if (options_.cert_file.empty()) {
    server_ = std::make_unique<httplib::Server>();
  } else {
    std::string fault;
    server_ = std::make_unique<httplib::SSLServer>([&](SSL_CTX& context) {
      fault = set_up_tls(context, options_);
      return fault.empty();
    });
    if (!fault.empty()) return Error{ErrorCode::kInvalidInput, fault};
  }
  if (!server_->is_valid()) return Error{ErrorCode::kUnavailable, "the TLS library refuses to start"};
  // The library's own choice, SO_REUSEPORT, would let a second aggregator take half of the batches.
  server_->set_socket_options([](socket_t socket) {
    const int on = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  });
  server_->set_tcp_nodelay(true);
  server_->set_keep_alive_max_count(10'000);
  server_->set_keep_alive_timeout(5);
  server_->set_read_timeout(30);
  server_->set_write_timeout(30);
  server_->set_payload_max_length(kDrainBytesMax);
  server_->new_task_queue = [threads = options_.threads] { return new httplib::ThreadPool(threads); };
  set_up_routes();
  const auto& [host, port] = options_.address;
  if (port == 0) {
    port_ = server_->bind_to_any_port(host);
  } else {
    port_ = server_->bind_to_port(host, port) ? port : -1;
  }
  if (port_ < 0) {
    return Error{ErrorCode::kLocked, "cannot listen on " + host + ":" + std::to_string(port) +
                                         ": the address is taken, not of this machine, or not allowed"};
  }
  return Done{};
}

void HttpServer::set_up_routes() {
  server_->set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
    return screen(request, response) ? httplib::Server::HandlerResponse::Unhandled
                                     : httplib::Server::HandlerResponse::Handled;
  });
  server_->Get("/healthz", [this](const httplib::Request&, httplib::Response& response) {
    if (failed_) return answer_error(response, 503, "the store has failed; this process has to be restarted");
    response.set_content("ok\n", "text/plain");
  });
  server_->Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
    response.set_content(metrics_.text(store_.heads()), "text/plain; version=0.0.4");
  });
  server_->Post(".*", [this](const httplib::Request& request, httplib::Response& response,
                             const httplib::ContentReader& reader) { take_batch(request, response, reader); });
  server_->set_exception_handler(
      [this](const httplib::Request&, httplib::Response& response, const std::exception_ptr&) {
        log_.error("a request could not be handled");
        metrics_.refused("internal");
        answer_error(response, 500, "this request could not be handled; the aggregator's log has the reason");
      });
  server_->set_error_handler([](const httplib::Request&, httplib::Response& response) {
    if (!response.body.empty() || response.content_provider_) return;
    answer_error(response, response.status,
                 response.status == 404 ? "there is nothing here" : "the request is not HTTP as expected");
  });
}

// Before anything of the body is read. False: answered.
bool HttpServer::screen(const httplib::Request& request, httplib::Response& response) {
  // The library would unpack gzip by itself and without a limit. The request is its own local variable, not a constant.
  httplib::Headers& headers = const_cast<httplib::Request&>(request).headers;
  const std::string encoding = request.get_header_value("Content-Encoding");
  headers.erase("Content-Encoding");
  headers.erase(kEncodingHeader);
  headers.emplace(kEncodingHeader, encoding);
  if (request.method == "GET" || request.method == "HEAD") return true;

  const std::size_t lengths = request.get_header_value_count("Content-Length");
  const bool chunked = request.has_header("Transfer-Encoding");
  const auto reject = [&](int status, std::string_view sentence) {
    metrics_.refused("format");
    answer_and_close(response, status, sentence);
    return false;
  };
  if (request.method != "POST") return reject(405, "batches come by POST");
  if (lengths + (chunked ? 1 : 0) > 1) return reject(400, "more than one length is given for the body");
  if (lengths == 0 && !chunked) return reject(411, "Content-Length is missing");
  if (lengths == 1) {
    const std::optional<std::uint64_t> length = parse_u64(request.get_header_value("Content-Length"));
    if (!length) return reject(400, "Content-Length is not a number");
    if (*length > kDrainBytesMax) return reject(413, "the body is far too large");
  }
  if (request.is_multipart_form_data()) return reject(415, "a batch is not a form; expected application/vnd.msgpack");
  return true;
}

std::optional<Refusal> HttpServer::check_sender(const httplib::Request& request) const {
  const std::string node = request.get_header_value("Nodemeter-Node");
  const bool certificate_needed = !options_.client_ca_file.empty();
  if (!certificate_needed && !options_.nodes) return std::nullopt;

  Credentials credentials;
  constexpr std::string_view kBearer = "Bearer ";
  const std::string authorization = request.get_header_value("Authorization");
  if (authorization.starts_with(kBearer)) credentials.bearer = authorization.substr(kBearer.size());
  if (certificate_needed) credentials.certificate_names = certificate_names(request.ssl);
  if (certificate_needed && credentials.certificate_names.empty()) {
    return Refusal{.status = 401,
                   .cause = "credentials",
                   .sentence = "a client certificate of the configured authority is required"};
  }
  if (node.empty()) return Refusal{.status = 400, .cause = "header", .sentence = "Nodemeter-Node is missing"};
  Access access = Access::kOtherNode;
  if (options_.nodes) {
    access = options_.nodes->check(node, credentials);
  } else {
    const auto& names = credentials.certificate_names;
    if (std::find(names.begin(), names.end(), node) != names.end()) access = Access::kAllowed;
  }
  if (access == Access::kAllowed) return std::nullopt;
  if (access == Access::kOtherNode) {
    return Refusal{.status = 403,
                   .cause = "node",
                   .sentence = "these credentials do not let anyone write as node " + display_text(node, 64)};
  }
  return Refusal{.status = 401, .cause = "credentials", .sentence = "no credentials, or unknown ones"};
}

void HttpServer::take_batch(const httplib::Request& request, httplib::Response& response,
                            const httplib::ContentReader& reader) {
  std::optional<Refusal> refusal = check_sender(request);
  const std::string encoding = request.get_header_value(kEncodingHeader);
  // A compressed body that is larger than the plain one may be is not one of ours.
  const std::size_t keep_max = options_.limits.bytes_max;
  const auto started = std::chrono::steady_clock::now();
  std::string body;
  std::size_t received = 0;
  bool given_up = false;
  const bool complete = reader([&](const char* data, std::size_t size) {
    received += size;
    given_up = received > kDrainBytesMax || std::chrono::steady_clock::now() - started > kBodyTimeMax;
    if (given_up) return false;
    if (refusal) return true;  // Read on without keeping it: the sender is to see the answer.
    if (received > keep_max) {
      refusal = Refusal{
          .status = 413, .cause = "size", .sentence = "the body is larger than " + std::to_string(keep_max) + " bytes"};
      body = std::string();
      return true;
    }
    body.append(data, size);
    return true;
  });
  if (!complete) {
    metrics_.refused("cut");
    return answer_and_close(response, given_up ? 413 : 408, "the body is too long, too slow or cut off");
  }
  if (refusal) return refuse(response, *refusal, request);

  const Result<std::string> plain = inflate_body(encoding, std::move(body), options_.limits.bytes_max);
  if (!plain) {
    const ErrorCode code = plain.error().code;
    const int status = code == ErrorCode::kLimitExceeded ? 413 : code == ErrorCode::kUnsupported ? 415 : 400;
    return refuse(response, Refusal{.status = status, .cause = "body", .sentence = plain.error().message}, request);
  }
  const IngestClaims claims{.node = request.get_header_value("Nodemeter-Node"),
                            .epoch = request.get_header_value("Nodemeter-Epoch"),
                            .sequence = request.get_header_value("Nodemeter-Sequence"),
                            .digest = request.get_header_value("Nodemeter-Digest")};
  const auto decoded = decode_batch(claims, *plain, options_.limits);
  if (const auto* const refused = std::get_if<Refusal>(&decoded)) return refuse(response, *refused, request);
  store_batch(std::get<IngestBatch>(decoded), response);
}

void HttpServer::store_batch(const IngestBatch& batch, httplib::Response& response) {
  if (failed_) return answer_error(response, 503, "the store has failed; this process has to be restarted");
  const auto stored = store_.store(batch, clock_.now().utc);
  if (!stored) return store_failed(response, stored.error());
  const std::string range = std::to_string(batch.first) + "-" + std::to_string(batch.last);
  if (const auto* const refused = std::get_if<Refusal>(&*stored)) {
    metrics_.refused(refused->cause);
    log_.warning("a batch was refused",
                 {{"node", batch.node.text()}, {"sequence", range}, {"reason", refused->sentence}});
    return answer_error(response, refused->status, refused->sentence);
  }
  const StoreOutcome& outcome = std::get<StoreOutcome>(*stored);
  metrics_.accepted(outcome);
  if (outcome.forks > 0) {
    log_.error("a node has sent different entries under the same sequence numbers: all are kept",
               {{"node", batch.node.text()},
                {"epoch", batch.epoch.text()},
                {"sequence", range},
                {"forks", std::to_string(outcome.forks)}});
  }
  nlohmann::json answer = {{"acknowledged", outcome.acknowledged}, {"resend_from", nullptr}};
  if (outcome.resend_from) answer["resend_from"] = *outcome.resend_from;
  response.set_content(answer.dump(), "application/json");
}

void HttpServer::refuse(httplib::Response& response, const Refusal& refusal, const httplib::Request& request) {
  metrics_.refused(refusal.cause);
  log_.warning("a batch was refused", {{"from", request.remote_addr},
                                       {"node", display_text(request.get_header_value("Nodemeter-Node"), 64)},
                                       {"status", std::to_string(refusal.status)},
                                       {"reason", refusal.sentence}});
  answer_error(response, refusal.status, refusal.sentence);
}

void HttpServer::store_failed(httplib::Response& response, const Error& error) {
  metrics_.refused(error.code == ErrorCode::kFull ? "full" : "store");
  log_.error("the store takes nothing", {{"reason", error.message}});
  if (error.code == ErrorCode::kFull) return answer_error(response, 503, "the aggregator has no room left");
  failed_ = true;
  answer_error(response, 503, "the aggregator's store has failed");
}

void HttpServer::run() {
  server_->listen_after_bind();
  done_ = true;
}

void HttpServer::stop() {
  // Before the accept loop runs there is nothing to stop yet.
  while (!server_->is_running() && !done_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  server_->stop();
}

}  // namespace

Result<std::unique_ptr<AggregatorServer>> AggregatorServer::open(const ServerOptions& options, AggregatorStore& store,
                                                                 const Clock& clock, Log& log) {
  auto server = std::make_unique<HttpServer>(options, store, clock, log);
  if (const Status bound = server->bind(); !bound) return bound.error();
  return std::unique_ptr<AggregatorServer>(std::move(server));
}

}  // namespace nodemeter
