#include "tests/sim/plan_judges.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "platform/digest.h"
#include "platform/text.h"

namespace nodemeter {

namespace {

constexpr int kComplaintsMax = 4;  // Of one judge.

class Court {
 public:
  Court(const Plan& plan, const Outcome& outcome) : plan_(plan), outcome_(outcome) {
    for (const Entry& entry : outcome.journal) {
      if (entry.kind == EntryKind::kGap) {
        // Across a reboot the clock may have lost more than the gap was long: declared, of a length that nobody knows.
        const bool of_unknown_length = (entry.status & status_bit::kAcrossBoots) != 0;
        gap_declared_ = gap_declared_ || entry.usage_end > entry.usage_start || of_unknown_length;
      }
      if (entry.kind != EntryKind::kUsage) continue;
      Metered& vm = metered_[entry.vm];
      const std::int64_t hour = entry.usage_start.time_since_epoch().count() / 3600;
      vm.hours[hour] += static_cast<std::int64_t>(entry.covered_ms) + entry.gap_ms;
      vm.covered += static_cast<std::int64_t>(entry.covered_ms);
      vm.gap += entry.gap_ms;
      vm.status |= entry.status;
      for (const MeterValue& value : entry.meters) {
        vm.quantity[static_cast<std::size_t>(find_meter(value.meter)->index)] += value.quantity;
      }
    }
  }

  std::vector<std::string> judge() {
    complaints_ = outcome_.complaints;
    const bool whole = std::none_of(complaints_.begin(), complaints_.end(),
                                    [](const std::string& c) { return c.rfind("agent:", 0) == 0; });
    sequence();
    registers();
    delivery();
    if (!whole) return complaints_;  // It stopped on the way: what is missing says nothing more.
    liveness();
    gaps();
    manifests();
    for (std::size_t i = 0; i < plan_.vms.size(); ++i) {
      const VmId vm = plan_vm_id(plan_, i);
      const auto account = outcome_.accounts.find(vm);
      Bookkeeper::Account expected;
      expected.unwatched_ms = outcome_.unwatched_ms;
      if (account != outcome_.accounts.end()) expected = account->second;
      who_ = "VM " + std::to_string(i) + " (" + vm.text().substr(0, 8) + ")";
      presence(metered_[vm], expected);
      levels(metered_[vm], expected, plan_.vms[i]);
      counters(metered_[vm], expected);
      ledger(metered_[vm], expected, vm);
    }
    return complaints_;
  }

 private:
  struct Metered {
    std::map<std::int64_t, std::int64_t> hours;
    std::int64_t covered = 0;
    std::int64_t gap = 0;
    std::uint32_t status = 0;
    std::array<std::uint64_t, kMeterCount> quantity{};
  };

  void complain(const char* judge, const std::string& what) {
    const auto same = std::count_if(complaints_.begin(), complaints_.end(),
                                    [&](const std::string& c) { return judge_name(c) == judge; });
    if (same < kComplaintsMax) complaints_.push_back(std::string(judge) + ": " + what);
  }
  void compare(const char* judge, const std::string& what, std::uint64_t metered, std::uint64_t low,
               std::uint64_t high) {
    if (metered >= low && metered <= high) return;
    complain(judge, who_ + " " + what + ": metered " + std::to_string(metered) + ", right is " + std::to_string(low) +
                        (low == high ? "" : " to " + std::to_string(high)));
  }
  static std::uint64_t& at(std::array<std::uint64_t, kMeterCount>& q, MeterIndex m) {
    return q[static_cast<std::size_t>(m)];
  }

