#include "judge.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include "store/reader.h"

namespace nodemeter::crash {

namespace {

// Entries against each other and against the state rows, VM by VM.
std::string judge_registers(const Reader& reader, bool refuses) {
  std::map<std::string, std::vector<MeterValue>> last;
  std::string fault;
  const Status read = reader.for_each(0, [&](const Entry& entry, std::string_view) {
    if (entry.kind != EntryKind::kUsage) return true;
    std::vector<MeterValue>& before = last[state_key(entry.vm)];
    for (std::size_t i = 0; i < entry.meters.size() && !before.empty(); ++i) {
      const std::uint64_t continued = before[i].reading + entry.meters[i].quantity;
      // What a full store refused is missing in between.
      if (refuses ? entry.meters[i].reading < continued : entry.meters[i].reading != continued) {
        fault = "entry " + std::to_string(entry.sequence) + ": its registers do not continue the VM's last entry";
      }
    }
    before = entry.meters;
    return fault.empty();
  });
  if (!read) return read.error().message;
  if (!fault.empty()) return fault;
  const auto rows = reader.state_rows("vm/");
  if (!rows) return rows.error().message;
  const std::map<std::string, std::string> states(rows->begin(), rows->end());
  for (const auto& [key, meters] : last) {
    const auto row = states.find(key);
    if (row == states.end()) return key + " has entries and no state row";
    if (row->second != registers_text(meters)) return key + ": the state row is not that of the last entry";
  }
  return {};
}

std::string judge_chain(const KeyValue& kv, bool refuses) {
  const auto reader = Reader::on(kv);
  const Result<ChainCheck> check = reader->verify({});
  if (!check) return check.error().message;
  if (!check->faults.empty()) return check->faults.front();
  return judge_registers(*reader, refuses);
}

std::string judge_frozen(const Journal& journal) {
  const std::optional<FrozenBatch>& frozen = journal.state().frozen;
  if (!frozen) return {};
  const Result<std::string> body = journal.batch_body(*frozen);
  if (!body) return "the frozen batch cannot be read: " + body.error().message;
  const std::string digits = digest_of({*body}).hex().substr(0, 16);
  return frozen->token.ends_with(":" + digits) ? "" : "the frozen batch is not the one of its token";
}

// The store takes up work where it was: one more entry.
std::string judge_next(const std::filesystem::path& state, const Workload& workload) {
  Sequence wanted = 0;
  {
    Result<OpenStore> store = OpenStore::open(state, workload.options);
    if (!store) return "it does not open a second time: " + store.error().message;
    wanted = store->journal->state().last_sequence + 1;
    JournalCommit commit;
    commit.entries.emplace_back();
    commit.entries.back().kind = EntryKind::kEvent;
    commit.entries.back().detail = "{}";
    const Status committed = store->journal->commit(commit, UtcTime(Milliseconds(2'000'000'000'000)));
    if (!committed && committed.error().code == ErrorCode::kFull && workload.refuses) return {};
    if (!committed) return "it takes no further entry: " + committed.error().message;
    if (commit.entries[0].sequence != wanted) return "the next entry got a wrong number";
  }
  const Result<OpenStore> store = OpenStore::open(state, workload.options);
  if (!store) return "it does not open after the next entry: " + store.error().message;
  if (store->journal->state().last_sequence != wanted) return "the next entry is gone after another opening";
  return judge_chain(*store->kv, workload.refuses);
}

}  // namespace

std::int64_t position_of(const Digest& content, const std::vector<Digest>& contents, std::int64_t acknowledged) {
  const auto size = static_cast<std::int64_t>(contents.size());
  for (std::int64_t i = std::max<std::int64_t>(acknowledged, 0); i <= acknowledged + 1 && i < size; ++i) {
    if (contents[static_cast<std::size_t>(i)] == content) return i;
  }
  return -1;
}

std::string judge(const std::filesystem::path& state, const Expectation& expected, std::int64_t acknowledged) {
  {
    const Result<OpenStore> store = OpenStore::open(state, expected.workload.options);
    if (!store) return "it does not open by itself: " + store.error().message;
    if (std::string fault = judge_chain(*store->kv, expected.workload.refuses); !fault.empty()) return fault;
    const Result<Digest> content = content_of(*store->kv);
    if (!content) return content.error().message;
    if (position_of(*content, expected.contents, acknowledged) < 0) {
      return "the content is neither that of the last acknowledged commit nor that of the next";
    }
    if (std::string fault = judge_frozen(*store->journal); !fault.empty()) return fault;
  }
  return judge_next(state, expected.workload);
}

std::string in_child(const std::function<std::string()>& examine) {
  int ends[2];
  if (::pipe(ends) != 0) return "no pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    ::alarm(60);  // A loop is a violation too.
    const std::string words = examine();
    if (!words.empty() && ::write(ends[1], words.data(), std::min<std::size_t>(words.size(), 4000)) < 0) ::_exit(2);
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string words(4096, '\0');
  const ssize_t size = child < 0 ? -1 : ::read(ends[0], words.data(), words.size());
  ::close(ends[0]);
  words.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child) return "no child process";
  if (WIFSIGNALED(status)) return "the process died of signal " + std::to_string(WTERMSIG(status));
  if (WEXITSTATUS(status) != 0 && words.empty()) return "the process ended with " + std::to_string(WEXITSTATUS(status));
  return words;
}

}  // namespace nodemeter::crash
