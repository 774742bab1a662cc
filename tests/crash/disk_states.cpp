#include "disk_states.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <list>

#include "platform/random.h"

namespace nodemeter::crash {

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kSector = 512;
constexpr std::uint64_t kPage = 4096;

struct PendingWrite {
  std::uint64_t offset = 0;
  std::string_view data;  // Of the recording.
  bool kept = false;      // Synced, and still listed because an earlier one is not.
  bool limbo = false;     // Its sync failed: no later one vouches for it.
};

struct File {
  std::string content;  // What is on disk for certain.
  std::uint64_t kept_size = 0;
  std::uint64_t size = 0;
  std::list<PendingWrite> writes;
};

struct NameChange {
  std::uint64_t directory = 0;
  std::string name;
  std::uint64_t inode = 0;  // 0: the name goes.
  std::uint64_t other_directory = 0;
  std::string other_name;  // Goes in the same step; empty: nothing does.
};

using Names = std::map<std::pair<std::uint64_t, std::string>, std::uint64_t>;

void put(Names& names, const NameChange& change) {
  if (!change.other_name.empty()) names.erase({change.other_directory, change.other_name});
  if (change.inode == 0) {
    names.erase({change.directory, change.name});
  } else {
    names[{change.directory, change.name}] = change.inode;
  }
}

// What may or may not be there: a write, the growth of a file, or a change of names.
struct Item {
  PendingWrite* write = nullptr;
  File* grown = nullptr;
  const NameChange* change = nullptr;
};

// Which items are there, and how one of them is torn.
struct Choice {
  std::vector<bool> there;
  std::size_t torn = SIZE_MAX;
  std::vector<bool> parts;  // Of the torn one.
  std::uint64_t grain = 0;
  std::string words;
};

class Disk {
 public:
  explicit Disk(std::uint64_t root, const Lies& lies) : root_(root), lies_(lies) { directories_.insert(root); }

  void take(const Call& call);
  [[nodiscard]] std::vector<Item> items();
  // Call with the choice over the last items().
  DiskState state(const std::vector<Item>& items, const Choice& choice);

 private:
  void sync(File& file, const Call& call);
  void write(const Call& call);
  static void settle(File& file);

