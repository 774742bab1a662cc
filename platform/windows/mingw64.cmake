# Cross-compiling for 64-bit Windows with the distribution's mingw-w64. Used by platform/windows/build.
#
# NODEMETER_WINDOWS_PREFIX: where platform/windows/dependencies.py has put the libraries.

set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(mingw x86_64-w64-mingw32)
# "posix" is the threading model whose standard library has std::thread.
set(CMAKE_C_COMPILER ${mingw}-gcc-posix)
set(CMAKE_CXX_COMPILER ${mingw}-g++-posix)
set(CMAKE_RC_COMPILER ${mingw}-windres)

# The build machine's own headers and libraries are never looked at.
set(CMAKE_FIND_ROOT_PATH ${NODEMETER_WINDOWS_PREFIX} /usr/${mingw})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES NODEMETER_WINDOWS_PREFIX)

# What is built here runs here by Wine.
find_program(wine NAMES wine64 PATHS /usr/lib/wine NO_CMAKE_FIND_ROOT_PATH)
if(wine)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${wine})
endif()
