// Goal: the live view belongs to one writer and its group, and whoever dies when, a reader sees one publication whole.
// Method: writer and reader as processes that are killed at random, and as other accounts.

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "as_nobody.h"
#include "live_numbers.h"
#include "platform/shared_region.h"
#include "store/live_view.h"

namespace nodemeter {

TEST_CASE("the segment goes with its writer, and a second writer of the name is refused", "[live]") {
  const std::string name = fresh_name();
  CHECK(read_live_view(name).error().code == ErrorCode::kNotFound);
  {
    const auto writer = taken(LiveWriter::create(name, ""));
    writer->publish(numbered(1));
    const pid_t child = ::fork();
    if (child == 0) {
      const auto second = LiveWriter::create(name, "");
      ::_exit(!second.ok() && second.error().code == ErrorCode::kLocked ? 0 : 1);
    }
    int state = 0;
    ::waitpid(child, &state, 0);
    CHECK((WIFEXITED(state) && WEXITSTATUS(state) == 0));
    CHECK(read_live_view(name).ok());
  }
  CHECK(read_live_view(name).error().code == ErrorCode::kNotFound);
}

TEST_CASE("only the owner and the group may read", "[live]") {
  const std::string name = fresh_name();
  const auto mode = [&] {
    struct stat info {};
    REQUIRE(::stat(("/dev/shm/" + name).c_str(), &info) == 0);
    return info.st_mode & 0777u;
  };
  {
    const auto writer = taken(LiveWriter::create(name, "no-such-group"));
    CHECK(mode() == 0600u);
  }
  if (::geteuid() == 0) {
    const auto writer = taken(LiveWriter::create(name, "daemon"));
    CHECK(mode() == 0640u);
    writer->publish(numbered(1));
    const std::string read = as_nobody([&] {
      const auto view = read_live_view(name);
      return view ? std::string("read") : std::to_string(static_cast<int>(view.error().code));
    });
    CHECK(read == std::to_string(static_cast<int>(ErrorCode::kPermissionDenied)));
  }
}

TEST_CASE("a writer killed at any instruction leaves its last publication, marked as stale", "[live][kill]") {
  const std::string name = fresh_name();
  Random random(11);
  for (int round = 0; round < 40; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      auto writer = LiveWriter::create(name, "");
      if (!writer) ::_exit(1);
      for (std::uint64_t n = 1;; ++n) (*writer)->publish(numbered(n, 100));
    }
    ::usleep(static_cast<useconds_t>(2'000 + random.below(5'000)));
    ::kill(child, SIGKILL);
    int state = 0;
    REQUIRE(::waitpid(child, &state, 0) == child);
    REQUIRE(WIFSIGNALED(state));
    const auto snapshot = read_live_view(name);
    if (!snapshot) {
      // Killed before the first publication, or even before the memory had a size.
      const ErrorCode code = snapshot.error().code;
      CHECK((code == ErrorCode::kNotFound || code == ErrorCode::kUnavailable));
      continue;
    }
    REQUIRE(whole(*snapshot));
    CHECK_FALSE(snapshot->writer_alive);
  }
  // And the next agent takes the name over.
  const auto writer = taken(LiveWriter::create(name, ""));
  writer->publish(numbered(7));
  CHECK(taken(read_live_view(name)).writer_alive);
}

TEST_CASE("a reader killed at any instruction does not hinder the writer", "[live][kill]") {
  const std::string name = fresh_name();
  const auto writer = taken(LiveWriter::create(name, ""));
  writer->publish(numbered(1, 100));
  Random random(13);
  std::uint64_t n = 1;
  for (int round = 0; round < 20; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (;;) (void)read_live_view(name);
    }
    for (std::uint64_t i = 0; i < random.below(200); ++i) writer->publish(numbered(++n, 100));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    writer->publish(numbered(++n, 100));
    CHECK(taken(read_live_view(name)).node.last_sequence == n);
  }
}

}  // namespace nodemeter
