// Runs a fuzz target without libFuzzer: over the files of the corpus, then for about two seconds over inputs made from
// them by a seeded stream of damage, so that every build exercises every target.
//
//   <target> [--seed N] [--seconds N] FILE-OR-DIRECTORY...

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "platform/random.h"
#include "platform/text.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using nodemeter::Random;

void run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
}

void load(const std::filesystem::path& path, std::vector<std::string>& inputs) {
  if (std::filesystem::is_directory(path)) {
    for (const auto& entry : std::filesystem::directory_iterator(path)) load(entry.path(), inputs);
    return;
  }
  std::ifstream file(path, std::ios::binary);
  inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

char any_byte(Random& random) {
  // Borders of number formats turn up more often than chance would have them.
  static constexpr std::uint8_t kBorders[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0xc0, 0xc4,
                                              0xcc, 0xcf, 0xd9, 0xdd, 0xdf, 0xff};
  if (random.chance(1, 3)) return static_cast<char>(kBorders[random.below(std::size(kBorders))]);
  return static_cast<char>(random.below(256));
}

std::string damaged(const std::vector<std::string>& inputs, Random& random) {
  std::string input = inputs[random.below(inputs.size())];
  for (std::uint64_t changes = 1 + random.below(6); changes > 0; --changes) {
    const std::size_t at = random.below(input.size() + 1);
    switch (random.below(5)) {
      case 0:
        if (at < input.size()) input[at] = any_byte(random);
        break;
      case 1: input.insert(at, 1 + random.below(4), any_byte(random)); break;
      case 2: input.erase(at, 1 + random.below(9)); break;
      case 3: input.resize(at); break;
      default: {
        const std::string& other = inputs[random.below(inputs.size())];
        input.insert(at, other.substr(random.below(other.size() + 1), random.below(64)));
        break;
      }
    }
  }
  return input;
}

std::string noise(Random& random) {
  std::string input(random.below(300), '\0');
  for (char& c : input) c = any_byte(random);
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t seed = 1;
  std::uint64_t seconds = 2;
  std::vector<std::string> inputs;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if ((argument == "--seed" || argument == "--seconds") && i + 1 < argc) {
      (argument == "--seed" ? seed : seconds) = nodemeter::parse_u64(argv[++i]).value_or(1);
    } else {
      load(argument, inputs);
    }
  }
  std::printf("seed %llu, %zu files\n", static_cast<unsigned long long>(seed), inputs.size());
  for (const std::string& input : inputs) run(input);
  run("");
  if (inputs.empty()) inputs.emplace_back();
  Random random(seed);
  std::uint64_t runs = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  for (; std::chrono::steady_clock::now() < end; ++runs) {
    run(random.chance(1, 10) ? noise(random) : damaged(inputs, random));
  }
  std::printf("%llu inputs\n", static_cast<unsigned long long>(runs));
  return 0;
}
