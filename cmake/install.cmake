# cmake --install, and find_package(ratel) for programs outside this tree. What is installed may be moved as a whole.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/ratel)

get_property(libraries GLOBAL PROPERTY RATEL_LIBRARIES)
install(TARGETS ${libraries} EXPORT ratelTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT ratelTargets NAMESPACE ratel:: DESTINATION ${package})
install(TARGETS ratel_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
# Where ratel_library() says that they are; kernels' headers stay here.
foreach(folder core autograd ops nn io text models train)
  install(DIRECTORY ${folder} DESTINATION include/ratel FILES_MATCHING PATTERN "*.h" PATTERN "cpu" EXCLUDE)
endforeach()

configure_package_config_file(cmake/ratelConfig.cmake.in ${PROJECT_BINARY_DIR}/ratelConfig.cmake
  INSTALL_DESTINATION ${package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/ratelConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/ratelConfig.cmake ${PROJECT_BINARY_DIR}/ratelConfigVersion.cmake
  DESTINATION ${package})
