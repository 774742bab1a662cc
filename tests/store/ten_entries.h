// A small store to read: ten entries, and what a reader gives back of them.

#pragma once

#include "store/lmdb_kv.h"
#include "store/reader.h"
#include "store_fixtures.h"

namespace nodemeter {

inline void append(Journal& journal, int count, std::int64_t now_ms) {
  JournalCommit commit;
  for (int i = 0; i < count; ++i) commit.entries.push_back(usage_entry(static_cast<std::uint64_t>(i), 1));
  require_ok(journal.commit(commit, at_ms(now_ms)));
}

inline std::string numbers(const Reader& reader, Sequence from, bool all_epochs = false) {
  std::string text;
  require_ok(reader.for_each(
      from,
      [&text](const Entry& e, std::string_view) {
        text += std::to_string(e.sequence) + " ";
        return true;
      },
      all_epochs));
  return text;
}

// Makes a store with ten entries under `state`.
inline void make_store(const std::filesystem::path& state) {
  Random random(5);
  const auto kv = taken(open_lmdb(journal_directory(state), {}));
  const auto journal = taken(Journal::open(*kv, journal_options(), random));
  append(*journal, 10, 1'000);
}

}  // namespace nodemeter
