// How fast a journal that has piled up is delivered.
//
//   drain_bench [--tiny] [--entries N] [--directory D] [--bodies D] [--url U --user NAME --key-file F] [--compression
//   zstd]
//
// The real agent meters a steady node of 200 VMs in virtual time until N entries are there; a journal that
// `--directory` already has is taken as it is. The real uploader drains it: to nowhere (what the journal, the digests
// and the acknowledgements cost) and to files below `--bodies` (the very bytes, for another program to send); or to
// `--url`.

#include <sys/resource.h>

#include <condition_variable>
#include <cstring>
#include <mutex>

#include "agent/agent.h"
#include "platform/process.h"
#include "store/lmdb_kv.h"
#include "store/reader.h"
#include "tests/bench/bench_tools.h"
#include "tests/bench/steady_node.h"
#include "uploader/compress.h"
#include "uploader/curl_global.h"
#include "uploader/uploader.h"

namespace {

using namespace nodemeter;
namespace fs = std::filesystem;

constexpr Milliseconds kHour{3'600'000};

struct Arguments {
  std::uint64_t entries = 1'000'000;
  std::uint32_t vms = 200;
  fs::path directory, bodies;
  std::string url, user, key_file;
  Compression compression = Compression::kZstd;
};

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Acknowledges everything at once. With a directory, the bytes that would have travelled are left there, in order.
class Nowhere final : public Transport {
 public:
  Nowhere(fs::path bodies, Compression compression) : bodies_(std::move(bodies)), compression_(compression) {}

  void begin(UploadRequest request) override {
    ++batches;
    bytes += request.body.size();
    if (bodies_.empty()) return;
    char name[32];
    std::snprintf(name, sizeof name, "%05llu", static_cast<unsigned long long>(batches));
    const Result<std::string> body = compression_ == Compression::kNone ? Result<std::string>(std::move(request.body))
                                                                        : compressed(request.body, compression_);
    require(body.ok(), "compression");
    std::ofstream(bodies_ / (std::string(name) + ".body"), std::ios::binary) << *body;
    std::ofstream(bodies_ / (std::string(name) + ".token")) << request.url_suffix_token;
  }

  std::optional<UploadResponse> poll() override {
    UploadResponse response;
    response.status = 200;
    response.headers["x-clickhouse-query-id"] = "none";
    return response;
  }
  void cancel() override {}

  std::uint64_t batches = 0, bytes = 0;

 private:
  fs::path bodies_;
  Compression compression_;
};

// Set by the transport's thread, awaited by ours.
class Signal {
 public:
  void set() {
    const std::lock_guard lock(mutex_);
    set_ = true;
    changed_.notify_one();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(100), [&] { return set_; });
    set_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

class Bench {
 public:
  explicit Bench(const Arguments& arguments) : arguments_(arguments), node_(clock_, arguments.vms, 1) {}

  void run() {
    open();
    if (last_ < arguments_.entries) fill();
    if (!arguments_.url.empty()) {
      drain_to_url();
      return;
    }
    Nowhere nowhere({}, arguments_.compression);
    drain("to nowhere", nowhere, nullptr);
    const double mib = static_cast<double>(nowhere.bytes) / (1 << 20);
    std::printf("%llu batches, %.1f MiB before compression, %.0f bytes an entry\n",
                static_cast<unsigned long long>(nowhere.batches), mib,
                static_cast<double>(nowhere.bytes) / static_cast<double>(last_));
    if (!arguments_.bodies.empty()) {
      Nowhere files(arguments_.bodies, arguments_.compression);
      drain("to files", files, nullptr);
    }
  }

 private:
  void open() {
    auto store = open_lmdb(journal_directory(arguments_.directory), {});
    require(store.ok(), "open");
    store_ = std::move(*store);
    JournalOptions options;
    options.node = node_id_;
    options.key = key_;
    auto journal = Journal::open(*store_, options, random_);
    require(journal.ok(), "journal");
    journal_ = std::move(*journal);
    last_ = journal_->state().last_sequence;
  }