  // Numbers without holes, times that never fall, one chain of digests over the stored bytes.
  void sequence() {
    Sequence expected = 1;
    UtcTime reported{};
    Digest head;
    constexpr std::size_t kDigestColumn = 34;  // A two-byte head and the digest end every row.
    for (std::size_t i = 0; i < outcome_.journal.size(); ++i) {
      const Entry& entry = outcome_.journal[i];
      const std::string_view row = outcome_.rows[i];
      if (entry.sequence != expected) complain("sequence", "expected " + std::to_string(expected));
      expected = entry.sequence + 1;
      if (entry.reported_at < reported)
        complain("sequence", "reported time falls at " + std::to_string(entry.sequence));
      reported = entry.reported_at;
      head = digest_of({bytes_of(head), row.substr(0, row.size() - std::min(row.size(), kDigestColumn))});
      if (head != entry.digest) complain("sequence", "the chain breaks at " + std::to_string(entry.sequence));
      head = entry.digest;
    }
  }

  // Every register is the sum of all quantities before and with it; every record agrees with itself.
  void registers() {
    std::map<std::pair<VmId, Uuid>, std::uint64_t> sums;
    for (const Entry& entry : outcome_.journal) {
      for (const MeterValue& value : entry.meters) {
        std::uint64_t& sum = sums[{entry.vm, value.meter}];
        sum += value.quantity;
        if (sum != value.reading) complain("registers", "entry " + std::to_string(entry.sequence));
        const bool vm_hours = find_meter(value.meter)->index == MeterIndex::kVmHours;
        if (vm_hours && value.quantity != entry.covered_ms)
          complain("registers", "entry " + std::to_string(entry.sequence) + " covers another time than it bills");
      }
      if (entry.kind == EntryKind::kUsage && (entry.gap_ms != 0) != ((entry.status & status_bit::kGap) != 0))
        complain("registers", "entry " + std::to_string(entry.sequence) + " marks its gap wrongly");
    }
  }

  // What the receiver holds is the journal, byte for byte, but for entries that were set aside for a reason.
  void delivery() {
    std::set<Sequence> parked;
    for (const ParkedEntry& entry : outcome_.parked) {
      parked.insert(entry.sequence);
      if (!outcome_.ever_refused.contains(entry.sequence))
        complain("delivery", std::to_string(entry.sequence) + " is parked, and nobody ever refused it");
    }
    std::size_t found = 0;
    for (std::size_t i = 0; i < outcome_.journal.size(); ++i) {
      const Sequence sequence = outcome_.journal[i].sequence;
      const auto row = outcome_.received.find(sequence);
      if (row == outcome_.received.end()) {
        if (sequence <= outcome_.acknowledged && !parked.contains(sequence))
          complain("delivery", std::to_string(sequence) + " counts as delivered and is not there");
        continue;
      }
      ++found;
      if (row->second != outcome_.rows[i])
        complain("delivery", std::to_string(sequence) + " differs from what the node holds");
    }
    if (found != outcome_.received.size()) complain("delivery", "the receiver holds rows that the journal does not");
  }

  void liveness() {
    const Sequence last = outcome_.journal.empty() ? 0 : outcome_.journal.back().sequence;
    // Rows that are refused, with nothing acceptable behind them, rightly wait for an operator.
    Sequence expected = last;
    while (expected > outcome_.acknowledged && outcome_.ever_refused.contains(expected)) --expected;
    if (outcome_.acknowledged < expected) {
      complain("liveness", "long after the last fault " + std::to_string(outcome_.acknowledged) + " of " +
                               std::to_string(last) + " entries are acknowledged");
    }
  }

