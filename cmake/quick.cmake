# HALFTONE_QUICK, for `make demo`: who tries Halftone should not wait for kernels that the processor cannot run. The program's results are
# the same, bit for bit. What is left out: kernels of other instruction sets, and most optimisation of code that is not in a kernel.
set(HALFTONE_QUICK_KERNELS "")
if(HALFTONE_QUICK AND EXISTS /proc/cpuinfo)
  file(STRINGS /proc/cpuinfo cpu_flags LIMIT_COUNT 1 REGEX "^flags")
  string(REGEX REPLACE "^[^:]*:" "" cpu_flags "${cpu_flags}")
  separate_arguments(cpu_flags)
  # cpu_has(VARIABLE FLAGS...)
  function(cpu_has variable)
    set(${variable} TRUE PARENT_SCOPE)
    foreach(flag IN LISTS ARGN)
      if(NOT flag IN_LIST cpu_flags)
        set(${variable} FALSE PARENT_SCOPE)
      endif()
    endforeach()
  endfunction()
  cpu_has(has_avx2 avx2 fma f16c)
  cpu_has(has_avx512 avx2 fma f16c avx512f avx512bw avx512vl avx512dq avx512_vnni)
  # Where ref_fma runs, ref does not.
  set(HALFTONE_QUICK_KERNELS ref)
  if(has_avx512)
    set(HALFTONE_QUICK_KERNELS ref_fma avx512)
    cpu_has(has_fp16 avx512_fp16)
    if(has_fp16)
      list(APPEND HALFTONE_QUICK_KERNELS avx512fp16)
      cpu_has(has_tiles amx_tile amx_int8)
      if(has_tiles)
        list(APPEND HALFTONE_QUICK_KERNELS amx)
      endif()
    endif()
  elseif(has_avx2)
    set(HALFTONE_QUICK_KERNELS ref_fma avx2)
    cpu_has(has_avxvnni avx_vnni)
    if(has_avxvnni)
      list(APPEND HALFTONE_QUICK_KERNELS avxvnni)
    endif()
  endif()
  string(REPLACE ";" ", " kernels "${HALFTONE_QUICK_KERNELS}")
  message(STATUS "Quick build: kernels for this processor (${kernels})")
endif()

# Readers compute constants of files with the plain kernels: the fuzzers need no others.
if(HALFTONE_FUZZ)
  set(HALFTONE_QUICK_KERNELS ref)
endif()

# One source a library, so that what they include is read and instantiated once. Each operator has functions of the same names: those stay
# alone, over one precompiled header.
function(halftone_quick target)
  if(HALFTONE_QUICK)
    # What has no loop over samples or elements is not optimised at all: that saves a fifth of its time.
    if("${target}" MATCHES "^halftone(_ops|_onnx|_train|_api)?$")
      target_compile_options(${target} PRIVATE -O0)
    else()
      target_compile_options(${target} PRIVATE -O1)
    endif()
    # One source a library fills g++'s heap several times; collecting it takes a tenth of the time. A compiler needs up to 1.3 GB so.
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:--param=ggc-min-heapsize=1000000>)
    if("${target}" STREQUAL "halftone_ops")
      target_precompile_headers(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src/ops/op.h ${PROJECT_SOURCE_DIR}/src/base/error.h <algorithm> <atomic> <cmath>
                                <map>)
    else()
      set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
      # g++ takes a source that is included for a header, where types of unnamed namespaces are suspicious.
      target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
    endif()
  endif()
endfunction()
if(HALFTONE_QUICK)
  # Readers whose helpers have the same names.
  set_source_files_properties(src/data/npy.cpp src/data/safetensors.cpp PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  # Layer norms, which the demo's network does not have: a third of the compile time of the slowest source.
  set_source_files_properties(src/kern/simd/normalization.cpp PROPERTIES COMPILE_OPTIONS -O1)
endif()
