# The API reference: target api, and a test that doxygen has nothing to say against the comments. Only where it is found.
find_program(RATEL_DOXYGEN doxygen)
if(RATEL_DOXYGEN)
  configure_file(docs/api/Doxyfile.in ${PROJECT_BINARY_DIR}/Doxyfile @ONLY)
  add_custom_target(api COMMAND ${RATEL_DOXYGEN} ${PROJECT_BINARY_DIR}/Doxyfile WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
    COMMENT "Writing ${PROJECT_BINARY_DIR}/api/html/index.html" VERBATIM)
  if(RATEL_TESTS)
    add_test(NAME docs/api COMMAND ${RATEL_DOXYGEN} ${PROJECT_BINARY_DIR}/Doxyfile
      WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  endif()
else()
  message(STATUS "ratel: no doxygen; the API reference is left out")
endif()