  // Manifests cover the journal without holes or overlaps and say of it what is true; a closed hour gets nothing but
  // later knowledge, marked as such.
  void manifests() {
    std::size_t covered = 0;  // Entries before this one belong to earlier manifests.
    std::string closed_until;
    for (std::size_t i = 0; i < outcome_.journal.size(); ++i) {
      const Entry& entry = outcome_.journal[i];
      const std::string number = std::to_string(entry.sequence);
      const bool late = (entry.status & status_bit::kLate) != 0;
      if (entry.kind == EntryKind::kUsage && !late && iso_time(UtcTime(entry.usage_start), true) < closed_until)
        complain("manifests", "entry " + number + " changes a closed hour and is not marked late");
      if (entry.kind != EntryKind::kManifest) continue;
      auto detail = nlohmann::json::parse(entry.detail, nullptr, false);
      if (!detail.is_object()) detail = nlohmann::json::object();
      std::map<std::string, std::map<std::string, unsigned __int128>> sums;
      std::vector<Digest> leaves;
      for (std::size_t k = covered; k < i; ++k) {
        leaves.push_back(digest_of({std::string_view("\0", 1), outcome_.rows[k]}));
        const std::string hour = iso_time(UtcTime(outcome_.journal[k].usage_start), true);
        for (const MeterValue& value : outcome_.journal[k].meters) sums[hour][value.meter.text()] += value.quantity;
      }
      nlohmann::json right;
      for (const auto& [hour, meters] : sums) {
        for (const auto& [meter, sum] : meters) right[hour][meter] = decimal(sum);
      }
      if (detail.value("first_seq", Sequence{0}) != covered + 1 || detail.value("last_seq", Sequence{0}) != i ||
          detail.value("count", Sequence{0}) != i - covered)
        complain("manifests",
                 number + " covers another range than " + std::to_string(covered + 1) + " to " + std::to_string(i));
      if (i > 0 && detail.value("head", "") != outcome_.journal[i - 1].digest.hex())
        complain("manifests", number + " names another head");
      if (detail.value("root", "") != root_of(leaves, 0, leaves.size()).hex())
        complain("manifests", number + " names another root");
      if (detail.value("sums", nlohmann::json()) != right && !(right.empty() && detail["sums"].empty()))
        complain("manifests", number + " has other sums than its entries");
      if (!is_signed(entry, detail)) complain("manifests", number + " is not signed by the node's key");
      closed_until = std::max(closed_until, detail.value("closed_until", ""));
      covered = i;
    }
  }

  // The statement is written here a second time, as store/FORMAT.md has it. What the receiver holds is the same bytes.
  [[nodiscard]] bool is_signed(const Entry& entry, const nlohmann::json& detail) const {
    const std::size_t sums_at = entry.detail.find("\"sums\":");
    const std::size_t key_at = entry.detail.find(",\"key\":");
    if (sums_at == std::string::npos || key_at == std::string::npos || key_at < sums_at) return false;
    const std::string sums = entry.detail.substr(sums_at + 7, key_at - sums_at - 7);
    const std::string statement = "nodemeter manifest 1\nnode world\nepoch " + entry.epoch.text() + "\nentries " +
                                  std::to_string(detail.value("first_seq", Sequence{0})) + "-" +
                                  std::to_string(detail.value("last_seq", Sequence{0})) + "\nclosed_until " +
                                  detail.value("closed_until", "") + "\nhead " + detail.value("head", "") + "\nroot " +
                                  detail.value("root", "") + "\nsums " + digest_of({sums}).hex() + "\n";
    const std::string key = signing_key(plan_).public_key();
    return detail.value("key", "") == to_hex(key) &&
           verify_signature(key, statement, from_hex(detail.value("signature", "")));
  }

  static std::string decimal(unsigned __int128 v) {
    std::string text;
    do {
      text.insert(text.begin(), static_cast<char>('0' + static_cast<int>(v % 10)));
      v /= 10;
    } while (v > 0);
    return text;
  }

  static Digest root_of(const std::vector<Digest>& leaves, std::size_t from, std::size_t to) {
    if (from == to) return digest_of({});
    if (to - from == 1) return leaves[from];
    std::size_t split = 1;
    while (split * 2 < to - from) split *= 2;
    const Digest left = root_of(leaves, from, from + split);
    const Digest right = root_of(leaves, from + split, to);
    return digest_of({std::string_view("\1", 1), bytes_of(left), bytes_of(right)});
  }

  static std::string_view bytes_of(const Digest& digest) {
    return {reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size()};
  }

