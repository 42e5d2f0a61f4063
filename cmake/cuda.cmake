# Decides RATEL_HAS_CUDA from RATEL_CUDA and whether nvcc is there, and names the architectures: with none named CMake
# would silently take sm_75. RATEL_CUDA=HOST compiles the kernels with the C++ compiler for cuda/twin, a GPU imitated on
# the CPU that the tests run on.
set(RATEL_HAS_CUDA 0)
set(RATEL_CUDA_TWIN OFF)
if(RATEL_CUDA STREQUAL "HOST")
  set(RATEL_HAS_CUDA 1)
  set(RATEL_CUDA_TWIN ON)
elseif(NOT RATEL_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  find_program(RATEL_NVCC nvcc HINTS /usr/local/cuda/bin ENV CUDA_PATH PATH_SUFFIXES bin)
  if(RATEL_NVCC AND NOT DEFINED ENV{CUDACXX} AND NOT CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_COMPILER ${RATEL_NVCC})
  endif()
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    if(NOT CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES 80-real 90a-real CACHE STRING "GPU architectures")
    endif()
    enable_language(CUDA)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)  # CMake 3.25 does not know that nvcc can
    # Relaxed constexpr: device code calls what core has constexpr.
    add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;--Werror=all-warnings>"
      "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra>")
    find_package(CUDAToolkit REQUIRED)
    set(RATEL_HAS_CUDA 1)
  elseif(RATEL_CUDA STREQUAL "ON")
    message(FATAL_ERROR "RATEL_CUDA=ON, but nvcc was not found: put it on PATH or set CUDACXX")
  endif()
endif()
message(STATUS "ratel: CUDA ${RATEL_HAS_CUDA} (RATEL_CUDA=${RATEL_CUDA})")
