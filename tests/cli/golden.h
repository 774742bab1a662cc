// Expected output as files under tests/fixtures/cli. NODEMETER_UPDATE_FIXTURES=1 writes them anew: read the diff.

#pragma once

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

inline void check_golden(const std::string& name, const std::string& actual) {
  const std::string path = std::string(FIXTURES) + "/cli/" + name;
  if (std::getenv("NODEMETER_UPDATE_FIXTURES") != nullptr) std::ofstream(path, std::ios::binary) << actual;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream expected;
  expected << file.rdbuf();
  INFO("golden file " << name);
  CHECK(actual == expected.str());
}
