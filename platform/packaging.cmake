# What `cmake --install` puts where, and the Debian package. Included by the top CMakeLists.txt.
#
# One package: programs, the library with its headers, the systemd units. The library is every layer in one archive, so
# an embedder links one thing.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# --- The library -----------------------------------------------------------------------------------------------------

set(nodemeter_layers platform collectors store uploader agent)
set(nodemeter_objects)
set(nodemeter_complete ON)
foreach(layer ${nodemeter_layers})
  if(TARGET nm_${layer})
    list(APPEND nodemeter_objects $<TARGET_OBJECTS:nm_${layer}>)
  else()
    set(nodemeter_complete OFF)
  endif()
endforeach()
if(NOT nodemeter_complete OR NOT TARGET nodemeter)
  return()
endif()

add_library(nodemeter_library STATIC ${nodemeter_objects})
set_target_properties(nodemeter_library PROPERTIES OUTPUT_NAME nodemeter EXPORT_NAME nodemeter LINKER_LANGUAGE CXX)
target_compile_features(nodemeter_library INTERFACE cxx_std_20)
target_include_directories(nodemeter_library INTERFACE
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/nodemeter>)
target_link_libraries(nodemeter_library INTERFACE
  EXPAT::EXPAT PkgConfig::LMDB PkgConfig::ZSTD CURL::libcurl ZLIB::ZLIB PkgConfig::SODIUM Threads::Threads
  ${nodemeter_system_libraries})
if(TARGET PkgConfig::LIBVIRT)
  target_link_libraries(nodemeter_library INTERFACE PkgConfig::LIBVIRT)
endif()

# What an embedder needs to run an agent, read a journal or write a source of its own. tests/packaging/deb_test compiles
# each of these alone from its installed place, so a missing one shows.
set(nodemeter_headers
  agent/agent.h agent/config_file.h agent/machine.h agent/meter.h agent/meter_rows.h agent/meter_state.h agent/open_source.h
  agent/options.h agent/schedule.h agent/store_keeper.h
  collectors/source.h
  platform/clock.h platform/config_text.h platform/contract.h platform/digest.h platform/ids.h platform/log.h
  platform/random.h platform/result.h platform/text.h
  store/chain_check.h store/entry.h store/entry_codec.h store/journal.h store/kv.h store/live_view.h store/lmdb_kv.h
  store/manifest.h store/meters.h store/outbox.h store/reader.h
  uploader/answer.h uploader/carrier.h uploader/curl_global.h uploader/curl_transport.h uploader/transport.h uploader/upload_section.h
  uploader/uploader.h)

if(WIN32)
  include(platform/windows/packaging.cmake)
  return()
endif()

# --- Files -----------------------------------------------------------------------------------------------------------