  std::uint64_t root_;
  Lies lies_;
  std::map<std::uint64_t, File> files_;
  std::set<std::uint64_t> directories_;
  Names names_;
  std::list<NameChange> changes_;
  std::uint64_t last_written_ = 0;  // The file, if the last call was a write.
};

void overlay(std::string& content, std::uint64_t offset, std::string_view data) {
  if (content.size() < offset + data.size()) content.resize(offset + data.size());
  std::memcpy(content.data() + offset, data.data(), data.size());
}

// Moves what is certain from the list into the content, as far as order allows.
void Disk::settle(File& file) {
  for (auto later = file.writes.begin(); later != file.writes.end(); ++later) {
    if (!later->kept) continue;
    const std::uint64_t end = later->offset + later->data.size();
    for (auto earlier = file.writes.begin(); earlier != later;) {
      const bool covered = earlier->offset >= later->offset && earlier->offset + earlier->data.size() <= end;
      earlier = covered ? file.writes.erase(earlier) : std::next(earlier);
    }
  }
  while (!file.writes.empty() && file.writes.front().kept) {
    overlay(file.content, file.writes.front().offset, file.writes.front().data);
    file.writes.pop_front();
  }
}

void Disk::sync(File& file, const Call& call) {
  if (call.kind == CallKind::kSyncData && lies_.data_sync_does_nothing) return;
  for (PendingWrite& write : file.writes) {
    if (call.failed) {
      write.limbo = !write.kept;
    } else if (!write.limbo) {
      write.kept = true;
    }
  }
  if (call.kind == CallKind::kSyncAll && !call.failed && !lies_.size_is_not_kept) file.kept_size = file.size;
  settle(file);
}

void Disk::write(const Call& call) {
  File& file = files_[call.inode];
  // Two writes in a row to one place, microseconds apart, are one: the page cache has no time to write the first.
  const bool again = !file.writes.empty() && last_written_ == call.inode && !file.writes.back().kept &&
                     !file.writes.back().limbo && call.offset <= file.writes.back().offset &&
                     call.offset + call.data.size() >= file.writes.back().offset + file.writes.back().data.size();
  if (again) file.writes.pop_back();
  const bool durable = call.durable && !lies_.synchronous_write_does_nothing;
  file.writes.push_back({call.offset, call.data, durable && !call.failed, durable && call.failed});
  file.size = std::max(file.size, call.offset + call.data.size());
  settle(file);
}

void Disk::take(const Call& call) {
  switch (call.kind) {
    case CallKind::kWrite: write(call); break;
    case CallKind::kTruncate: files_[call.inode].size = call.offset; break;
    case CallKind::kSyncData:
    case CallKind::kSyncAll: sync(files_[call.inode], call); break;
    case CallKind::kSyncNames:
      if (call.failed || lies_.names_are_not_kept) break;
      for (auto change = changes_.begin(); change != changes_.end();) {
        const bool of_it =
            change->directory == call.inode || (!change->other_name.empty() && change->other_directory == call.inode);
        if (of_it) put(names_, *change);
        change = of_it ? changes_.erase(change) : std::next(change);
      }
      break;
    case CallKind::kCreate:
      files_[call.inode] = File{};
      changes_.push_back({call.directory, std::string(call.name), call.inode, 0, {}});
      break;
    case CallKind::kMakeDirectory:
      directories_.insert(call.inode);
      changes_.push_back({call.directory, std::string(call.name), call.inode, 0, {}});
      break;
    case CallKind::kRename:
      changes_.push_back(
          {call.other_directory, std::string(call.other_name), call.inode, call.directory, std::string(call.name)});
      break;
    case CallKind::kLink:
      changes_.push_back({call.other_directory, std::string(call.other_name), call.inode, 0, {}});
      break;
    case CallKind::kRemove: changes_.push_back({call.directory, std::string(call.name), 0, 0, {}}); break;
    case CallKind::kMark: break;
  }
  last_written_ = call.kind == CallKind::kWrite ? call.inode : 0;
}

std::vector<Item> Disk::items() {
  std::vector<Item> items;
  for (auto& [inode, file] : files_) {
    for (PendingWrite& write : file.writes) {
      if (!write.kept) items.push_back({&write, nullptr, nullptr});
    }
    if (file.size > file.kept_size) items.push_back({nullptr, &file, nullptr});
  }
  for (const NameChange& change : changes_) items.push_back({nullptr, nullptr, &change});
  return items;
}

// The parts of a torn write that are there.
void overlay_parts(std::string& content, const PendingWrite& write, const Choice& choice) {
  std::uint64_t at = write.offset;
  const std::uint64_t end = write.offset + write.data.size();
  for (std::size_t part = 0; at < end; ++part) {
    const std::uint64_t next = std::min(end, (at / choice.grain + 1) * choice.grain);
    if (choice.parts[part]) overlay(content, at, write.data.substr(at - write.offset, next - at));
    at = next;
  }
}

DiskState Disk::state(const std::vector<Item>& items, const Choice& choice) {
  std::map<const PendingWrite*, std::size_t> number;
  std::set<const File*> grown;
  Names names = names_;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].write != nullptr) number[items[i].write] = i;
    if (items[i].grown != nullptr && choice.there[i]) grown.insert(items[i].grown);
    if (items[i].change != nullptr && choice.there[i]) put(names, *items[i].change);
  }
  DiskState state;
  const std::function<void(std::uint64_t, const std::string&)> walk = [&](std::uint64_t directory,
                                                                          const std::string& path) {
    state.directories.insert(path);
    for (auto at = names.lower_bound({directory, ""}); at != names.end() && at->first.first == directory; ++at) {
      const std::string name = path.empty() ? at->first.second : path + "/" + at->first.second;
      if (directories_.contains(at->second)) {
        walk(at->second, name);
        continue;
      }
      const File& file = files_[at->second];
      std::string content = file.content;
      for (const PendingWrite& write : file.writes) {
        const auto item = number.find(&write);
        if (item != number.end() && item->second == choice.torn) {
          overlay_parts(content, write, choice);
        } else if (item == number.end() || choice.there[item->second]) {
          overlay(content, write.offset, write.data);
        }
      }
      content.resize(grown.contains(&file) ? std::max<std::size_t>(file.size, content.size()) : file.kept_size);
      state.files[name] = std::move(content);
    }
  };
  walk(root_, "");
  state.torn = choice.torn != SIZE_MAX;
  state.origin = choice.words;
  return state;
}

// ---- Choices ----

std::string words_of(const std::vector<bool>& there) {
  std::string words = "of what was pending there is ";
  for (const bool is : there) words += is ? '1' : '0';
  return words;
}

void add(std::vector<Choice>& choices, std::vector<bool> there) {
  std::string words = words_of(there);
  choices.push_back({std::move(there), SIZE_MAX, {}, 0, std::move(words)});
}

void add_subsets(std::vector<Choice>& choices, std::size_t count, const StateOptions& options, Random& random) {
  if (count <= options.subsets_of_at_most) {
    for (std::uint64_t bits = 0; bits < (1ull << count); ++bits) {
      std::vector<bool> there(count);
      for (std::size_t i = 0; i < count; ++i) there[i] = ((bits >> i) & 1) != 0;
      add(choices, std::move(there));
    }
    return;
  }
  for (std::size_t i = 0; i <= count; ++i) {
    std::vector<bool> first(count);
    std::fill_n(first.begin(), i, true);
    add(choices, std::move(first));
    if (i == count) break;
    std::vector<bool> only(count);
    only[i] = true;
    add(choices, std::move(only));
    std::vector<bool> without(count, true);
    without[i] = false;
    add(choices, std::move(without));
  }
  for (std::size_t n = 0; n < options.drawn; ++n) {
    std::vector<bool> there(count);
    for (std::size_t i = 0; i < count; ++i) there[i] = random.chance(1, 2);
    add(choices, std::move(there));
  }
}

