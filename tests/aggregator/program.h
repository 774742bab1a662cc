// The real nodemeter-aggregator as a child process, for tests.

#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <string>
#include <thread>
#include <vector>

#include "platform/files.h"
#include "tests/temporary_directory.h"

namespace nodemeter::testing {

// One run of the program. Its output goes to files; it is ended by its own process id.
class Program {
 public:
  Program(const TemporaryDirectory& directory, std::vector<std::string> arguments) : directory_(directory) {
    const std::string out = directory.file("out");
    const std::string err = directory.file("err");
    arguments.insert(arguments.begin(), AGGREGATOR_PROGRAM);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
    ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    if (pid_ > 0) end(SIGKILL);
  }

  // The exit code, or 128 + the signal.
  int end(int signal) {
    ::kill(pid_, signal);
    return wait();
  }
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  [[nodiscard]] std::string out() const { return *read_file(directory_.file("out"), 100u << 20); }
  [[nodiscard]] std::string err() const { return *read_file(directory_.file("err"), 1u << 20); }

 private:
  const TemporaryDirectory& directory_;
  pid_t pid_ = 0;
};

inline int await_port(const std::string& file) {
  for (int i = 0; i < 2'000; ++i) {
    const Result<std::string> text = read_file(file, 100);
    if (text) return std::stoi(*text);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  FAIL("the aggregator did not start");
  return 0;
}

inline int run(const TemporaryDirectory& directory, const std::vector<std::string>& arguments,
               std::string* out = nullptr, std::string* err = nullptr) {
  Program program(directory, arguments);
  const int code = program.wait();
  if (out != nullptr) *out = program.out();
  if (err != nullptr) *err = program.err();
  return code;
}

}  // namespace nodemeter::testing
