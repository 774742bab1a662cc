// What the store costs, next to what the machine charges for the same work done barely.
//
//   store_bench [--tiny]
//
// Commit: one sample of a node of 200 VMs (their state rows; at the hour also 200 entries), against a file that is
// written and synced twice, which is what a durable commit of LMDB costs at least. Encode and decode: against a copy of
// the same bytes. Verify: against the digest function alone.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "platform/data_file.h"
#include "platform/random.h"
#include "store/entry_codec.h"
#include "store/journal.h"
#include "store/lmdb_kv.h"
#include "store/meters.h"
#include "store/reader.h"

namespace {

using namespace nodemeter;
using SteadyClock = std::chrono::steady_clock;
namespace fs = std::filesystem;

constexpr std::uint64_t kVms = 200;

double microseconds_since(SteadyClock::time_point start) {
  return std::chrono::duration<double, std::micro>(SteadyClock::now() - start).count();
}

struct Quantiles {
  double median;
  double p99;
};

template <class Work>
Quantiles measure(int rounds, const Work& work) {
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    const auto start = SteadyClock::now();
    work(i);
    times.push_back(microseconds_since(start));
  }
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times[times.size() * 99 / 100]};
}

void require(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "%s failed\n", what);
  std::exit(1);
}

Entry usage_entry(std::uint64_t vm, std::int64_t hour) {
  Entry e;
  Uuid id;
  id.bytes[14] = static_cast<std::uint8_t>(vm >> 8);
  id.bytes[15] = static_cast<std::uint8_t>(vm);
  e.vm = VmId(id);
  e.usage_start = std::chrono::sys_seconds(std::chrono::hours(490'000 + hour));
  e.usage_end = e.usage_start + std::chrono::hours(1);
  e.subscription = e.tenant = id;
  e.resource_uri =
      "/subscriptions/11111111-2222-4333-8444-555555555555/resourceGroups/group-17/providers/Microsoft.Compute/"
      "virtualMachines/vm-" +
      std::to_string(vm);
  e.vcores = 4;
  e.billable = true;
  e.covered_ms = 3'600'000;
  for (const MeterInfo& meter : meter_catalogue())
    e.meters.push_back({meter.id, 1'000'003u * (vm + 1), 7'000'000'001u * (vm + 1)});
  e.tags = {{"cost-center", "1234"}, {"team", "web"}};
  return e;
}

JournalCommit sample(int round, bool hour_closes) {
  JournalCommit commit;
  for (std::uint64_t vm = 0; vm < kVms; ++vm) {
    commit.state.push_back(
        {"vm/" + std::to_string(10'000 + vm), std::string(600, static_cast<char>('a' + round % 26))});
    if (hour_closes) commit.entries.push_back(usage_entry(vm, round));
  }
  return commit;
}

void bench_commit(const fs::path& directory, int rounds) {
  const Quantiles floor = measure(rounds, [&](int round) {
    const fs::path file = directory / "floor";
    for (const int part : {0, 1}) {
      std::fstream out(
          file, round + part == 0 ? std::ios::out | std::ios::binary : std::ios::in | std::ios::out | std::ios::binary);
      const std::string block(part == 0 ? 128 * 1024 : 4096, static_cast<char>('a' + round % 26));
      out.write(block.data(), static_cast<std::streamsize>(block.size()));
      out.flush();
      out.close();
      require(sync_file(file).ok(), "sync");
    }
  });
  Random random(1);
  auto kv = open_lmdb(journal_directory(directory), {});
  require(kv.ok(), "open");
  JournalOptions options;
  options.node = *NodeId::parse("bench");
  auto journal = Journal::open(**kv, options, random);
  require(journal.ok(), "journal");
  const auto commit = [&](bool hour_closes) {
    return measure(rounds, [&](int round) {
      JournalCommit one = sample(round, hour_closes);
      require((*journal)->commit(one, UtcTime(Milliseconds(round))).ok(), "commit");
    });
  };
  const Quantiles state = commit(false);
  const Quantiles both = commit(true);
  std::printf("two syncs of this machine      median %8.0f us  p99 %8.0f us\n", floor.median, floor.p99);
  std::printf("commit 200 state rows          median %8.0f us  p99 %8.0f us  %.1fx the floor\n", state.median,
              state.p99, state.median / floor.median);
  std::printf("commit 200 rows + 200 entries  median %8.0f us  p99 %8.0f us  %.1fx the floor\n", both.median, both.p99,
              both.median / floor.median);
}

void bench_codec(int rounds) {
  Entry entry = usage_entry(1, 1);
  entry.node = *NodeId::parse("bench");
  const std::string row = seal_entry(encode_entry_body(entry).value(), Digest{});
  constexpr int kRows = 1'000;
  std::size_t sink = 0;
  const auto per_row = [&](const auto& work) {
    const Quantiles q = measure(rounds, [&](int) {
      for (int i = 0; i < kRows; ++i) work();
    });
    return q.median / kRows;
  };
  std::string copy(row.size(), '\0');
  const double copied = per_row([&] {
    std::memcpy(copy.data(), row.data(), row.size());
    sink += static_cast<unsigned char>(copy[sink % copy.size()]);
  });
  const double encoded = per_row([&] { sink += encode_entry_body(entry).value().size(); });
  const double decoded = per_row([&] { sink += decode_entry(row).value().body.size(); });
  const double digested = per_row([&] { sink += chain_digest(Digest{}, row).bytes[0]; });
  std::printf("one row is %zu bytes (%zu)\n", row.size(), sink % 2);
  const auto print = [&](const char* what, double us) {
    std::printf("%-8s %7.3f us a row  %8.0f MB/s\n", what, us, static_cast<double>(row.size()) / us);
  };
  print("copy", copied);
  print("encode", encoded);
  print("decode", decoded);
  print("digest", digested);
}

void bench_verify(const fs::path& directory) {
  const auto reader = Reader::open(directory);
  require(reader.ok(), "reader");
  const auto start = SteadyClock::now();
  const auto check = (*reader)->verify({});
  const double us = microseconds_since(start);
  require(check.ok() && check->faults.empty(), "verify");
  std::printf("verify %llu entries: %.0f MB/s\n", static_cast<unsigned long long>(check->entries),
              static_cast<double>(check->bytes) / us);
}

}  // namespace

int main(int argc, char** argv) {
  const bool tiny = argc > 1 && std::string_view(argv[1]) == "--tiny";
  const fs::path directory = fs::temp_directory_path() / ("nodemeter-bench-" + Random::from_system().uuid().text());
  fs::create_directories(directory);
  bench_codec(tiny ? 3 : 200);
  bench_commit(directory, tiny ? 3 : 300);
  bench_verify(directory);
  fs::remove_all(directory);
  return 0;
}
