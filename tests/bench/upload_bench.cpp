// What delivery costs: encoding and decoding, draining a backlog to a real aggregator, and the memory that it takes.
//
//   upload_bench [--tiny] [--records N] [--directory D] [--no-curl]
//
// Codec: beside memcpy of the same bytes, and beside msgpack-c packing and converting a structure with the same fields.
// Drain: a journal of N entries (default 1 000 000), delivered by the real uploader to nodemeter-aggregator on
// loopback; beside it the curl program sending the same compressed bodies, one after the other over one connection, to
// another one. Private memory (RssAnon) of the draining process is read every 20 ms.

#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <msgpack.hpp>
#include <mutex>
#include <thread>

#include "platform/files.h"
#include "platform/process.h"
#include "store/entry_codec.h"
#include "store/lmdb_kv.h"
#include "store/reader.h"
#include "tests/bench/bench_tools.h"
#include "uploader/compress.h"
#include "uploader/curl_global.h"
#include "uploader/curl_transport.h"
#include "uploader/uploader.h"

namespace {

using namespace nodemeter;
namespace fs = std::filesystem;

struct Arguments {
  std::uint64_t records = 1'000'000;
  bool tiny = false;
  bool curl = true;
  fs::path directory;
};

double mib(std::uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// A usage entry as a VM with two disks and a NIC makes it.
Entry usage_entry(Random& random) {
  Entry entry;
  entry.vm = VmId(random.uuid());
  entry.usage_start = std::chrono::sys_seconds(std::chrono::seconds(1'767'225'600));
  entry.usage_end = entry.usage_start + std::chrono::hours(1);
  entry.subscription = random.uuid();
  entry.tenant = random.uuid();
  entry.resource_uri = "/subscriptions/" + entry.subscription.text() +
                       "/resourceGroups/group-7/providers/Microsoft.Compute/virtualMachines/web-11";
  entry.location = "local";
  entry.vcores = 4;
  entry.billable = true;
  entry.covered_ms = 3'600'000;
  for (int i = 0; i < 13; ++i) {
    entry.meters.push_back({random.uuid(), random.below(1ull << 36), random.below(1ull << 50)});
  }
  entry.tags = {{"cost-center", "4011"}, {"environment", "production"}, {"team", "web"}};
  entry.detail = R"({"name":"instance-10011"})";
  return entry;
}

// --- Codec
// ------------------------------------------------------------------------------------------------------------

struct PlainRow {
  std::uint32_t schema = 1;
  std::string node;
  std::vector<char> epoch;
  std::uint64_t sequence = 0;
  std::uint32_t kind = 1;
  std::vector<char> vm;
  std::uint32_t start = 0, end = 0;
  std::int64_t reported = 0;
  std::vector<char> subscription, tenant;
  std::string uri, location;
  std::uint32_t vcores = 0;
  bool billable = false;
  std::uint64_t covered = 0;
  std::int64_t gap = 0;
  std::uint32_t status = 0;
  std::vector<std::vector<char>> meters;
  std::vector<std::uint64_t> quantities, registers;
  std::map<std::string, std::string> tags;
  std::string detail;
  std::vector<char> digest;
  MSGPACK_DEFINE(schema, node, epoch, sequence, kind, vm, start, end, reported, subscription, tenant, uri, location,
                 vcores, billable, covered, gap, status, meters, quantities, registers, tags, detail, digest)
};

std::vector<char> chars(const Uuid& uuid) { return {uuid.bytes.begin(), uuid.bytes.end()}; }

PlainRow plain(const Entry& entry) {
  PlainRow row;
  row.node = entry.node.text();
  row.epoch = chars(entry.epoch);
  row.sequence = entry.sequence;
  row.vm = chars(entry.vm);
  row.start = static_cast<std::uint32_t>(entry.usage_start.time_since_epoch().count());
  row.end = static_cast<std::uint32_t>(entry.usage_end.time_since_epoch().count());
  row.reported = entry.reported_at.time_since_epoch().count();
  row.subscription = chars(entry.subscription);
  row.tenant = chars(entry.tenant);
  row.uri = entry.resource_uri;
  row.location = entry.location;
  row.vcores = entry.vcores;
  row.billable = entry.billable;
  row.covered = entry.covered_ms;
  for (const MeterValue& value : entry.meters) {
    row.meters.push_back(chars(value.meter));
    row.quantities.push_back(value.quantity);
    row.registers.push_back(value.reading);
  }
  row.tags = {entry.tags.begin(), entry.tags.end()};
  row.detail = entry.detail;
  row.digest = {entry.digest.bytes.begin(), entry.digest.bytes.end()};
  return row;
}

template <class Work>
void measure(const char* what, int rounds, std::uint64_t rows, std::uint64_t bytes, const Work& work) {
  Series series;
  for (int round = 0; round < rounds; ++round) {
    const StopWatch watch;
    work();
    series.add(watch.microseconds());
  }
  std::printf("  %-44s %8.0f rows/ms %8.0f MB/s\n", what, static_cast<double>(rows) / series.median() * 1'000,
              static_cast<double>(bytes) / series.median());
}

void codec(const Arguments& arguments) {
  const int rows = arguments.tiny ? 200 : 10'000;
  const int rounds = arguments.tiny ? 3 : 21;
  Random random(1);
  std::vector<Entry> entries;
  std::vector<PlainRow> plains;
  std::string body;
  Digest head;
  for (int i = 0; i < rows; ++i) {
    Entry entry = usage_entry(random);
    entry.node = *NodeId::parse("node-1");
    entry.epoch = Epoch(random.uuid());
    entry.sequence = static_cast<Sequence>(i) + 1;
    std::string unsealed = *encode_entry_body(entry);
    head = entry.digest = chain_digest(head, unsealed);
    body += seal_entry(std::move(unsealed), head);
    plains.push_back(plain(entry));
    entries.push_back(std::move(entry));
  }
  const auto count = static_cast<std::uint64_t>(rows);
  std::printf("codec: %d usage rows, %zu bytes each\n", rows, body.size() / count);
  std::string copy(body.size(), '\0');
  measure("memcpy", rounds, count, body.size(), [&] { std::memcpy(copy.data(), body.data(), body.size()); });
  std::size_t produced = 0;
  measure("encode, ours", rounds, count, body.size(), [&] {
    for (const Entry& entry : entries) produced += encode_entry_body(entry)->size();
  });
  measure("encode, chain digest and seal, ours", rounds, count, body.size(), [&] {
    Digest digest;
    for (const Entry& entry : entries) {
      std::string unsealed = *encode_entry_body(entry);
      digest = chain_digest(digest, unsealed);
      produced += seal_entry(std::move(unsealed), digest).size();
    }
    require(digest == head, "the same chain");
  });
  msgpack::sbuffer packed;
  measure("pack, msgpack-c", rounds, count, body.size(), [&] {
    for (const PlainRow& row : plains) {
      msgpack::sbuffer one;
      msgpack::pack(one, row);
      produced += one.size();
    }
  });
  for (const PlainRow& row : plains) msgpack::pack(packed, row);
  measure("decode and check canonical form, ours", rounds, count, body.size(),
          [&] { require(decode_rows(body, count)->size() == count, "decode"); });
  measure("unpack and convert, msgpack-c", rounds, count, body.size(), [&] {
    std::size_t at = 0;
    for (int i = 0; i < rows; ++i) {
      const msgpack::object_handle handle = msgpack::unpack(packed.data(), packed.size(), at);
      PlainRow row;
      handle.get().convert(row);
      produced += row.uri.size();
    }
  });
  require(produced > 0, "something");
}

// --- Drain
// ------------------------------------------------------------------------------------------------------------

// A child process that is ended by its own id.
class Child {
 public:
  explicit Child(std::vector<std::string> arguments) {
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    require(pid_ >= 0, "fork");
    if (pid_ != 0) return;
    const int null = ::open("/dev/null", O_WRONLY);
    ::dup2(null, 1);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ > 0) ::kill(pid_, SIGTERM);
    (void)wait();
  }
  int wait() {
    int status = 0;
    if (pid_ > 0) ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  }

 private:
  pid_t pid_ = 0;
};

class Aggregator {
 public:
  explicit Aggregator(const fs::path& state)
      : port_file_(state.string() + ".port"),
        child_({AGGREGATOR_PROGRAM, "--listen", "127.0.0.1:0", "--state", state.string(), "--port-file", port_file_}) {
    for (int i = 0; i < 4'000 && !fs::exists(port_file_); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const Result<std::string> port = read_file(port_file_, 16);
    require(port.ok(), "aggregator");
    url_ = "http://127.0.0.1:" + port->substr(0, port->find('\n')) + "/";
  }
  [[nodiscard]] const std::string& url() const { return url_; }

 private:
  std::string port_file_;
  Child child_;
  std::string url_;
};

// In a process of its own, so that what it leaves on the heap is not measured later.
template <class Work>
void apart(const Work& work) {
  std::fflush(stdout);
  const pid_t child = ::fork();
  require(child >= 0, "fork");
  if (child == 0) {
    work();
    std::fflush(stdout);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a part");
}

void make_journal(const fs::path& state, std::uint64_t records) {
  const auto store = open_lmdb(journal_directory(state), {});
  require(store.ok(), "open");
  Random random(7);
  const auto journal = Journal::open(**store, JournalOptions{.node = *NodeId::parse("node-1")}, random);
  require(journal.ok(), "journal");
  for (std::uint64_t done = 0; done < records;) {
    JournalCommit commit;
    for (int i = 0; i < 5'000 && done < records; ++i, ++done) commit.entries.push_back(usage_entry(random));
    require((*journal)->commit(commit, UtcTime(std::chrono::seconds(1'767'229'200))).ok(), "commit");
  }
}

std::uint64_t anonymous_kib() { return kernel_number("/proc/self/status", "RssAnon:"); }

// The greatest and the last quarter's greatest private memory while it lives.
class MemoryWatch {
 public:
  MemoryWatch() : thread_([this] { run(); }) {}
  ~MemoryWatch() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
  }
  std::vector<std::uint64_t> stop() {
    stopping_ = true;
    thread_.join();
    return std::move(samples_);
  }

 private:
  void run() {
    while (!stopping_) {
      samples_.push_back(anonymous_kib());
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  std::atomic<bool> stopping_ = false;
  std::vector<std::uint64_t> samples_;
  std::thread thread_;
};

struct Wake {
  std::mutex mutex;
  std::condition_variable changed;
  bool woken = false;
  void now() {
    const std::lock_guard lock(mutex);
    woken = true;
    changed.notify_one();
  }
  void wait() {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, std::chrono::seconds(1), [this] { return woken; });
    woken = false;
  }
};

// The real transport, and what went through it.
class Counting final : public Transport {
 public:
  explicit Counting(Transport& transport) : transport_(transport) {}
  [[nodiscard]] PackedBody packed(std::string rows) const override {
    bytes += rows.size();
    return transport_.packed(std::move(rows));
  }
  void begin(UploadRequest request) override {
    const std::string& range = request.headers.at(2).second;
    batches.emplace_back(std::stoull(range), std::stoull(range.substr(range.find('-') + 1)));
    transport_.begin(std::move(request));
  }
  std::optional<UploadResponse> poll() override { return transport_.poll(); }
  void cancel() override { transport_.cancel(); }
  std::vector<std::pair<Sequence, Sequence>> batches;
  mutable std::uint64_t bytes = 0;

 private:
  Transport& transport_;
};

// The same compressed bodies as files, for curl.
void keep_bodies(const Journal& journal, const std::vector<std::pair<Sequence, Sequence>>& batches,
                 const fs::path& directory) {
  for (std::size_t i = 0; i < batches.size(); ++i) {
    FrozenBatch batch;
    batch.epoch = journal.state().epoch;
    batch.first = batches[i].first;
    batch.last = batches[i].second;
    const auto body = journal.batch_body(batch);
    require(body.ok(), "body");
    const auto small = compressed(*body, Compression::kZstd);
    std::ofstream(directory / std::to_string(i + 1), std::ios::binary) << *small;
  }
}

std::uint64_t drain(const fs::path& state, const std::string& url, const fs::path& bodies) {
  const auto clock = system_clock();
  const auto store = open_lmdb(journal_directory(state), {});
  require(store.ok(), "open");
  Random random(9);
  const auto journal = Journal::open(**store, JournalOptions{.node = *NodeId::parse("node-1")}, random);
  require(journal.ok(), "journal");
  Wake wake;
  CurlOptions options;
  options.urls = {url};
  const auto transport = open_curl_transport(options, *clock, [&wake] { wake.now(); });
  require(transport.ok(), "transport");
  Counting counting(**transport);
  NullLog log;
  Uploader uploader(**journal, counting, random, log, {});
  MemoryWatch memory;
  const std::uint64_t before = anonymous_kib();
  const StopWatch watch;
  while ((*journal)->state().acknowledged < (*journal)->state().last_sequence) {
    const auto next = uploader.step(clock->now().monotonic, clock->now().utc, true);
    require(next.ok(), "step");
    if (*next > clock->now().monotonic) wake.wait();
  }
  const double seconds = watch.microseconds() / 1e6;
  const std::vector<std::uint64_t> samples = memory.stop();
  const auto greatest = [&](std::size_t from, std::size_t to) {
    std::uint64_t most = 0;
    for (std::size_t i = from; i < to && i < samples.size(); ++i) most = std::max(most, samples[i]);
    return static_cast<double>(most) / 1'024;
  };
  require(uploader.state().failed_attempts == 0, "every attempt");
  const auto rows = static_cast<double>((*journal)->state().last_sequence);
  std::printf("drain: %.0f entries, %.0f MiB of rows, %llu batches, in %.1f s: %.0f entries/s, %.1f MiB/s\n", rows,
              mib(counting.bytes), static_cast<unsigned long long>(counting.batches.size()), seconds, rows / seconds,
              mib(counting.bytes) / seconds);
  std::printf(
      "  private memory (RssAnon) before %.1f MiB; greatest in the quarters of the drain %.1f, %.1f, %.1f, %.1f MiB\n",
      static_cast<double>(before) / 1'024, greatest(0, samples.size() / 4),
      greatest(samples.size() / 4, samples.size() / 2), greatest(samples.size() / 2, samples.size() * 3 / 4),
      greatest(samples.size() * 3 / 4, samples.size()));
  if (!bodies.empty()) keep_bodies(**journal, counting.batches, bodies);
  return counting.batches.size();
}

// One curl process, one connection, the same bodies in the same order.
void curl_drain(const std::string& url, const fs::path& bodies, std::uint64_t count, std::uint64_t records) {
  const fs::path config = bodies / "config";
  {
    std::ofstream out(config);
    for (std::uint64_t i = 1; i <= count; ++i) {
      if (i > 1) out << "next\n";
      out << "url = \"" << url << "\"\nheader = \"Content-Type: application/vnd.msgpack\"\n"
          << "header = \"Content-Encoding: zstd\"\nheader = \"Expect:\"\nsilent\nfail\n"
          << "output = \"/dev/null\"\ndata-binary = \"@" << (bodies / std::to_string(i)).string() << "\"\n";
    }
  }
  const StopWatch watch;
  Child curl({"curl", "-K", config.string()});
  require(curl.wait() == 0, "curl");
  const double seconds = watch.microseconds() / 1e6;
  std::printf("curl:  the same bodies in %.1f s: %.0f entries/s\n", seconds, static_cast<double>(records) / seconds);
}

void run(const Arguments& arguments) {
  apart([&] { codec(arguments); });
  const fs::path node = arguments.directory / "node";
  const fs::path bodies = arguments.directory / "bodies";
  require(make_state_directory(journal_directory(node)).ok(), "directory");
  require(make_state_directory(bodies).ok(), "directory");
  apart([&] { make_journal(node, arguments.records); });
  std::uint64_t batches = 0;
  {
    const Aggregator aggregator(arguments.directory / "first");
    batches = drain(node, aggregator.url(), arguments.curl ? bodies : fs::path());
  }
  fs::remove_all(arguments.directory / "first");
  if (!arguments.curl) return;
  const Aggregator aggregator(arguments.directory / "second");
  curl_drain(aggregator.url(), bodies, batches, arguments.records);
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--tiny") {
      arguments.tiny = true;
      arguments.records = 9'000;
    } else if (option == "--no-curl") {
      arguments.curl = false;
    } else if (option == "--records" && i + 1 < argc) {
      arguments.records = std::stoull(argv[++i]);
    } else if (option == "--directory" && i + 1 < argc) {
      arguments.directory = argv[++i];
    } else {
      std::fprintf(stderr, "usage: upload_bench [--tiny] [--records N] [--directory D] [--no-curl]\n");
      return 2;
    }
  }
  if (std::system("command -v curl >/dev/null 2>&1") != 0) arguments.curl = false;
  std::string made;
  if (arguments.directory.empty()) {
    made = (fs::temp_directory_path() / "nodemeter-bench-XXXXXX").string();
    require(::mkdtemp(made.data()) != nullptr, "mkdtemp");
    arguments.directory = made;
  }
  nodemeter::return_freed_blocks();  // As the agent does.
  const nodemeter::CurlGlobal curl;
  run(arguments);
  std::error_code ignored;
  if (!made.empty()) fs::remove_all(made, ignored);
  return 0;
}
