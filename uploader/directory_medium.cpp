// A medium that is a directory: the only code that touches it, on a thread of its own.

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#include "platform/files.h"
#include "store/export_file.h"
#include "uploader/carrier.h"
#include "uploader/helper_thread.h"

namespace nodemeter {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kFilesMax = 1'000'000;
constexpr std::size_t kReceiptsMax = 1'000;
constexpr std::size_t kReceiptBytesMax = 1u << 20;
constexpr std::size_t kReceiptBytesMaxInAll = 8u << 20;

Result<std::string> export_of(const MediumVisit& visit) {
  const Journal::Run& run = *visit.run;
  std::string bytes;
  ExportWriter writer([&bytes](std::string_view more) {
    bytes += more;
    return Status(Done{});
  });
  ExportSection section;
  section.node = visit.node;
  section.epoch = run.epoch;
  section.first = run.first;
  section.before = run.before;
  section.simulated = visit.simulated;
  section.about = "what is not acknowledged";
  if (Status added = writer.add(section); !added) return added.error();
  for (const std::string& row : run.rows) {
    if (Status added = writer.add(ExportRow{row}); !added) return added.error();
  }
  if (Status finished = writer.finish(); !finished) return finished.error();
  return bytes;
}

class DirectoryMedium final : public Medium {
 public:
  DirectoryMedium(fs::path directory, std::function<void()> on_report)
      : directory_(std::move(directory)), on_report_(std::move(on_report)) {
    thread_ = std::thread([this] { run(); });
  }
  ~DirectoryMedium() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }
  void begin(MediumVisit visit) override {
    {
      const std::lock_guard lock(mutex_);
      NM_ASSERT(!visit_ && !busy_);
      visit_ = std::move(visit);
      busy_ = true;
    }
    wake_.notify_one();
  }
  std::optional<MediumReport> poll() override {
    const std::lock_guard lock(mutex_);
    return std::exchange(report_, std::nullopt);
  }

 private:
  void run() {
    keep_signals_away();
    for (;;) {
      MediumVisit visit;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return stopping_ || visit_; });
        if (stopping_) return;
        visit = std::move(*visit_);
        visit_.reset();
      }
      MediumReport report = pay(visit);
      {
        const std::lock_guard lock(mutex_);
        busy_ = false;
        report_ = std::move(report);
      }
      if (on_report_) on_report_();
    }
  }

  MediumReport pay(const MediumVisit& visit) const {
    MediumReport report;
    std::error_code error;
    if (!fs::is_directory(directory_, error)) {
      report.error = directory_.string() + " is not there: is the medium in its place?";
      return report;
    }
    for (const std::string& name : visit.remove) fs::remove(directory_ / name, error);
    if (visit.run) {
      if (const Status written = write(visit); !written) {
        report.error = written.error().message;
        return report;
      }
    }
    list(report);
    read_receipts(report);
    return report;
  }

  [[nodiscard]] Status write(const MediumVisit& visit) const {
    const Result<std::string> bytes = export_of(visit);
    if (!bytes) return bytes.error();
    const Journal::Run& run = *visit.run;
    const std::string name = carried_name(visit.node, run.epoch, run.first, run.last);
    Status written = replace_file(directory_ / name, *bytes);
    std::error_code error;
    if (!written) fs::remove(directory_ / (name + ".new"), error);  // It takes the room that the next try needs.
    return written;
  }

  void list(MediumReport& report) const {
    std::error_code error;
    fs::directory_iterator at(directory_, error);
    for (const fs::directory_iterator end; !error && at != end && report.files.size() < kFilesMax;
         at.increment(error)) {
      report.files.push_back(at->path().filename().string());
    }
    if (error) report.error = directory_.string() + ": " + error.message();
  }

  void read_receipts(MediumReport& report) const {
    std::error_code error;
    std::vector<fs::path> files;
    fs::directory_iterator at(directory_ / "ack", error);  // Not there: nothing has come back.
    for (const fs::directory_iterator end; !error && at != end && files.size() < kReceiptsMax; at.increment(error)) {
      if (at->path().extension() == ".json") files.push_back(at->path());
    }
    std::ranges::sort(files);
    std::size_t bytes = 0;
    for (const fs::path& file : files) {
      Result<std::string> text = read_file(file, kReceiptBytesMax);
      if (!text || bytes + text->size() > kReceiptBytesMaxInAll) continue;
      bytes += text->size();
      report.receipts.emplace_back(file.filename().string(), std::move(*text));
    }
  }

  const fs::path directory_;
  const std::function<void()> on_report_;
  std::mutex mutex_;  // Guards what follows.
  std::condition_variable wake_;
  bool stopping_ = false;
  bool busy_ = false;
  std::optional<MediumVisit> visit_;
  std::optional<MediumReport> report_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Medium> open_directory_medium(const fs::path& directory, std::function<void()> on_report) {
  return std::make_unique<DirectoryMedium>(directory, std::move(on_report));
}

}  // namespace nodemeter
