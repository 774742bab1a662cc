#include "agent/set_aside.h"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <vector>

#include "platform/files.h"
#include "platform/text.h"
#include "store/page_snapshot.h"
#include "store/reader.h"

namespace nodemeter {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "journal.damaged-";
constexpr const char* kNote = "damage.txt";
constexpr std::size_t kNoteMax = 2'000;

// 20260101T120000Z: sorts as time does.
std::string stamp(UtcTime t) {
  std::string text;
  for (const char c : iso_time(std::chrono::floor<std::chrono::seconds>(t))) {
    if (c == '.') break;
    if (c != '-' && c != ':' && c != 'Z') text.push_back(c);
  }
  return text + "Z";
}

// Names of the directories that were put aside, oldest first.
std::vector<std::string> set_aside_before(const fs::path& state) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (fs::directory_iterator at(state, ignored), end; !ignored && at != end; at.increment(ignored)) {
    std::string name = at->path().filename().string();
    if (name.starts_with(kPrefix)) names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

Result<std::string> set_aside_store(const fs::path& state, const std::string& why, UtcTime now) {
  const std::vector<std::string> before = set_aside_before(state);
  const std::string since = std::string(kPrefix) + stamp(now - std::chrono::days(1));
  const auto today = std::count_if(before.begin(), before.end(), [&](const std::string& name) { return name > since; });
  if (static_cast<std::size_t>(today) >= kSetAsidePerDay) {
    return Error{ErrorCode::kLimitExceeded,
                 std::to_string(today) + " damaged stores were put aside within a day in " + state.string() +
                     ": the disk or the memory of this machine fails; metering starts again once they are moved away"};
  }
  const fs::path journal = journal_directory(state);
  std::string name = std::string(kPrefix) + stamp(now);
  for (int copy = 2; std::find(before.begin(), before.end(), name) != before.end(); ++copy) {
    name = std::string(kPrefix) + stamp(now) + "-" + std::to_string(copy);
  }
  // Best effort: a full disk does not keep the damaged store in place.
  (void)replace_file(journal / kNote, why + "\n");
  std::error_code failed;
  fs::rename(journal, state / name, failed);
  if (failed) {
    return Error{ErrorCode::kUnavailable,
                 "cannot rename " + journal.string() + " to " + name + ": " + failed.message()};
  }
  if (Status synced = sync_directory(state); !synced) return synced.error();
  return name;
}

std::optional<std::string> store_replaced_detail(const fs::path& state, UtcTime now) {
  const std::vector<std::string> names = set_aside_before(state);
  if (names.empty()) return std::nullopt;
  const fs::path directory = state / names.back();
  const Result<std::string> note = read_file(directory / kNote, 1u << 16);
  std::string why = note ? display_text(*note, kNoteMax) : "not known";
  std::string detail = R"({"event":"store-replaced","how":)" + json_quote(why) +
                       ",\"at\":" + json_quote(iso_time(now)) + ",\"directory\":" + json_quote(names.back());
  if (const Result<std::unique_ptr<KeyValue>> pages = open_pages(directory)) {
    if (const Result<JournalState> old = Reader::on(**pages)->state()) {
      detail += ",\"previous_epoch\":" + json_quote(old->epoch.text()) +
                ",\"previous_last_sequence\":" + std::to_string(old->last_sequence);
    }
  }
  return detail + "}";
}

}  // namespace nodemeter
