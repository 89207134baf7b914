# The kernels: the same sources once per build of them, each an object library with its own namespace and flags:
#   ref      scalar code, any CPU: the meaning
#   ref_fma  the same compiled with -mfma (std::fma is a slow library call without it); same bits
#   avx2     AVX2, FMA, F16C
#   avxvnni  avx2's kernels, but for `block`, which multiplies and adds in one instruction, where the compiler knows it
#   avx512   AVX2 and AVX-512 F, BW, VL, DQ, VNNI
#   avx512fp16  avx512's kernels, and products in fp16 arithmetic, where the compiler knows it (g++ 12, clang 14)
#   amx      avx512fp16's kernels, but for `block`, which multiplies on tiles, where the assembler knows them
# Sources: lane/ (formulas over one lane or a vector of lanes) in all of them, ref/ in the first two, simd/ (kernels
# over a vector type) and the instruction set's own folder in the others.
# HALFTONE_KERN_NS is the namespace that a source puts its code into: halftone::kern::HALFTONE_KERN_NS. Those
# sources include no std templates and no inline function that isn't forced inline: a weak symbol compiled with
# AVX-512 could be picked for the whole program and crash an older CPU. The test `kern_symbols` checks that
# (cmake/check_symbols.cmake).
file(GLOB kern_common CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/kern/*.cpp)
add_library(halftone_kern STATIC ${kern_common})
halftone_flags(halftone_kern)
target_include_directories(halftone_kern PUBLIC ${PROJECT_SOURCE_DIR}/src)
target_link_libraries(halftone_kern PUBLIC halftone_num)
file(GLOB kern_headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/kern/*.h)
halftone_headers(kern INCLUDE ${PROJECT_SOURCE_DIR}/src LINK halftone_num HEADERS ${kern_headers})

# kern_build(NAME FOLDERS BITS FLAGS...): src/kern/FOLDERS as namespace NAME, vector registers of BITS (0: none).
function(kern_build name folders bits)
  if(HALFTONE_QUICK_KERNELS AND NOT name IN_LIST HALFTONE_QUICK_KERNELS)
    return()
  endif()
  list(TRANSFORM folders REPLACE "(.+)" "${PROJECT_SOURCE_DIR}/src/kern/\\1/*.h" OUTPUT_VARIABLE header_folders)
  file(GLOB headers CONFIGURE_DEPENDS ${header_folders})
  list(TRANSFORM folders REPLACE "(.+)" "${PROJECT_SOURCE_DIR}/src/kern/\\1/*.cpp")
  file(GLOB sources CONFIGURE_DEPENDS ${folders})
  add_library(halftone_kern_${name} OBJECT ${sources})
  halftone_flags(halftone_kern_${name})
  target_include_directories(halftone_kern_${name} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_compile_definitions(halftone_kern_${name} PRIVATE HALFTONE_KERN_NS=${name} HALFTONE_KERN_VECTOR=${bits})
  # No exceptions: kernels are noexcept, and clang would emit its weak handler into every object.
  target_compile_options(halftone_kern_${name} PRIVATE -fno-exceptions ${ARGN})
  # avx512fp16's own headers are for sources that define HALFTONE_KERN_HALF.
  halftone_headers(kern_${name} INCLUDE ${PROJECT_SOURCE_DIR}/src DEFINE HALFTONE_KERN_NS=${name} HALFTONE_KERN_VECTOR=${bits}
                   $<$<STREQUAL:${name},avx512fp16>:HALFTONE_KERN_HALF=1> OPTIONS -fno-exceptions ${ARGN} HEADERS ${headers})
  if(HALFTONE_QUICK_KERNELS AND name MATCHES "^ref")
    target_compile_options(halftone_kern_${name} PRIVATE -O1)
  endif()
  target_sources(halftone_kern PRIVATE $<TARGET_OBJECTS:halftone_kern_${name}>)
  string(TOUPPER ${name} upper)
  target_compile_definitions(halftone_kern PRIVATE HALFTONE_KERN_${upper})
  set_property(GLOBAL APPEND PROPERTY HALFTONE_KERN_BUILDS ${name})
endfunction()

kern_build(ref "lane;ref" 0)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(HALFTONE_X86 1)
  kern_build(ref_fma "lane;ref" 0 -mavx2 -mfma -mf16c)
  kern_build(avx2 "lane;simd;avx2" 256 -mavx2 -mfma -mf16c)
  kern_build(avx512 "lane;simd;avx512" 512 -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni
             -mprefer-vector-width=512)
  # The compiler and its assembler.
  include(CheckCXXSourceCompiles)
  set(CMAKE_REQUIRED_FLAGS -mavxvnni)
  check_cxx_source_compiles("int main() { __asm__(\"{vex} vpdpwssd %ymm0, %ymm1, %ymm2\"); }" HALFTONE_HAS_AVXVNNI)
  unset(CMAKE_REQUIRED_FLAGS)
  if(HALFTONE_HAS_AVXVNNI)
    kern_build(avxvnni "avxvnni" 256 -mavx2 -mfma -mf16c -mavxvnni)
  endif()
  set(CMAKE_REQUIRED_FLAGS -mavx512fp16)
  check_cxx_source_compiles("int main() { __asm__(\"vfmadd231ph %zmm0, %zmm1, %zmm2\"); }" HALFTONE_HAS_AVX512FP16)
  unset(CMAKE_REQUIRED_FLAGS)
  if(HALFTONE_HAS_AVX512FP16)
    kern_build(avx512fp16 "avx512fp16" 512 -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni
               -mavx512fp16 -mprefer-vector-width=512)
    # Tiles are written in assembly: the assembler must know them, the compiler needn't. Every CPU that has them has AVX512-FP16.
    check_cxx_source_compiles("int main() { __asm__(\"tdpbssd %tmm0, %tmm1, %tmm2\"); }" HALFTONE_HAS_AMX)
    if(HALFTONE_HAS_AMX)
      kern_build(amx "amx" 512 -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni
                 -mavx512fp16 -mprefer-vector-width=512)
    endif()
  endif()
endif()
