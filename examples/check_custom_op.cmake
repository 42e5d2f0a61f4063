# cmake -DBUILD=build/cpu -DSOURCE=examples/custom_op -DTREE=. -DGENERATOR= -DCXX_COMPILER= -DLAUNCHER= -DSANITIZE=
#       -P check_custom_op.cmake
# Installs the build, moves the result, and builds and runs SOURCE against it as a user outside the tree would.
cmake_minimum_required(VERSION 3.25)
set(work ${BUILD}/examples/outside)
set(installed ${work}/installed)
set(stage ${work}/moved)

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(REMOVE_RECURSE ${installed} ${stage} ${work}/build)
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${installed})
file(RENAME ${installed} ${stage})

# Nothing that was installed may point back here.
file(GLOB_RECURSE package ${stage}/*.cmake)
if(NOT package)
  message(FATAL_ERROR "no CMake package below ${stage}")
endif()
foreach(file IN LISTS package)
  file(READ ${file} text)
  foreach(path ${TREE} ${BUILD})
    string(FIND "${text}" "${path}/" found)
    if(NOT found EQUAL -1)
      message(FATAL_ERROR "${file} names ${path}")
    endif()
  endforeach()
endforeach()

set(flags)
if(SANITIZE)
  set(flags -DCMAKE_CXX_FLAGS=-fsanitize=${SANITIZE})
endif()
run(${CMAKE_COMMAND} -S ${SOURCE} -B ${work}/build -G ${GENERATOR} -DCMAKE_BUILD_TYPE=Release
  -DCMAKE_CXX_COMPILER=${CXX_COMPILER} -DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER} -DCMAKE_PREFIX_PATH=${stage} ${flags})
run(${CMAKE_COMMAND} --build ${work}/build)
run(${work}/build/swiglu_test)
