# The libraries on Windows, under the names that they have on Linux. Included by the top CMakeLists.txt.
#
# With mingw-w64 they come from platform/windows/dependencies.py, with MSVC from vcpkg (vcpkg.json). The aggregator is
# not built for Windows, so neither OpenSSL nor an HTTP server is needed.

function(known_as name)
  if(NOT TARGET ${name})
    add_library(${name} INTERFACE IMPORTED GLOBAL)
  endif()
  target_link_libraries(${name} INTERFACE ${ARGN})
endfunction()

add_compile_definitions(UNICODE _UNICODE NOMINMAX WIN32_LEAN_AND_MEAN _WIN32_WINNT=0x0A00 WINVER=0x0A00)

if(MINGW)
  find_package(nodemeter-dependencies CONFIG REQUIRED)
  known_as(PkgConfig::LMDB nodemeter-windows::lmdb)
  known_as(PkgConfig::SODIUM nodemeter-windows::sodium)
  known_as(PkgConfig::ZSTD nodemeter-windows::zstd)
  known_as(ZLIB::ZLIB nodemeter-windows::z)
  known_as(EXPAT::EXPAT nodemeter-windows::expat)
  known_as(CURL::libcurl nodemeter-windows::curl)
  # Libraries that are headers only: links to the distribution's, beside the headers of the others.
  include_directories(SYSTEM ${NODEMETER_WINDOWS_PREFIX}/include)
  known_as(Catch2::Catch2)
  # Nothing but the program itself has to be brought to a host.
  add_link_options(-static)
else()
  find_package(CURL CONFIG REQUIRED)
  find_package(EXPAT CONFIG REQUIRED)
  find_package(ZLIB REQUIRED)
  find_package(zstd CONFIG REQUIRED)
  find_package(unofficial-lmdb CONFIG REQUIRED)
  find_package(unofficial-sodium CONFIG REQUIRED)
  known_as(PkgConfig::LMDB unofficial::lmdb::lmdb)
  known_as(PkgConfig::SODIUM unofficial-sodium::sodium)
  known_as(PkgConfig::ZSTD zstd::libzstd)
  known_as(EXPAT::EXPAT expat::expat)
  add_compile_options(/utf-8 /EHsc)
endif()

# What the system itself offers: accounts and certificates, COM for WMI, performance counters.
set(nodemeter_system_libraries advapi32 bcrypt crypt32 ncrypt netapi32 ntdll ole32 oleaut32 pdh shell32 userenv wbemuuid ws2_32)
