#include <curl/curl.h>

#include <exception>
#include <iostream>

#include "agent/cli/cli.h"

int main(int argc, char** argv) {
  // Not safe beside other threads, so it happens before there are any.
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    std::cerr << "nodemeter: libcurl cannot be initialised\n";
    return 1;
  }
  int code = 1;
  try {
    code = nodemeter::cli::run(argc, argv, std::cout, std::cerr);
  } catch (const std::exception& broken) {
    std::cerr << "nodemeter: this is a defect, please report it: " << broken.what() << "\n";
  }
  curl_global_cleanup();
  return code;
}
