#include "uploader/aggregator/server.h"

#include <httplib.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "platform/text.h"
#include "uploader/aggregator/intake.h"
#include "uploader/aggregator/metrics.h"
#include "uploader/aggregator/server_connection.h"
#include "uploader/aggregator/server_tls.h"

namespace nodemeter {
namespace {

// A request that is refused is still read up to here, so that its sender gets to see why.
constexpr std::size_t kDrainBytesMax = 64u << 20;
constexpr std::chrono::seconds kBodyTimeMax{120};
constexpr char kEncodingHeader[] = "Nodemeter-Received-Encoding";

void put(httplib::Response& response, const HttpAnswer& answer) {
  response.status = answer.status;
  for (const auto& [name, value] : answer.headers) response.set_header(name, value);
  response.set_content(answer.body, answer.type);
}

void answer_error(httplib::Response& response, int status, std::string_view sentence) {
  put(response, error_answer(status, sentence));
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

enum class BodyEnd {
  kWhole,
  kTooLarge,  // Read to its end, and nothing of it kept.
  kGivenUp,   // Far too large or far too slow.
  kCut,
};
constexpr std::string_view kCutSentence = "the body is too long, too slow or cut off";

// Keeps up to `keep_max` bytes in `body`.
BodyEnd read_body(const httplib::ContentReader& reader, std::size_t keep_max, std::string& body) {
  const auto started = std::chrono::steady_clock::now();
  std::size_t received = 0;
  bool given_up = false;
  const bool complete = reader([&](const char* data, std::size_t size) {
    received += size;
    given_up = received > kDrainBytesMax || std::chrono::steady_clock::now() - started > kBodyTimeMax;
    if (given_up) return false;
    if (received > keep_max) {
      body = std::string();
    } else {
      body.append(data, size);
    }
    return true;
  });
  if (!complete) return given_up ? BodyEnd::kGivenUp : BodyEnd::kCut;
  return received > keep_max ? BodyEnd::kTooLarge : BodyEnd::kWhole;
}

HttpRequest translated(const httplib::Request& request, bool with_certificate) {
  HttpRequest result;
  result.method = request.method;
  set_target(result, request.target);
  for (const auto& [name, value] : request.headers) {
    std::string lower = name;
    for (char& c : lower) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    result.headers.emplace(std::move(lower), value);
  }
  // The encoding stands in our own header: see screen().
  result.headers.erase("content-encoding");
  result.headers.emplace("content-encoding", request.get_header_value(kEncodingHeader));
  result.from = request.remote_addr;
  constexpr std::string_view kBearer = "Bearer ";
  const std::string authorization = result.header("authorization");
  if (authorization.starts_with(kBearer)) result.credentials.bearer = authorization.substr(kBearer.size());
  if (with_certificate) result.credentials.certificate_names = certificate_names(request.ssl);
  return result;
}

class HttpServer final : public AggregatorServer {
 public:
  HttpServer(ServerOptions options, AggregatorStore& store, const Clock& clock, Log& log)
      : options_(std::move(options)),
        store_(store),
        log_(log),
        intake_(store, clock, log, metrics_, options_.limits, !options_.client_ca_file.empty(), options_.nodes) {}

  Status bind();
  [[nodiscard]] int port() const override { return port_; }
  void run() override;
  void stop() override;
  // The library ends its loop on some errors of accept() that pass; a process that only seems to serve is worse.
  [[nodiscard]] bool failed() const override { return intake_.failed() || (done_ && !stopping_); }
  void set_nodes(NodeRegistry nodes) override { intake_.set_nodes(std::move(nodes)); }

 private:
  void set_up_routes();
  bool screen(const httplib::Request& request, httplib::Response& response);
  [[nodiscard]] const HttpRoute* find_route(const httplib::Request& request, std::vector<std::string>* parts) const;
  void answer_route(const httplib::Request& request, httplib::Response& response, const httplib::ContentReader* reader);
  void take_batch(const httplib::Request& request, httplib::Response& response, const httplib::ContentReader& reader);

  const ServerOptions options_;
  AggregatorStore& store_;
  Log& log_;
  AggregatorMetrics metrics_;
  BatchIntake intake_;
  std::unique_ptr<httplib::Server> server_;
  int port_ = 0;
  std::atomic<bool> done_ = false;
  std::atomic<bool> stopping_ = false;
};

Status HttpServer::bind() {
  ConnectionLimits limits = options_.connections;
  limits.threads = options_.threads;
  std::string fault;
  std::function<bool(SSL_CTX&)> tls;
  if (!options_.cert_file.empty()) {
    tls = [&](SSL_CTX& context) {
      fault = set_up_tls(context, options_);
      return fault.empty();
    };
  }
  server_ = make_watched_server(
      limits, [this](const char* limit) { metrics_.refused(limit); }, tls);
  if (!fault.empty()) return Error{ErrorCode::kInvalidInput, fault};
  // The library's own choice, SO_REUSEPORT, would let a second aggregator take half of the batches.
  server_->set_socket_options([](socket_t socket) {
    const int on = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  });
  server_->set_tcp_nodelay(true);
  // What the answers say about the connection; server_connection.cpp does it.
  server_->set_keep_alive_max_count(limits.requests_max);
  server_->set_keep_alive_timeout(std::max<time_t>(1, limits.idle_max.count() / 1'000));
  server_->set_payload_max_length(kDrainBytesMax);
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
    if (failed()) return answer_error(response, 503, "the store has failed; this process has to be restarted");
    response.set_content("ok\n", "text/plain");
  });
  server_->Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
    std::string text = metrics_.text(store_.heads(), store_.usage());
    if (options_.more_metrics) text += options_.more_metrics();
    response.set_content(text, "text/plain; version=0.0.4");
  });
  server_->Get(".*", [this](const httplib::Request& request, httplib::Response& response) {
    answer_route(request, response, nullptr);
  });
  const auto with_body = [this](const httplib::Request& request, httplib::Response& response,
                                const httplib::ContentReader& reader) {
    if (request.method != "POST" || find_route(request, nullptr) != nullptr) {
      return answer_route(request, response, &reader);
    }
    take_batch(request, response, reader);
  };
  server_->Post(".*", with_body);
  server_->Put(".*", with_body);
  server_->Patch(".*", with_body);
  server_->Delete(".*", with_body);
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
  if (request.method != "POST" && find_route(request, nullptr) == nullptr) {
    return reject(405, "batches come by POST, and nothing else here is changed by this method");
  }
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

const HttpRoute* HttpServer::find_route(const httplib::Request& request, std::vector<std::string>* parts) const {
  const std::string_view path = std::string_view(request.target).substr(0, request.target.find_first_of("?#"));
  for (const HttpRoute& route : options_.routes) {
    std::optional<std::vector<std::string>> found = matches(route, request.method, path);
    if (!found) continue;
    if (parts != nullptr) *parts = *std::move(found);
    return &route;
  }
  return nullptr;
}

void HttpServer::answer_route(const httplib::Request& request, httplib::Response& response,
                              const httplib::ContentReader* reader) {
  std::vector<std::string> parts;
  const HttpRoute* const route = find_route(request, &parts);
  if (route == nullptr) return answer_error(response, 404, "there is nothing here");
  HttpRequest asked = translated(request, !options_.client_ca_file.empty());
  if (reader != nullptr) {
    const BodyEnd end = read_body(*reader, kRouteBodyMax, asked.body);
    if (end == BodyEnd::kCut) return answer_and_close(response, 408, kCutSentence);
    if (end != BodyEnd::kWhole) return answer_and_close(response, 413, "the body is too large");
  }
  put(response, route->answer(asked, parts));
}

void HttpServer::take_batch(const httplib::Request& request, httplib::Response& response,
                            const httplib::ContentReader& reader) {
  HttpRequest sent = translated(request, !options_.client_ca_file.empty());
  const std::optional<Refusal> refusal = intake_.check_sender(sent);
  // A compressed body that is larger than the plain one may be is not one of ours. One that is refused already is read
  // on without keeping it: the sender is to see the answer.
  const std::size_t keep_max = refusal ? 0 : options_.limits.bytes_max;
  const BodyEnd end = read_body(reader, keep_max, sent.body);
  if (end == BodyEnd::kCut || end == BodyEnd::kGivenUp) {
    metrics_.refused("cut");
    return answer_and_close(response, end == BodyEnd::kGivenUp ? 413 : 408, kCutSentence);
  }
  if (refusal) return put(response, intake_.refuse(sent, *refusal));
  if (end == BodyEnd::kTooLarge) {
    const std::string sentence = "the body is larger than " + std::to_string(keep_max) + " bytes";
    return put(response, intake_.refuse(sent, Refusal{.status = 413, .cause = "size", .sentence = sentence}));
  }
  put(response, intake_.take(std::move(sent)));
}

void HttpServer::run() {
  server_->listen_after_bind();
  if (!stopping_) log_.error("the listening socket failed: no connection is accepted any more");
  done_ = true;
}

void HttpServer::stop() {
  stopping_ = true;
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