set(nodemeter_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/nodemeter)
set(nodemeter_pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(TARGETS nodemeter RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
if(TARGET nodemeter-aggregator)
  install(TARGETS nodemeter-aggregator RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(TARGETS nodemeter_library EXPORT nodemeter-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
foreach(header ${nodemeter_headers})
  get_filename_component(folder ${header} DIRECTORY)
  install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/nodemeter/${folder})
endforeach()

install(EXPORT nodemeter-targets NAMESPACE nodemeter:: DESTINATION ${nodemeter_cmake_dir})
configure_package_config_file(platform/nodemeterConfig.cmake.in ${CMAKE_BINARY_DIR}/nodemeterConfig.cmake
  INSTALL_DESTINATION ${nodemeter_cmake_dir})
# Before 1.0 a minor version may break an embedder.
write_basic_package_version_file(${CMAKE_BINARY_DIR}/nodemeterConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/nodemeterConfig.cmake ${CMAKE_BINARY_DIR}/nodemeterConfigVersion.cmake
  DESTINATION ${nodemeter_cmake_dir})

# Relative to where the file lies, so that an unpacked package can be used where it is.
file(RELATIVE_PATH nodemeter_pkgconfig_prefix /${nodemeter_pkgconfig_dir} /)
string(REGEX REPLACE "/$" "" nodemeter_pkgconfig_prefix "${nodemeter_pkgconfig_prefix}")
configure_file(platform/nodemeter.pc.in ${CMAKE_BINARY_DIR}/nodemeter.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/nodemeter.pc DESTINATION ${nodemeter_pkgconfig_dir})

# Man pages and completion, made by the program itself from the definition that --help is printed from.
if(NOT CMAKE_CROSSCOMPILING)
  set(nodemeter_manual ${CMAKE_BINARY_DIR}/manual)
  add_custom_command(OUTPUT ${nodemeter_manual}/made
    COMMAND ${CMAKE_COMMAND} -E rm -rf ${nodemeter_manual}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${nodemeter_manual}/man
    COMMAND nodemeter help --man ${nodemeter_manual}/man
    COMMAND nodemeter help --completion bash --out ${nodemeter_manual}/nodemeter
    COMMAND nodemeter help --completion powershell --out ${nodemeter_manual}/nodemeter.ps1
    COMMAND ${CMAKE_COMMAND} -E touch ${nodemeter_manual}/made
    DEPENDS nodemeter VERBATIM)
  add_custom_target(nodemeter_manual ALL DEPENDS ${nodemeter_manual}/made)
  install(DIRECTORY ${nodemeter_manual}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${nodemeter_manual}/nodemeter DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${nodemeter_manual}/nodemeter.ps1 DESTINATION ${CMAKE_INSTALL_DOCDIR})
endif()

if(CMAKE_SYSTEM_NAME STREQUAL Linux)
  # Not below LIBDIR: systemd looks under lib only, also on multi-architecture systems.
  install(FILES platform/systemd/nodemeter.service platform/systemd/nodemeter-aggregator.service
    DESTINATION lib/systemd/system)
  install(FILES platform/nodemeter.toml DESTINATION ${CMAKE_INSTALL_DOCDIR})
  install(DIRECTORY uploader/clickhouse platform/grafana DESTINATION ${CMAKE_INSTALL_DOCDIR})
  # The configuration of /usr lies in /etc, of any other prefix in its own etc (GNU's rule); decided on installation,
  # because the package is built with another prefix than the build tree was configured with.
  install(CODE "
    get_filename_component(prefix_name \"\${CMAKE_INSTALL_PREFIX}\" NAME)
    set(etc \"\${CMAKE_INSTALL_PREFIX}/etc\")
    if(prefix_name STREQUAL usr)
      get_filename_component(etc \"\${CMAKE_INSTALL_PREFIX}/../etc\" ABSOLUTE)
    endif()
    file(INSTALL \"${CMAKE_SOURCE_DIR}/platform/nodemeter.toml\" DESTINATION \"\${etc}/nodemeter\")
  ")
endif()

# --- The Debian package ----------------------------------------------------------------------------------------------

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME nodemeter)
set(CPACK_PACKAGE_VENDOR nodemeter)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "nodemeter maintainers <root@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "certified-meter style usage metering of virtual machines")
set(CPACK_PACKAGE_DESCRIPTION
  "Meters every virtual machine of a KVM/libvirt host: cumulative registers, hourly readings, a journal that survives
power loss and shows tampering, and delivery to a central aggregator that neither loses nor doubles a record.
Holds the agent, the operator's tool, the embedded aggregator, and the library with its headers.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "passwd")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "libvirt-daemon-system, ca-certificates")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS
  "libcurl4-openssl-dev, libexpat1-dev, liblmdb-dev, libsodium-dev, libvirt-dev, libzstd-dev, zlib1g-dev")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${CMAKE_SOURCE_DIR}/platform/debian/postinst ${CMAKE_SOURCE_DIR}/platform/debian/prerm
  ${CMAKE_SOURCE_DIR}/platform/debian/postrm ${CMAKE_SOURCE_DIR}/platform/debian/conffiles)
include(CPack)