  // The node's own agent, an hour at a time.
  void fill() {
    const StopWatch watch;
    journal_.reset();
    AgentOptions options;
    options.node = node_id_;
    options.sample_interval = kHour;
    options.retention = 100 * 365 * 24 * kHour;
    options.key = key_;
    auto agent = Agent::open(options, {clock_, node_, *store_, nullptr, nullptr, random_, log_});
    require(agent.ok(), "agent");
    while ((*agent)->journal().state().last_sequence < arguments_.entries) {
      clock_.pass(kHour);
      node_.advance();
      (*agent)->step();
      require((*agent)->phase() == AgentPhase::kMetering, "metering");
    }
    agent->reset();
    store_.reset();
    open();
    std::printf("%llu entries of %u VMs, metered in %.1f s\n", static_cast<unsigned long long>(last_), arguments_.vms,
                watch.microseconds() / 1e6);
    std::fflush(stdout);
  }

  void drain_to_url() {
    const CurlGlobal curl;
    require(curl.ready(), "libcurl");
    const auto clock = system_clock();
    CurlOptions options;
    options.urls = {arguments_.url};
    options.clickhouse_user = arguments_.user;
    options.clickhouse_key_file = arguments_.key_file;
    options.compression = arguments_.compression;
    Signal answered;
    auto transport = open_curl_transport(options, *clock, [&] { answered.set(); });
    require(transport.ok(), "transport");
    drain("to the URL", **transport, &answered);
  }

  void drain(const char* where, Transport& transport, Signal* answered) {
    if (journal_->state().acknowledged > 0) require(journal_->resend_from(1).ok(), "reopening what was acknowledged");
    const double cpu_before = cpu_seconds();
    const StopWatch watch;
    double waited_us = 0;
    Uploader uploader(*journal_, transport, random_, log_, {});
    const auto clock = system_clock();
    while (journal_->state().acknowledged < last_) {
      const ClockReading now = clock->now();
      require(uploader.step(now.monotonic, now.utc, true).ok(), "step");
      if (!uploader.state().reason.empty()) {
        std::fprintf(stderr, "%s\n", uploader.state().reason.c_str());
        std::exit(1);  // A bench measures what works.
      }
      if (answered == nullptr || journal_->state().acknowledged == last_) continue;
      const StopWatch waiting;
      answered->wait();
      waited_us += waiting.microseconds();
    }
    const double seconds = watch.microseconds() / 1e6;
    std::printf("%-12s %8.2f s  %8.0f entries/s  %6.2f s of processor, %6.2f s waiting for answers\n", where, seconds,
                static_cast<double>(last_) / seconds, cpu_seconds() - cpu_before, waited_us / 1e6);
    std::fflush(stdout);
  }

  const Arguments& arguments_;
  SteadyClock clock_{UtcTime(std::chrono::sys_days(std::chrono::year{2026} / 1 / 1))};
  SteadyNode node_;
  NullLog log_;
  Random random_{1};
  const NodeId node_id_ = *NodeId::parse("bench");
  const SigningKey key_ = SigningKey::from_seed(std::string(32, 'k')).value();
  std::unique_ptr<KeyValue> store_;
  std::unique_ptr<Journal> journal_;
  Sequence last_ = 0;
};

Arguments arguments_of(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--tiny") {
      arguments.entries = 2'000;
      arguments.vms = 20;
      continue;
    }
    require(i + 1 < argc, "arguments");
    const char* const value = argv[++i];
    if (word == "--entries") arguments.entries = std::strtoull(value, nullptr, 10);
    if (word == "--directory") arguments.directory = value;
    if (word == "--bodies") arguments.bodies = value;
    if (word == "--url") arguments.url = value;
    if (word == "--user") arguments.user = value;
    if (word == "--key-file") arguments.key_file = value;
    if (word == "--compression")
      arguments.compression = std::strcmp(value, "none") == 0 ? Compression::kNone : Compression::kZstd;
  }
  require(arguments.entries > 0, "arguments");
  return arguments;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments = arguments_of(argc, argv);
  const bool keep = !arguments.directory.empty();
  if (!keep) {
    arguments.directory = fs::temp_directory_path() / ("nodemeter-bench-" + Random::from_system().uuid().text());
  }
  fs::create_directories(arguments.directory);
  if (!arguments.bodies.empty()) fs::create_directories(arguments.bodies);
  nodemeter::return_freed_blocks();
  Bench(arguments).run();
  if (!keep) fs::remove_all(arguments.directory);
  return 0;
}
