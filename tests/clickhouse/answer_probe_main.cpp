// What the uploader's own classes make of a server's answer.
//
// Reads requests from standard input, one JSON object a line, and answers each with one line:
//   {"url","user","key_file","body_file","token","compression","header":[name,value],"timeout_ms"}   sends the file
//   {"status","headers","body"}                                                    classifies a recorded answer
// Out: {"verdict","reason","status","code"}.

#include <condition_variable>
#include <fstream>
#include <iostream>
#include <iterator>
#include <mutex>
#include <nlohmann/json.hpp>

#include "platform/clock.h"
#include "uploader/answer.h"
#include "uploader/curl_global.h"
#include "uploader/curl_transport.h"

namespace {

using namespace nodemeter;
using Json = nlohmann::json;

const char* name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kAccepted: return "accepted";
    case Verdict::kRetry: return "retry";
    case Verdict::kHeld: return "held";
    case Verdict::kData: return "data";
  }
  return "unknown";
}

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

UploadResponse send(const Json& line, const Clock& clock) {
  CurlOptions options;
  options.urls = {line.at("url").get<std::string>()};
  options.clickhouse_user = line.value("user", "");
  options.clickhouse_key_file = line.value("key_file", "");
  options.compression = line.value("compression", "none") == "zstd" ? Compression::kZstd : Compression::kNone;
  options.total_timeout = Milliseconds(line.value("timeout_ms", 120'000));
  std::mutex mutex;
  std::condition_variable answered;
  bool ready = false;
  auto transport = open_curl_transport(options, clock, [&] {
    const std::lock_guard lock(mutex);
    ready = true;
    answered.notify_one();
  });
  if (!transport) {
    UploadResponse refused;
    refused.transport_error = transport.error().message;
    refused.configuration_error = true;
    return refused;
  }
  UploadRequest request;
  request.url_suffix_token = line.at("token").get<std::string>();
  if (line.contains("header")) request.headers.emplace_back(line["header"][0], line["header"][1]);
  request.body = content_of(line.at("body_file").get<std::string>());
  (*transport)->begin(std::move(request));
  for (;;) {
    if (auto response = (*transport)->poll()) return std::move(*response);
    std::unique_lock lock(mutex);
    answered.wait_for(lock, std::chrono::seconds(1), [&] { return ready; });
    ready = false;
  }
}

UploadResponse recorded(const Json& line) {
  UploadResponse response;
  response.status = line.at("status").get<int>();
  response.headers = line.at("headers").get<std::map<std::string, std::string>>();
  response.body = line.at("body").get<std::string>();
  return response;
}

}  // namespace

int main() {
  const CurlGlobal curl;
  if (!curl.ready()) return 1;
  const auto clock = system_clock();
  for (std::string text; std::getline(std::cin, text);) {
    const Json line = Json::parse(text);
    const UploadResponse response = line.contains("url") ? send(line, *clock) : recorded(line);
    const Answer answer = classify(response, 1);
    const auto code = response.headers.find("x-clickhouse-exception-code");
    const Json out = {{"verdict", name_of(answer.verdict)},
                      {"reason", answer.reason},
                      {"status", response.status},
                      {"code", code == response.headers.end() ? "" : code->second}};
    std::cout << out.dump() << std::endl;
  }
  return 0;
}
