#include "damage.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "../store/store_fixtures.h"
#include "store/journal_format.h"
#include "store/lmdb_kv.h"
#include "store/row_sum.h"

namespace nodemeter::corruption {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPage = 4096;
constexpr std::size_t kMetaBytes = 152;

[[noreturn]] void stop(const std::string& why) { throw std::runtime_error(why); }

template <class T>
T need(Result<T> result) {
  if (!result) stop(result.error().message);
  return std::move(result).value();
}

std::string file_bytes(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

// What a node does in some hours: entries with state, now and then a long one, delivery, retention.
void run(Journal& journal, Random& random, int commits, std::int64_t& now) {
  for (int i = 0; i < commits; ++i) {
    JournalCommit commit;
    now += 60'000;
    const std::uint64_t entries = random.below(12);
    for (std::uint64_t k = 0; k < entries; ++k)
      commit.entries.push_back(usage_entry(random.below(50), now / 3'600'000));
    if (i % 25 == 0) {
      Entry long_one = usage_entry(1, now / 3'600'000);
      long_one.detail = std::string(3'000 + random.below(9'000), 'd');
      commit.entries.push_back(long_one);
    }
    for (int vm = 0; vm < 8; ++vm) {
      commit.state.push_back({"vm/" + std::to_string(random.below(30)), std::string(random.below(900), 's')});
    }
    if (i % 7 == 0) commit.state.push_back({"vm/" + std::to_string(random.below(30)), std::nullopt});
    if (i % 12 == 0) commit.closed_until = now / 3'600'000;
    commit.state.push_back({"node", std::to_string(now)});
    (void)need(journal.commit(commit, UtcTime(Milliseconds(now))));
    if (i % 10 == 0 && need(journal.freeze_next({20, 1u << 20}))) (void)need(journal.acknowledge_frozen());
    if (i % 40 == 39) {
      (void)need(journal.prune(UtcTime(Milliseconds(now - 30ll * 60'000)), journal.state().acknowledged, 150));
    }
  }
}

void add_flip(std::vector<Damage>& all, const std::string& kind, const std::string& bytes, std::uint64_t offset,
              std::uint64_t bit) {
  if (offset >= bytes.size()) return;
  all.push_back({kind, offset, std::string(1, static_cast<char>(bytes[offset] ^ (1 << bit))), false});
}

std::uint64_t used_pages(const std::string& bytes) {
  std::uint64_t last = 0;
  for (const std::size_t meta : {std::size_t{0}, kPage}) {
    std::uint64_t page = 0;
    for (std::size_t i = 0; i < 8; ++i) {
      page |= std::uint64_t{static_cast<std::uint8_t>(bytes[meta + 136 + i])} << (8 * i);
    }
    last = std::max(last, page);
  }
  return last + 1;
}

void add_flips(std::vector<Damage>& all, const std::string& bytes, Random& random, std::size_t count) {
  for (std::uint64_t i = 0; i < 2 * kMetaBytes * 8; ++i) {
    add_flip(all, "meta bit", bytes, i / 8 / kMetaBytes * kPage + i / 8 % kMetaBytes, i % 8);
  }
  const std::uint64_t pages = used_pages(bytes);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t page = 2 + random.below(pages - 2);
    const std::string_view content = std::string_view(bytes).substr(page * kPage, kPage);
    const std::size_t lower = static_cast<std::uint8_t>(content[12]) + 256u * static_cast<std::uint8_t>(content[13]);
    const std::uint64_t bit = random.below(8);
    if (i % 4 == 0) {
      add_flip(all, "page head bit", bytes, page * kPage + random.below(16), bit);
    } else if (i % 4 == 1 && content[10] != 4 && lower > 16 && lower < kPage) {
      const std::size_t pointer = 16 + random.below((lower - 16) / 2) * 2;
      const std::size_t node =
          static_cast<std::uint8_t>(content[pointer]) + 256u * static_cast<std::uint8_t>(content[pointer + 1]);
      add_flip(all, "node bit", bytes, page * kPage + (random.below(3) == 0 ? pointer : node + random.below(20)), bit);
    } else {
      add_flip(all, "content bit", bytes, page * kPage + random.below(kPage), bit);
    }
  }
}

void add_pages(std::vector<Damage>& all, const Original& original, Random& random, std::size_t count) {
  const std::string& bytes = original.bytes;
  const std::uint64_t pages = used_pages(bytes);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t page = random.below(pages);
    const std::uint64_t other = random.below(pages);
    all.push_back({"page zeroed", page * kPage, std::string(kPage, '\0'), false});
    all.push_back({"sector zeroed", page * kPage + 512 * random.below(8), std::string(512, '\0'), false});
    all.push_back({"page from elsewhere", page * kPage, bytes.substr(other * kPage, kPage), false});
    std::string noise(kPage, '\0');
    for (char& c : noise) c = static_cast<char>(random.below(256));
    all.push_back({"page of noise", page * kPage, noise, false});
  }
  for (std::uint64_t page = 2; page < std::min<std::uint64_t>(pages, original.older.size() / kPage); ++page) {
    const std::string before = original.older.substr(page * kPage, kPage);
    if (before != bytes.substr(page * kPage, kPage)) all.push_back({"write lost", page * kPage, before, false});
  }
}

}  // namespace

std::string Damage::text() const {
  return kind + " at byte " + std::to_string(offset) + (cut ? "" : ", " + std::to_string(bytes.size()) + " bytes");
}

Original make_journal(const fs::path& directory, std::uint64_t seed) {
  Original original;
  Random random(seed);
  LmdbOptions options;
  options.size_max_bytes = 64u << 20;
  options.growth_bytes = 64u << 10;
  std::int64_t now = 1'767'225'600'000;
  for (int epoch = 0; epoch < 2; ++epoch) {
    const std::unique_ptr<KeyValue> kv = need(open_lmdb(directory, options));
    if (epoch == 1) {
      std::vector<Write> mark{{Table::kMeta, std::string(journal_format::kBackupKey), "1"}};
      (void)need(journal_format::Sealer().seal(*kv, mark));
      (void)need(kv->commit(mark));
    }
    JournalOptions options_of_node = journal_options();
    options_of_node.key = need(SigningKey::from_seed(std::string(32, 'k')));
    const std::unique_ptr<Journal> journal = need(Journal::open(*kv, options_of_node, random));
    run(*journal, random, 160, now);
    if (epoch == 1) {
      original.older = file_bytes(directory / "data.mdb");
      run(*journal, random, 25, now);
      (void)need(journal->freeze_next({1, 1u << 20}));
      (void)need(journal->park_frozen("refused by the test"));
    }
  }
  original.bytes = file_bytes(directory / "data.mdb");
  original.bytes.resize(used_pages(original.bytes) * kPage);  // What lies behind is zeros for later.
  return original;
}

std::vector<Damage> damages(const Original& original, std::uint64_t seed, std::size_t count) {
  std::vector<Damage> all;
  Random random(seed);
  add_flips(all, original.bytes, random, count);
  add_pages(all, original, random, count / 40);
  const std::uint64_t end = used_pages(original.bytes) * kPage;
  for (std::size_t i = 0; i < count / 20; ++i) {
    all.push_back({"cut", i % 2 == 0 ? random.below(end) : random.below(end / kPage) * kPage, {}, true});
  }
  return all;
}

}  // namespace nodemeter::corruption
