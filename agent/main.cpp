#include <exception>
#include <iostream>

#include "agent/cli/cli.h"
#include "platform/process.h"
#include "uploader/curl_global.h"

int main(int argc, char** argv) {
  nodemeter::return_freed_blocks();
  const nodemeter::CurlGlobal curl;
  if (!curl.ready()) {
    std::cerr << "nodemeter: libcurl cannot be initialised\n";
    return 1;
  }
  try {
    const std::vector<std::string> words = nodemeter::program_arguments(argc, argv);
    std::vector<const char*> pointers;
    pointers.reserve(words.size());
    for (const std::string& word : words) pointers.push_back(word.c_str());
    return nodemeter::cli::run(static_cast<int>(pointers.size()), pointers.data(), std::cout, std::cerr);
  } catch (const std::exception& broken) {
    std::cerr << "nodemeter: this is a defect, please report it: " << broken.what() << "\n";
    return 1;
  }
}
