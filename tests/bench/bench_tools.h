// Measuring: time, quantiles, and what the kernel counted for this process. Linux.

#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace nodemeter {

inline void require(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "%s failed\n", what);
  std::exit(1);
}

class StopWatch {
 public:
  [[nodiscard]] double microseconds() const {
    return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

class Series {
 public:
  void add(double value) { values_.push_back(value); }
  [[nodiscard]] std::size_t size() const { return values_.size(); }
  [[nodiscard]] double median() const { return quantile(0.5); }
  [[nodiscard]] double p99() const { return quantile(0.99); }
  [[nodiscard]] double mean() const {
    double sum = 0;
    for (const double value : values_) sum += value;
    return values_.empty() ? 0 : sum / static_cast<double>(values_.size());
  }

 private:
  [[nodiscard]] double quantile(double part) const {
    if (values_.empty()) return 0;
    std::vector<double> sorted = values_;
    std::sort(sorted.begin(), sorted.end());
    return sorted[static_cast<std::size_t>(part * static_cast<double>(sorted.size() - 1))];
  }
  std::vector<double> values_;
};

// A number that follows `name` in a file of /proc; 0 if it is not there.
inline std::uint64_t kernel_number(const char* file, const std::string& name) {
  std::ifstream in(file);
  for (std::string word; in >> word;) {
    std::uint64_t value = 0;
    if (word == name && in >> value) return value;
  }
  return 0;
}

// Bytes that this process ever gave to write calls. (What the kernel counts as dirty is larger by far where it keeps
// files in large folios, of which it writes only the dirty blocks.)
inline std::uint64_t written_bytes() { return kernel_number("/proc/self/io", "wchar:"); }

inline std::uint64_t private_kib() {
  return kernel_number("/proc/self/smaps_rollup", "Private_Clean:") +
         kernel_number("/proc/self/smaps_rollup", "Private_Dirty:");
}

// What a durable commit costs at least where new pages must be durable before the page that names them: so many bytes
// in one write and a sync, one page and a sync. The file is written, and so allocated, beforehand.
class TwoSyncFloor {
 public:
  explicit TwoSyncFloor(const std::filesystem::path& path) {
    file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const std::string zeros(kFileBytes, '\0');
    require(file_ >= 0 && ::pwrite(file_, zeros.data(), zeros.size(), 0) == static_cast<ssize_t>(zeros.size()) &&
                ::fsync(file_) == 0,
            "floor file");
  }
  TwoSyncFloor(const TwoSyncFloor&) = delete;
  TwoSyncFloor& operator=(const TwoSyncFloor&) = delete;
  ~TwoSyncFloor() { ::close(file_); }

  // In microseconds. `bytes` are rounded up to whole pages, and bounded by the file.
  double measure(std::uint64_t bytes) {
    ++round_;
    const std::uint64_t size = std::min((bytes + kPage - 1) / kPage * kPage, kFileBytes / 4);
    const std::uint64_t at = 2 * kPage + round_ % 3 * size;
    const std::string pages(size, static_cast<char>('a' + round_ % 26));
    const StopWatch watch;
    write_durably(pages, at);
    write_durably(pages.substr(0, kPage), round_ % 2 * kPage);
    return watch.microseconds();
  }

 private:
  static constexpr std::uint64_t kPage = 4096;
  static constexpr std::uint64_t kFileBytes = 8ull << 20;

  void write_durably(const std::string& pages, std::uint64_t at) const {
    const auto written = ::pwrite(file_, pages.data(), pages.size(), static_cast<off_t>(at));
    require(written == static_cast<ssize_t>(pages.size()) && ::fdatasync(file_) == 0, "floor write");
  }

  int file_ = -1;
  std::uint64_t round_ = 0;
};

}  // namespace nodemeter
