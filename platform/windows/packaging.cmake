# What the Windows package holds: a zip to unpack anywhere, with install.ps1 in it. Included by platform/packaging.cmake.

install(TARGETS nodemeter RUNTIME DESTINATION .)
install(FILES platform/windows/install.ps1 platform/windows/uninstall.ps1 DESTINATION .)

# The paths of its comments are this platform's.
file(READ ${CMAKE_SOURCE_DIR}/platform/nodemeter.toml nodemeter_toml)
string(REPLACE "/etc/nodemeter/nodemeter.toml" "nodemeter.toml" nodemeter_toml "${nodemeter_toml}")
string(REPLACE "\"/var/lib/nodemeter\"" "'C:\\ProgramData\\nodemeter\\state'" nodemeter_toml "${nodemeter_toml}")
file(WRITE ${CMAKE_BINARY_DIR}/nodemeter.toml "${nodemeter_toml}")
install(FILES ${CMAKE_BINARY_DIR}/nodemeter.toml DESTINATION .)

# The library, for programs of the same compiler family: with everything that it links, since nobody else brings that.
if(MINGW)
  install(TARGETS nodemeter_library ARCHIVE DESTINATION sdk/lib)
  foreach(header ${nodemeter_headers})
    get_filename_component(folder ${header} DIRECTORY)
    install(FILES ${header} DESTINATION sdk/include/nodemeter/${folder})
  endforeach()
  install(DIRECTORY ${NODEMETER_WINDOWS_PREFIX}/lib/ DESTINATION sdk/lib FILES_MATCHING PATTERN *.a PATTERN cmake EXCLUDE)
  configure_file(platform/windows/nodemeterConfig.cmake.in ${CMAKE_BINARY_DIR}/nodemeterConfig.cmake @ONLY)
  write_basic_package_version_file(${CMAKE_BINARY_DIR}/nodemeterConfigVersion.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${CMAKE_BINARY_DIR}/nodemeterConfig.cmake ${CMAKE_BINARY_DIR}/nodemeterConfigVersion.cmake
    DESTINATION sdk/lib/cmake/nodemeter)
endif()

set(CPACK_GENERATOR ZIP)
set(CPACK_PACKAGE_NAME nodemeter)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_FILE_NAME nodemeter-${PROJECT_VERSION}-windows-x64)
set(CPACK_STRIP_FILES ON)
include(CPack)
