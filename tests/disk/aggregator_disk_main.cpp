// Goal: an aggregator whose disk is full acknowledges nothing that it has not stored, asks its senders for patience,
// goes on serving, and takes batches again as soon as there is room; what it acknowledged survives its death meanwhile.
// Method: the real intake and store on an ext4 and a tmpfs of 24 MiB that another file fills up; the store is opened
// again by another process after the first was killed. Needs root; exit 77 without.

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "store/lmdb_kv.h"
#include "tests/bench/bench_tools.h"
#include "tests/disk/small_disk.h"
#include "tests/uploader/chain.h"
#include "uploader/aggregator/intake.h"

namespace {

using namespace nodemeter;
using testing::ChainBuilder;
using testing::check;
using testing::SmallDisk;
namespace fs = std::filesystem;

class Aggregator {
 public:
  explicit Aggregator(const fs::path& directory) {
    auto kv = open_lmdb(directory, {});
    require(kv.ok(), "open");
    kv_ = std::move(*kv);
    auto store = AggregatorStore::open(*kv_);
    require(store.ok(), "store");
    store_ = std::move(*store);
    require(store_->forward_queue().switch_on().ok(), "forward");
    intake_ = std::make_unique<BatchIntake>(*store_, *clock_, log_, metrics_, IngestLimits{}, false, std::nullopt);
  }
  HttpAnswer post(const std::string& body) {
    HttpRequest request;
    request.method = "POST";
    request.body = body;
    return intake_->take(std::move(request));
  }
  [[nodiscard]] bool failed() const { return intake_->failed(); }
  [[nodiscard]] ChainHead head() const { return store_->heads().begin()->second; }
  [[nodiscard]] std::uint64_t faults() const {
    const auto check = verify_store(*kv_);
    return check.ok() ? check->faults.size() + check->holes.size() + check->forks : 1;
  }

 private:
  std::unique_ptr<Clock> clock_ = system_clock();
  NullLog log_;
  AggregatorMetrics metrics_;
  std::unique_ptr<KeyValue> kv_;
  std::unique_ptr<AggregatorStore> store_;
  std::unique_ptr<BatchIntake> intake_;
};

// Posts until it is refused; the refused batch is kept in `rest`.
Sequence fill(Aggregator& aggregator, ChainBuilder& chain, std::string& rest) {
  Sequence acknowledged = 0;
  for (;;) {
    rest = chain.body(500);
    const HttpAnswer answer = aggregator.post(rest);
    if (answer.status != 200) {
      const bool patience = !answer.headers.empty() && answer.headers.front().first == "Retry-After";
      check(answer.status == 503 && patience, "full after " + std::to_string(acknowledged) + " rows: 503, Retry-After");
      return acknowledged;
    }
    acknowledged = chain.last();
  }
}

void recovers(const SmallDisk& disk) {
  Aggregator aggregator(disk.path() / "rows");
  ChainBuilder chain;
  check(aggregator.post(chain.body(500)).status == 200, "taken while there is room");
  disk.fill();
  std::string rest;
  const Sequence acknowledged = fill(aggregator, chain, rest);
  check(aggregator.post(rest).status == 503 && !aggregator.failed(), "and again, without giving up");
  check(aggregator.head().contiguous == acknowledged, "stored is what was acknowledged, nothing else");
  disk.free();
  check(aggregator.post(rest).status == 200, "taken when there is room again");
  check(aggregator.head().contiguous == chain.last() && aggregator.faults() == 0, "whole");
}

void killed(const SmallDisk& disk) {
  int told[2];
  require(::pipe(told) == 0, "pipe");
  const pid_t child = ::fork();
  if (child == 0) {
    Aggregator aggregator(disk.path() / "killed");
    ChainBuilder chain;
    aggregator.post(chain.body(500));
    disk.fill();
    std::string rest;
    const Sequence acknowledged = fill(aggregator, chain, rest);
    (void)!::write(told[1], &acknowledged, sizeof acknowledged);
    ::pause();
  }
  Sequence acknowledged = 0;
  require(::read(told[0], &acknowledged, sizeof acknowledged) == sizeof acknowledged, "child");
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  disk.free();
  Aggregator aggregator(disk.path() / "killed");
  check(aggregator.head().contiguous == acknowledged && aggregator.faults() == 0,
        "killed: everything acknowledged is there, nothing else");
}

}  // namespace

int main() { return testing::run_on_small_disks({{"recovers", &recovers}, {"killed", &killed}}); }