  // Every stretch that was not watched is declared, from its last sample to its next, and no other.
  void gaps() {
    std::vector<std::pair<std::string, std::string>> declared, expected;
    for (const Entry& entry : outcome_.journal) {
      if (entry.kind != EntryKind::kGap) continue;
      const auto detail = nlohmann::json::parse(entry.detail, nullptr, false);
      declared.emplace_back(detail.value("from", ""), detail.value("to", ""));
    }
    for (const Bookkeeper::Gap& gap : outcome_.gaps) {
      expected.emplace_back(iso_time(UtcTime{Milliseconds{gap.from}}), iso_time(UtcTime{Milliseconds{gap.to}}));
    }
    // A stretch that goes on over the close of an hour has an entry for each side.
    const auto joined = [](auto& gaps) {
      std::vector<std::pair<std::string, std::string>> stretches;
      for (const auto& gap : gaps) {
        if (!stretches.empty() && stretches.back().second == gap.first) {
          stretches.back().second = gap.second;
        } else {
          stretches.push_back(gap);
        }
      }
      gaps = std::move(stretches);
    };
    joined(declared);
    joined(expected);
    if (declared == expected) return;
    const auto [a, b] = std::mismatch(declared.begin(), declared.end(), expected.begin(), expected.end());
    complain("gaps", "declared " + (a == declared.end() ? "none" : a->first + " to " + a->second) + ", there was " +
                         (b == expected.end() ? "none" : b->first + " to " + b->second));
  }

  // Covered + gap is the presence, to the millisecond, in every hour.
  void presence(const Metered& metered, const Bookkeeper::Account& expected) {
    std::map<std::int64_t, std::int64_t> all = expected.hours;
    for (const auto& [hour, ms] : metered.hours) all.try_emplace(hour, 0);
    for (const auto& [hour, ms] : all) {
      const auto found = metered.hours.find(hour);
      const std::int64_t have = found == metered.hours.end() ? 0 : found->second;
      if (have == ms) continue;
      complain("presence", who_ + " hour " + iso_time(UtcTime{std::chrono::hours{hour}}, true) + ": covered + gap " +
                               std::to_string(have) + ", present " + std::to_string(ms));
    }
  }

  void levels(Metered& metered, const Bookkeeper::Account& expected, const PlanVm& vm) {
    const auto exactly = [&](const std::string& what, std::uint64_t have, std::uint64_t right) {
      compare("levels", what, have, right, right);
    };
    exactly("vm-hours", at(metered.quantity, MeterIndex::kVmHours), static_cast<std::uint64_t>(expected.covered_ms));
    exactly("vcores",
            at(metered.quantity, MeterIndex::kBaseVmHours) + at(metered.quantity, MeterIndex::kWindowsVmHours),
            expected.vcore_ms);
    exactly("memory", at(metered.quantity, MeterIndex::kMemoryHours), expected.memory_mib_ms);
    exactly("disks", at(metered.quantity, MeterIndex::kDiskAllocatedHours), expected.disk_mib_ms);
    if (!vm.windows && at(metered.quantity, MeterIndex::kWindowsVmHours) != 0)
      complain("levels", who_ + " has no Windows licence and is billed one");
  }

  void counters(const Metered& metered, const Bookkeeper::Account& expected) {
    for (const MeterInfo& info : meter_catalogue()) {
      const auto i = static_cast<std::size_t>(info.index);
      if (info.index == MeterIndex::kCpuTime || info.index >= MeterIndex::kDiskReadBytes)
        compare("counters", std::string(info.name), metered.quantity[i], expected.counted[i].low,
                expected.counted[i].high);
    }
  }

