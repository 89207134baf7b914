# How every part of Halftone is compiled and which outside libraries it uses.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(Protobuf REQUIRED)
find_package(JPEG REQUIRED)
find_package(ZLIB REQUIRED)
pkg_check_modules(SPNG REQUIRED IMPORTED_TARGET spng)
pkg_check_modules(WEBP REQUIRED IMPORTED_TARGET libwebp libwebpdemux)
find_package(GIF 5.1 REQUIRED)
find_package(TIFF 4.5 REQUIRED)
pkg_check_modules(ICU REQUIRED IMPORTED_TARGET icu-uc)
pkg_check_modules(ONIGURUMA REQUIRED IMPORTED_TARGET oniguruma)

# -ffp-contract=off: a*b+c must not become an fma unasked; results would depend on the compiler.
set(HALFTONE_FLAGS -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wmissing-field-initializers $<$<BOOL:${HALFTONE_WERROR}>:-Werror>
                   -ffp-contract=off -fno-math-errno -fno-trapping-math)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports overlapping memcpy inside std::string's assignment (GCC bug 105329).
  list(APPEND HALFTONE_FLAGS -Wno-restrict)
endif()
if(HALFTONE_SANITIZE)
  list(APPEND HALFTONE_FLAGS -fsanitize=${HALFTONE_SANITIZE} -fno-omit-frame-pointer -g1)
  if(HALFTONE_SANITIZE MATCHES undefined)
    list(APPEND HALFTONE_FLAGS -fno-sanitize-recover=undefined)
  endif()
  add_link_options(-fsanitize=${HALFTONE_SANITIZE})
endif()

# Symbols are looked up once, at the start. At their first call, in the middle of a step, the tables of every library would come into memory for it:
# half a megabyte.
add_link_options(-Wl,-z,now)

if(HALFTONE_FUZZ)
  # Coverage for libFuzzer; only its own programs link its main function.
  list(APPEND HALFTONE_FLAGS -fsanitize=fuzzer-no-link)
endif()

function(halftone_flags target)
  target_compile_options(${target} PRIVATE ${HALFTONE_FLAGS})
endfunction()

# halftone_library(NAME LINK ... PRIVATE_LINK ...): src/NAME/*.cpp as libhalftone_NAME; header-only while it has no sources.
function(halftone_library name)
  cmake_parse_arguments(ARG "" "" "LINK;PRIVATE_LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cpp)
  if(sources)
    add_library(halftone_${name} STATIC ${sources})
    halftone_flags(halftone_${name})
    halftone_quick(halftone_${name})
    target_include_directories(halftone_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
    target_link_libraries(halftone_${name} PUBLIC ${ARG_LINK} PRIVATE ${ARG_PRIVATE_LINK})
  else()
    add_library(halftone_${name} INTERFACE)
    target_include_directories(halftone_${name} INTERFACE ${PROJECT_SOURCE_DIR}/src)
    target_link_libraries(halftone_${name} INTERFACE ${ARG_LINK} ${ARG_PRIVATE_LINK})
  endif()
  file(GLOB headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.h)
  halftone_headers(${name} INCLUDE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include LINK ${ARG_LINK} ${ARG_PRIVATE_LINK}
                   HEADERS ${headers})
endfunction()