void add_torn(std::vector<Choice>& choices, const std::vector<Item>& items, const StateOptions& options,
              Random& random) {
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].write == nullptr) continue;
    const std::uint64_t offset = items[i].write->offset;
    const std::uint64_t end = offset + items[i].write->data.size();
    std::vector<std::uint64_t> grains{kSector, kPage};
    if (options.lies.sector_is_torn) grains.push_back(16);
    for (const std::uint64_t grain : grains) {
      const std::size_t parts = (end - 1) / grain - offset / grain + 1;
      if (parts < 2) continue;
      const auto tear = [&](bool others, const std::function<bool(std::size_t)>& there) {
        Choice choice;
        choice.there.assign(items.size(), others);
        choice.torn = i;
        choice.grain = grain;
        for (std::size_t part = 0; part < parts; ++part) choice.parts.push_back(there(part));
        choice.words = words_of(choice.there) + ", number " + std::to_string(i) + " torn at " + std::to_string(grain);
        choices.push_back(std::move(choice));
      };
      const std::size_t middle = parts / 2;
      for (const bool others : {true, false}) tear(others, [&](std::size_t part) { return part < middle; });
      tear(true, [&](std::size_t part) { return part >= middle; });
      tear(true, [&](std::size_t part) { return part == 0; });
      tear(true, [&](std::size_t part) { return part + 1 == parts; });
      tear(true, [&](std::size_t) { return random.chance(1, 2); });
    }
  }
}

bool is_sync(const Call& call) {
  return call.kind == CallKind::kSyncData || call.kind == CallKind::kSyncAll || call.kind == CallKind::kSyncNames;
}

}  // namespace

void for_each_state(const Recording& recording, const StateOptions& options,
                    const std::function<bool(const DiskState&)>& visit) {
  Disk disk(recording.root_inode(), options.lies);
  Random random(options.seed);
  std::int64_t acknowledged = -1;
  std::uint64_t calls = 0;
  std::uint64_t states = 0;
  // All states of a cut right now; false: enough.
  const auto cut = [&](const std::string& when) {
    if (calls < options.from_call || calls > options.to_call) return true;
    const std::vector<Item> items = disk.items();
    std::vector<Choice> choices;
    add_subsets(choices, items.size(), options, random);
    if (options.torn) add_torn(choices, items, options, random);
    for (const Choice& choice : choices) {
      if (states++ % options.shards != options.shard) continue;
      DiskState state = disk.state(items, choice);
      state.acknowledged = acknowledged;
      state.origin = when + ": " + choice.words;
      if (!visit(state)) return false;
    }
    return true;
  };
  bool enough = false;
  recording.for_each([&](const Call& call) {
    const std::string when = "cut before call " + std::to_string(calls + 1);
    if (call.kind == CallKind::kMark) {
      acknowledged = call.mark;
      return true;
    }
    if (is_sync(call) && !cut(when)) {
      enough = true;
      return false;
    }
    if (call.kind == CallKind::kWrite && call.durable && !call.failed) {
      Call cached = call;  // On its way: it may be there, torn, or not.
      cached.failed = true;
      Disk before = disk;
      disk.take(cached);
      const bool more = cut(when);
      disk = std::move(before);
      if (!more) {
        enough = true;
        return false;
      }
    }
    disk.take(call);
    ++calls;
    return true;
  });
  if (!enough) cut("cut at the end");
}

void materialise(const DiskState& state, const fs::path& root) {
  fs::create_directories(root);
  for (const std::string& directory : state.directories) {
    if (!directory.empty()) fs::create_directories(root / directory);
  }
  for (const auto& [path, content] : state.files) {
    // Pages of zeros stay holes: most of a store that grows ahead of use.
    static const std::string kZeros(kPage, '\0');
    std::ofstream out(root / path, std::ios::binary);
    for (std::size_t at = 0; at < content.size(); at += kPage) {
      const std::string_view page = std::string_view(content).substr(at, kPage);
      if (page == std::string_view(kZeros).substr(0, page.size())) continue;
      out.seekp(static_cast<std::streamoff>(at));
      out.write(page.data(), static_cast<std::streamsize>(page.size()));
    }
    out.close();
    fs::resize_file(root / path, content.size());
  }
}

std::uint64_t fingerprint(const DiskState& state) {
  std::uint64_t h = 1469598103934665603ull + static_cast<std::uint64_t>(state.acknowledged);
  const auto mix = [&h](std::string_view bytes) {
    std::size_t at = 0;
    for (; at + 8 <= bytes.size(); at += 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + at, 8);
      h = (h ^ word) * 1099511628211ull;
      h ^= h >> 29;
    }
    for (; at < bytes.size(); ++at) h = (h ^ static_cast<unsigned char>(bytes[at])) * 1099511628211ull;
    h = (h ^ bytes.size()) * 1099511628211ull;
  };
  for (const std::string& directory : state.directories) mix(directory);
  for (const auto& [path, content] : state.files) {
    mix(path);
    if (!path.ends_with("agent.lock")) mix(content);  // It names the process.
  }
  return h;
}

}  // namespace nodemeter::crash