  // Never more than was truly used; what is missing is marked; what was watched is exact.
  void ledger(Metered& metered, const Bookkeeper::Account& expected, const VmId& vm) {
    constexpr std::uint32_t kMayLose = status_bit::kEstimated | status_bit::kGap | status_bit::kUsageLost |
                                       status_bit::kBaseline | status_bit::kCounterFell | status_bit::kRunChanged |
                                       status_bit::kCounterMissing;
    const bool marked = gap_declared_ || outcome_.first_sample_ms > 0 || (metered.status & kMayLose) != 0;
    const Truth& truth = outcome_.truth.at(vm);
    for (const MeterInfo& info : meter_catalogue()) {
      const auto i = static_cast<std::size_t>(info.index);
      if (info.index != MeterIndex::kCpuTime && info.index < MeterIndex::kDiskReadBytes) continue;
      compare("ledger", std::string(info.name), metered.quantity[i], marked ? 0 : truth.counted[i] - truth.hidden[i],
              truth.counted[i]);
    }
    std::uint64_t vm_ms = 0, vcore_ms = 0, memory = 0, disk = 0, vcores_max = 0, memory_max = 0, disk_max = 0;
    for (std::size_t i = 0; i < truth.moments.size(); ++i) {
      const Moment& moment = truth.moments[i];
      const std::int64_t until = i + 1 < truth.moments.size() ? truth.moments[i + 1].at : outcome_.ended_ms;
      vcores_max = std::max(vcores_max, moment.vcores);
      memory_max = std::max(memory_max, moment.memory_mib);
      disk_max = std::max(disk_max, moment.disk_mib);
      if (!moment.present || (!plan_.count_stopped && moment.power == Power::kOff) || until <= moment.at) continue;
      const auto ms = static_cast<std::uint64_t>(until - moment.at);
      vm_ms += ms;
      vcore_ms += ms * moment.vcores;
      disk += ms * moment.disk_mib;
      if (moment.power != Power::kOff) memory += ms * moment.memory_mib;
    }
    const auto unwatched = static_cast<std::uint64_t>(expected.unwatched_ms + outcome_.first_sample_ms +
                                                      changing_ms(truth.moments) + truth.late_ms);
    const auto within = [&](const char* what, std::uint64_t have, std::uint64_t right, std::uint64_t most) {
      compare("ledger", what, have, right - std::min(right, unwatched * most), right + unwatched * most);
    };
    within("vm-hours", at(metered.quantity, MeterIndex::kVmHours), vm_ms, 1);
    within("vcores", at(metered.quantity, MeterIndex::kBaseVmHours) + at(metered.quantity, MeterIndex::kWindowsVmHours),
           vcore_ms, vcores_max);
    within("memory", at(metered.quantity, MeterIndex::kMemoryHours), memory, memory_max);
    within("disks", at(metered.quantity, MeterIndex::kDiskAllocatedHours), disk, disk_max);
  }

  // Levels of which no event tells hold until somebody looks: the length of all stretches between two looks in which
  // one changed.
  [[nodiscard]] std::int64_t changing_ms(const std::vector<Moment>& moments) const {
    std::int64_t sum = 0;
    std::int64_t counted_until = -1;
    for (std::size_t i = 1; i < moments.size(); ++i) {
      const Moment& a = moments[i - 1];
      const Moment& b = moments[i];
      const bool same = a.vcores == b.vcores && a.memory_mib == b.memory_mib && a.disk_mib == b.disk_mib;
      if (same || b.at <= counted_until) continue;
      const auto next = std::lower_bound(outcome_.looks.begin(), outcome_.looks.end(), b.at);
      const std::int64_t to = next == outcome_.looks.end() ? outcome_.ended_ms : *next;
      const std::int64_t from = next == outcome_.looks.begin() ? 0 : *std::prev(next);
      sum += to - from;
      counted_until = to - 1;  // A change at the very instant of a look may be of either side.
      if (to == b.at && next != outcome_.looks.end() && std::next(next) != outcome_.looks.end()) {
        sum += *std::next(next) - to;
      }
    }
    return sum;
  }

  const Plan& plan_;
  const Outcome& outcome_;
  std::map<VmId, Metered> metered_;
  bool gap_declared_ = false;
  std::string who_;
  std::vector<std::string> complaints_;
};

}  // namespace

std::vector<std::string> judge(const Plan& plan, const Outcome& outcome) { return Court(plan, outcome).judge(); }

std::string judge_name(const std::string& complaint) { return complaint.substr(0, complaint.find(':')); }

}  // namespace nodemeter
