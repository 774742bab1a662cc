// Goal: no damage to the data file ends a program, makes it loop, or goes unnoticed.
// Method: one journal of several hundred pages; thousands of damages, each tried in a process of its own with a time
// limit. A trial opens the damaged store as the agent does, verifies it as the operator does, and reads it all. What
// reads back the same although a bit changed is harmless (unused bytes); what reads back differently has to be
// reported. Afterwards the store is used: entries, delivery, retention, salvage; any answer will do, an end will not.
//
//   corruption [COUNT [SEED]]   COUNT bits outside of the meta pages (all of those are tried)

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <thread>

#include "../store/store_fixtures.h"
#include "damage.h"
#include "store/lmdb_check.h"
#include "store/lmdb_kv.h"
#include "store/reader.h"
#include "store/salvage.h"

namespace {

using namespace nodemeter;
using namespace nodemeter::corruption;
namespace fs = std::filesystem;

constexpr unsigned kSecondsPerTrial = 30;

// A salvage writes a whole store: some of each kind have to do.
constexpr std::uint64_t kSalvageEvery = 8;

// Exit codes of a trial. Everything else is a crash.
enum Outcome : int { kDetected = 20, kHarmless = 21, kUndetected = 22 };

LmdbOptions options() {
  LmdbOptions options;
  options.size_max_bytes = 64u << 20;
  options.growth_bytes = 64u << 10;
  return options;
}

Result<Digest> content_of(const KeyValue& kv) {
  const Result<std::unique_ptr<Snapshot>> snapshot = kv.snapshot();
  if (!snapshot) return snapshot.error();
  Digest content;
  for (const Table table : {Table::kMeta, Table::kState, Table::kEntries}) {
    const Status read = (*snapshot)->scan(table, {}, [&](std::string_view key, std::string_view value) {
      const std::string sizes = std::to_string(key.size()) + "," + std::to_string(value.size());
      content = digest_of({content.view(), sizes, key, value});
      return true;
    });
    if (!read) return read.error();
  }
  return content;
}

// What agent and operator find out about the store.
Outcome examine(const fs::path& directory, const Digest& expected) {
  const Result<std::unique_ptr<KeyValue>> kv = open_lmdb(directory, options());
  if (!kv) return kDetected;
  Random random(1);
  const Result<std::unique_ptr<Journal>> journal = Journal::open(**kv, journal_options(), random);
  if (!journal) return kDetected;
  const Result<ChainCheck> chain = Reader::on(**kv)->verify({});
  if (!chain || !chain->faults.empty()) return kDetected;
  const auto bytes = lmdb_pages::open_bytes(directory / "data.mdb");
  const Result<lmdb_pages::WholeCheck> pages = lmdb_pages::check_whole(**bytes);
  if (!pages || !pages->faults.empty()) return kDetected;
  const Result<Digest> content = content_of(**kv);
  if (!content) return kDetected;
  return *content == expected ? kHarmless : kUndetected;
}

// What an agent does that has not noticed.
void use(const fs::path& directory) {
  const Result<std::unique_ptr<KeyValue>> kv = open_lmdb(directory, options());
  if (!kv) return;
  Random random(1);
  const Result<std::unique_ptr<Journal>> journal = Journal::open(**kv, journal_options(), random);
  if (!journal) return;
  std::int64_t now = 1'767'999'999'000;
  for (int i = 0; i < 12; ++i) {
    JournalCommit commit;
    for (std::uint64_t vm = 0; vm < 20; ++vm) {
      commit.entries.push_back(usage_entry(vm, i));
      commit.state.push_back({"vm/" + std::to_string(vm), std::string(800 + vm, 'n')});
    }
    if (i == 3) commit.entries.back().detail = std::string(20'000, 'x');
    (void)(*journal)->commit(commit, at_ms(now += 1'000));
    (void)(*journal)->freeze_next({50, 1u << 20});
    if ((*journal)->state().frozen) (void)(*journal)->acknowledge_frozen();
    (void)(*journal)->prune(at_ms(now), (*journal)->state().acknowledged, 120);
    (void)(*kv)->usage();
  }
}

// The original entries: every row by epoch and number.
using Rows = std::map<std::pair<Epoch, Sequence>, Digest>;

Rows rows_of(const KeyValue& kv) {
  Rows rows;
  const Status read = Reader::on(kv)->for_each(
      1,
      [&](const Entry& entry, std::string_view row) {
        rows[{entry.epoch, entry.sequence}] = digest_of({row});
        return true;
      },
      true);
  if (!read) throw std::runtime_error(read.error().message);
  return rows;
}

constexpr int kWrongSalvage = 30;

// What is said to be verified has to be the original. Writes down how many entries came back.
int salvage(const fs::path& directory, const Rows& originals, const fs::path& count) {
  const fs::path target = directory / "salvaged";
  const Result<SalvageReport> report = salvage_store(directory, target);
  if (!report) return 0;
  std::map<Epoch, std::vector<SequenceRange>> unproven;
  std::uint64_t recovered = 0;
  for (const SalvagedEpoch& epoch : report->epochs) unproven[epoch.epoch] = epoch.unlinked;
  const Result<std::unique_ptr<Reader>> reader = Reader::open(target);
  if (!reader) return kWrongSalvage;
  bool right = true;
  const Status read = (*reader)->for_each(
      1,
      [&](const Entry& entry, std::string_view row) {
        const bool proven = std::ranges::none_of(unproven[entry.epoch], [&](const SequenceRange& range) {
          return range.first <= entry.sequence && entry.sequence <= range.last;
        });
        const auto original = originals.find({entry.epoch, entry.sequence});
        // What retention had removed may come back from pages that were free.
        if (proven && original != originals.end()) right = right && original->second == digest_of({row});
        recovered += original != originals.end() ? 1 : 0;
        return right;
      },
      true);
  std::ofstream(count) << recovered;
  return read && right ? 0 : kWrongSalvage;
}

void write_damaged(const fs::path& directory, const std::string& bytes, const Damage& damage) {
  fs::remove_all(directory);
  fs::create_directories(directory);
  std::string damaged = bytes;
  if (damage.cut) {
    damaged.resize(damage.offset);
  } else {
    damaged.replace(damage.offset, damage.bytes.size(), damage.bytes);
  }
  std::ofstream(directory / "data.mdb", std::ios::binary) << damaged;
}

// In a child of its own: 0 for "survived", or the outcome.
int in_child(const std::function<int()>& work) {
  const pid_t child = fork();
  if (child == 0) {
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    alarm(kSecondsPerTrial);
    _exit(work());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

struct Tally {
  std::uint64_t tried = 0, detected = 0, harmless = 0, undetected = 0, crashed = 0, salvaged = 0, entries = 0;
};
using Tallies = std::map<std::string, Tally>;

std::string try_one(const fs::path& directory, const Original& original, const Damage& damage, const Digest& expected,
                    const Rows& rows, Tally& tally) {
  ++tally.tried;
  write_damaged(directory, original.bytes, damage);
  const int outcome = in_child([&] { return examine(directory, expected); });
  write_damaged(directory, original.bytes, damage);
  int used = 0;
  if (tally.tried % kSalvageEvery == 1) {
    const fs::path count = directory / "count";
    used = in_child([&] { return salvage(directory, rows, count); });
    std::uint64_t salvaged = 0;
    std::ifstream(count) >> salvaged;
    tally.salvaged += salvaged;
    tally.entries += rows.size();
  }
  if (used == 0) used = in_child([&] { return use(directory), 0; });
  std::string complaint;
  if (outcome == kDetected) ++tally.detected;
  if (outcome == kHarmless) ++tally.harmless;
  if (outcome == kUndetected) {
    ++tally.undetected;
    complaint = "UNDETECTED: " + damage.text() + "\n";
  }
  if (outcome < kDetected || outcome > kUndetected || used != 0) {
    ++tally.crashed;
    complaint += "ENDED (" + std::to_string(outcome) + ", " + std::to_string(used) + "): " + damage.text() + "\n";
  }
  return complaint;
}

// The share of one worker, as lines of text.
std::string work(const fs::path& directory, const Original& original, const std::vector<Damage>& all, unsigned worker,
                 unsigned workers, const Digest& expected, const Rows& rows) {
  Tallies tallies;
  std::string text;
  for (std::size_t i = worker; i < all.size(); i += workers) {
    text += try_one(directory, original, all[i], expected, rows, tallies[all[i].kind]);
  }
  for (const auto& [kind, t] : tallies) {
    std::string name = kind;
    std::replace(name.begin(), name.end(), ' ', '_');
    text += "= " + name;
    for (const std::uint64_t n : {t.tried, t.detected, t.harmless, t.undetected, t.crashed, t.salvaged, t.entries}) {
      text += " " + std::to_string(n);
    }
    text += "\n";
  }
  return text;
}

void merge(const std::string& text, Tallies& tallies) {
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    if (line.rfind("= ", 0) != 0) {
      std::cout << line << "\n";
      continue;
    }
    std::istringstream words(line.substr(2));
    std::string name;
    Tally t;
    words >> name >> t.tried >> t.detected >> t.harmless >> t.undetected >> t.crashed >> t.salvaged >> t.entries;
    Tally& sum = tallies[name];
    sum.tried += t.tried;
    sum.detected += t.detected;
    sum.harmless += t.harmless;
    sum.undetected += t.undetected;
    sum.crashed += t.crashed;
    sum.salvaged += t.salvaged;
    sum.entries += t.entries;
  }
}

int report(const Tallies& tallies) {
  Tally total;
  std::cout << "damage                 tried  detected  harmless  undetected  ended  entries salvaged\n";
  const auto line = [](const std::string& name, const Tally& t) {
    std::cout << name << std::string(22 - std::min<std::size_t>(21, name.size()), ' ') << t.tried << "  " << t.detected
              << "  " << t.harmless << "  " << t.undetected << "  " << t.crashed << "  " << t.salvaged << " of "
              << t.entries << "\n";
  };
  for (const auto& [name, t] : tallies) {
    line(name, t);
    total.tried += t.tried;
    total.detected += t.detected;
    total.harmless += t.harmless;
    total.undetected += t.undetected;
    total.crashed += t.crashed;
    total.salvaged += t.salvaged;
    total.entries += t.entries;
  }
  line("all", total);
  return total.undetected == 0 && total.crashed == 0 && total.detected > 0 ? 0 : 1;
}

int run(std::size_t count, std::uint64_t seed) {
  const fs::path memory = "/dev/shm";
  const fs::path base =
      (fs::exists(memory) ? memory : fs::temp_directory_path()) / ("nodemeter-corruption-" + std::to_string(getpid()));
  const Original original = make_journal(base / "original", seed);
  const Result<std::unique_ptr<KeyValue>> kv = open_lmdb(base / "original", options());
  if (!kv) throw std::runtime_error(kv.error().message);
  const Result<Digest> expected = content_of(**kv);
  if (!expected) throw std::runtime_error(expected.error().message);
  const Rows rows = rows_of(**kv);
  const std::vector<Damage> all = damages(original, seed, count);
  std::cout << "a journal of " << original.bytes.size() / 4096 << " pages, " << all.size() << " damages, seed " << seed
            << "\n";
  const unsigned workers = std::max(1u, std::thread::hardware_concurrency());
  for (unsigned w = 0; w < workers; ++w) {
    if (fork() != 0) continue;
    const std::string text = work(base / std::to_string(w), original, all, w, workers, *expected, rows);
    std::ofstream(base / (std::to_string(w) + ".txt")) << text;
    _exit(0);
  }
  while (wait(nullptr) > 0) {
  }
  Tallies tallies;
  for (unsigned w = 0; w < workers; ++w) {
    std::ostringstream text;
    text << std::ifstream(base / (std::to_string(w) + ".txt")).rdbuf();
    merge(text.str(), tallies);
  }
  fs::remove_all(base);
  std::uint64_t tried = 0;
  for (const auto& [name, t] : tallies) tried += t.tried;
  if (tried != all.size()) std::cout << "only " << tried << " were tried\n";
  const int verdict = report(tallies);
  return tried == all.size() ? verdict : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 2'000,
               argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 1);
  } catch (const std::exception& error) {
    std::cerr << "corruption: " << error.what() << "\n";
    return 1;
  }
}
