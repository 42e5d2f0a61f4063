# cmake --install, and find_package(ratel) for programs outside this tree.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
get_property(libraries GLOBAL PROPERTY RATEL_LIBRARIES)
install(TARGETS ${libraries} EXPORT ratelTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS ratel_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
foreach(folder core autograd ops nn io models train)
  install(DIRECTORY ${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/ratel FILES_MATCHING PATTERN "*.h" PATTERN "cpu" EXCLUDE)
endforeach()
install(EXPORT ratelTargets NAMESPACE ratel:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ratel)
configure_package_config_file(cmake/ratelConfig.cmake.in ${PROJECT_BINARY_DIR}/ratelConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ratel)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/ratelConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/ratelConfig.cmake ${PROJECT_BINARY_DIR}/ratelConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ratel)
