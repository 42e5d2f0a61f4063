# cmake --install, find_package(ratel) for programs outside this tree, and Debian packages. What is installed may be moved
# as a whole. Two components: ratel, the binary with its presets and documents, and dev, what programs are built with.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/ratel)

install(TARGETS ratel_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT ratel)
install(DIRECTORY configs DESTINATION ${CMAKE_INSTALL_DATADIR}/ratel COMPONENT ratel FILES_MATCHING PATTERN "*.toml")
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT ratel)
# What these refer to lies beside them as it does here.
install(DIRECTORY docs examples DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT ratel
  REGEX "/docs/api$|/examples/(CMakeLists.txt|check_.*|\\..*)$" EXCLUDE)
install(DIRECTORY bench/results DESTINATION ${CMAKE_INSTALL_DOCDIR}/bench COMPONENT ratel)
install(FILES bench/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR}/bench COMPONENT ratel)
install(DIRECTORY experiments DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT ratel
  FILES_MATCHING PATTERN "*.md" PATTERN "*.svg" PATTERN "*.json")

get_property(libraries GLOBAL PROPERTY RATEL_LIBRARIES)
install(TARGETS ${libraries} EXPORT ratelTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)
install(EXPORT ratelTargets NAMESPACE ratel:: DESTINATION ${package} COMPONENT dev)
# Where ratel_library() says that they are; kernels' headers stay here.
foreach(folder core autograd ops nn io text models tasks train)
  install(DIRECTORY ${folder} DESTINATION include/ratel COMPONENT dev
    FILES_MATCHING PATTERN "*.h" PATTERN "cpu" EXCLUDE)
endforeach()
configure_package_config_file(cmake/ratelConfig.cmake.in ${PROJECT_BINARY_DIR}/ratelConfig.cmake
  INSTALL_DESTINATION ${package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/ratelConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/ratelConfig.cmake ${PROJECT_BINARY_DIR}/ratelConfigVersion.cmake
  DESTINATION ${package} COMPONENT dev)

# cmake --workflow --preset deb leaves ratel_*.deb and libratel-dev_*.deb in build/deb. The kernels of any other build are
# compiled for one processor. Libraries of CUDA come from NVIDIA and not from a Debian package: they are left out of
# Depends.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME ratel)
set(CPACK_PACKAGE_VENDOR ratel)
set(CPACK_PACKAGE_CONTACT "the authors of ratel <ratel@localhost>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_COMPONENTS_ALL ratel dev)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_RATEL_PACKAGE_NAME ratel)
set(CPACK_DEBIAN_RATEL_PACKAGE_SECTION science)
set(CPACK_DEBIAN_RATEL_PACKAGE_SHLIBDEPS ON)
set(CPACK_COMPONENT_RATEL_DESCRIPTION "trains, adapts and runs RAT+ language models
 RAT+ is pretrained densely once and then runs at any dilation D, so that attention and the KV cache shrink by D.")
set(CPACK_DEBIAN_DEV_PACKAGE_NAME libratel-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "libtbb-dev, zlib1g-dev, libzstd-dev, libsentencepiece-dev")
set(CPACK_COMPONENT_DEV_DESCRIPTION "a tensor engine with autograd, and RAT+: headers and libraries
 Static libraries, headers and find_package(ratel) for programs that build models or ops of their own.")
include(CPack)
