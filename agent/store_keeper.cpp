#include "agent/store_keeper.h"

#include <algorithm>

#include "store/reader.h"

namespace nodemeter {

namespace {

constexpr Milliseconds kDay{86'400'000};

// Weekdays and weekends differ.
constexpr Milliseconds kGrowthWindow{7 * kDay};

// Entries come once an hour: fewer of them say nothing.
constexpr Milliseconds kGrowthMin{3 * 3'600'000};

// Delivery that is further behind is not counted on.
constexpr Milliseconds kDeliveryLagMax{kDay};

std::optional<UtcTime> reported_at(const Reader& reader, Sequence sequence) {
  std::optional<UtcTime> reported;
  const Status read = reader.for_each(sequence, [&reported](const Entry& entry, std::string_view) {
    reported = entry.reported_at;
    return false;
  });
  return read ? reported : std::nullopt;
}

}  // namespace

Result<bool> StoreKeeper::prune(UtcTime now) {
  const JournalState& journal = journal_.state();
  Sequence keep_from = journal.last_sequence + 1;
  if (uploading_) {
    const Result<Sequence> delivered = journal_.acknowledged_before(now - retention_);
    if (!delivered) return delivered.error();
    keep_from = std::min(journal.acknowledged, *delivered) + 1;
  }
  const Result<std::uint64_t> pruned = journal_.prune(now - retention_, keep_from, kLot);
  if (!pruned) return pruned.error();
  return *pruned == kLot;
}

Result<StoreForecast> StoreKeeper::forecast(UtcTime now) const {
  const JournalState& journal = journal_.state();
  const KeyValue::Usage usage = store_.usage();
  if (usage.entries == 0 || journal.last_sequence < journal.oldest_kept) return StoreForecast{};
  const std::unique_ptr<Reader> reader = Reader::on(store_);
  const std::optional<UtcTime> begun = reported_at(*reader, journal.oldest_kept);
  if (!begun) return StoreForecast{};
  const UtcTime since = std::max(*begun, now - kGrowthWindow);
  const Milliseconds watched = now - since;
  if (watched < kGrowthMin) return StoreForecast{};
  // What was written at the very beginning of the window was made before it.
  const Result<Sequence> first = reader->first_reported_at(since + Milliseconds{1});
  if (!first) return first.error();
  const std::uint64_t entries = journal.last_sequence + 1 - std::min(*first, journal.last_sequence + 1);
  const std::uint64_t bytes_each = (usage.entries_bytes + usage.entries - 1) / usage.entries;
  StoreForecast forecast;
  const auto seconds = static_cast<std::uint64_t>(watched.count() / 1000);
  forecast.bytes_per_day = entries * bytes_each / seconds * 86'400 + entries * bytes_each % seconds * 86'400 / seconds;
  const bool delivers = !uploading_ || oldest_ == 0 || oldest_reported_ + kDeliveryLagMax > now;
  if (delivers) {
    const auto hours = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::hours>(retention_).count());
    forecast.retained_bytes =
        usage.used_bytes - std::min(usage.entries_bytes, usage.used_bytes) + forecast.bytes_per_day / 24 * hours;
  }
  return forecast;
}

Result<UtcTime> StoreKeeper::oldest_unacknowledged() {
  const JournalState& journal = journal_.state();
  const Sequence oldest = std::max(journal.acknowledged + 1, journal.oldest_kept);
  if (oldest > journal.last_sequence) {
    oldest_ = 0;
    return UtcTime{};
  }
  if (oldest != oldest_) {
    const std::optional<UtcTime> reported = reported_at(*Reader::on(store_), oldest);
    if (!reported) return Error{ErrorCode::kCorrupt, "entry " + std::to_string(oldest) + " cannot be read"};
    oldest_ = oldest;
    oldest_reported_ = *reported;
  }
  return oldest_reported_;
}

}  // namespace nodemeter
