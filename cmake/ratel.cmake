# The helpers of this build.
#   ratel_library(FOLDER SOURCES ... LINKS ... [PRIVATE_LINKS ...])   target ratel_FOLDER, alias ratel::FOLDER
#   ratel_cuda_sources(FILES)                                         .cu files of ratel_cuda
#   ratel_op(X)                                                       the files of one op, where they exist
#   ratel_test(PATH LINKS ...)                                        test/PATH_test.cpp, one ctest entry
#   ratel_bench(PATH LINKS ...)                                       bench/PATH_bench.cpp

add_library(ratel_options INTERFACE)
target_compile_options(ratel_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wconversion -Werror>)
if(RATEL_SANITIZE)
  add_compile_options(-fsanitize=${RATEL_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${RATEL_SANITIZE})
endif()

# A target sees only the folders it links to: each folder has an include directory of its own in the build tree that
# holds a link to that folder alone, so that an upward include does not build.
function(ratel_include_dir folder result)
  string(REPLACE "/" "_" name ${folder})
  string(REGEX REPLACE "/.*" "" top ${folder})
  set(dir ${PROJECT_SOURCE_DIR}/build/include/${name})
  file(MAKE_DIRECTORY ${dir})
  file(CREATE_LINK ${PROJECT_SOURCE_DIR}/${top} ${dir}/${top} SYMBOLIC)
  set(${result} ${dir} PARENT_SCOPE)
endfunction()

function(ratel_library folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS;PRIVATE_LINKS" ${ARGN})
  string(REPLACE "/" "_" name ${folder})
  ratel_include_dir(${folder} include_dir)
  add_library(ratel_${name} STATIC ${ARG_SOURCES})
  add_library(ratel::${name} ALIAS ratel_${name})
  set_target_properties(ratel_${name} PROPERTIES EXPORT_NAME ${name})
  # For programs outside this tree; inside it the standard is set once, and CMake 3.25 would ask it of nvcc too.
  target_compile_features(ratel_${name} INTERFACE $<INSTALL_INTERFACE:cxx_std_20>)
  target_include_directories(ratel_${name} PUBLIC
    $<BUILD_INTERFACE:${include_dir}> $<INSTALL_INTERFACE:include/ratel>)
  target_link_libraries(ratel_${name} PUBLIC ${ARG_LINKS} PRIVATE $<BUILD_INTERFACE:ratel_options> ${ARG_PRIVATE_LINKS})
  set_property(GLOBAL APPEND PROPERTY RATEL_LIBRARIES ratel_${name})
endfunction()

function(ratel_test path)
  cmake_parse_arguments(ARG "" "" "LINKS" ${ARGN})
  if(NOT RATEL_TESTS)
    return()
  endif()
  # The twin repeats what computes on a device; the rest is the same there as in any build.
  if(RATEL_CUDA_TWIN AND NOT path MATCHES
      "^(cuda|ops)/|/device$|^models/(golden|step_inputs|kv_cache|decoder|generate)$|^tasks/log_likelihood$|^train/(batch_feed|recorded_step)$")
    return()
  endif()
  string(REPLACE "/" "_" name ${path})
  add_executable(${name}_test ${PROJECT_SOURCE_DIR}/test/${path}_test.cpp)
  target_link_libraries(${name}_test PRIVATE ratel_options ratel_test_support ${ARG_LINKS})
  target_compile_definitions(${name}_test PRIVATE BOOST_TEST_DYN_LINK BOOST_TEST_MODULE=${name})
  target_compile_options(${name}_test PRIVATE -O1)  # tests wait for the compiler longer than for themselves
  if(RATEL_CUDA_TWIN)
    # Cases for each device leave out the CPU, on which the tests of the other presets run them. Once more with blocks, and
    # the threads of each, in the opposite order: a missing barrier may hide behind the first, and a second writer of an
    # address.
    set(environment RATEL_TEST_DEVICES=gpu)
    add_test(NAME twin/${path} COMMAND ${name}_test --color_output=no)
    add_test(NAME twin/${path}/reversed COMMAND ${name}_test --color_output=no)
    set_tests_properties(twin/${path} PROPERTIES ENVIRONMENT "${environment}")
    set_tests_properties(twin/${path}/reversed PROPERTIES ENVIRONMENT "${environment};RATEL_TWIN_ORDER=reverse")
  else()
    add_test(NAME ${path} COMMAND ${name}_test --color_output=no)
  endif()
endfunction()

function(ratel_bench path)
  cmake_parse_arguments(ARG "" "" "LINKS" ${ARGN})
  if(NOT RATEL_BENCH)
    return()
  endif()
  string(REPLACE "/" "_" name ${path})
  add_executable(${name}_bench ${PROJECT_SOURCE_DIR}/bench/${path}_bench.cpp)
  target_link_libraries(${name}_bench PRIVATE ratel_options ratel_bench_support ${ARG_LINKS})
endfunction()

# Kernels for ratel_cuda: nvcc's work, or the C++ compiler's where the twin stands in for a GPU.
function(ratel_cuda_sources)
  target_sources(ratel_cuda PRIVATE ${ARGN})
  if(RATEL_CUDA_TWIN)
    set_source_files_properties(${ARGN} TARGET_DIRECTORY ratel_cuda PROPERTIES LANGUAGE CXX
      COMPILE_OPTIONS -fnon-call-exceptions)
  endif()
endfunction()

# One op: ops/X.cpp always; its CPU and CUDA kernels, test and benchmark where the files are there.
function(ratel_op op)
  target_sources(ratel_ops PRIVATE ${PROJECT_SOURCE_DIR}/ops/${op}.cpp)
  if(EXISTS ${PROJECT_SOURCE_DIR}/ops/cpu/${op}.cpp)
    target_sources(ratel_ops_cpu PRIVATE ${PROJECT_SOURCE_DIR}/ops/cpu/${op}.cpp)
  endif()
  if(RATEL_HAS_CUDA AND EXISTS ${PROJECT_SOURCE_DIR}/cuda/${op}.cu)
    ratel_cuda_sources(${PROJECT_SOURCE_DIR}/cuda/${op}.cu)
  endif()
  ratel_test(ops/${op} LINKS ratel::ops)
  if(EXISTS ${PROJECT_SOURCE_DIR}/bench/ops/${op}_bench.cpp)
    ratel_bench(ops/${op} LINKS ratel::ops)
  endif()
endfunction()
