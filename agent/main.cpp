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
    return nodemeter::cli::run(argc, argv, std::cout, std::cerr);
  } catch (const std::exception& broken) {
    std::cerr << "nodemeter: this is a defect, please report it: " << broken.what() << "\n";
    return 1;
  }
}
