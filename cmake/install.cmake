# `make install` and `make deb`: the program, its licence and its documents.
include(GNUInstallDirs)
install(TARGETS halftone RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES README.md LICENSE CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES docs/options.md docs/formats.md docs/numerics.md DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs)

# Debian releases differ in the versions of the libraries that the program uses. With this option it brings its own: one package serves them all.
option(HALFTONE_BUNDLE "Install the program's libraries (but for the C and C++ runtimes) in a folder of its own" OFF)
if(HALFTONE_BUNDLE)
  set_target_properties(halftone PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}/halftone")
  install(CODE "set(halftone_libraries \"${CMAKE_INSTALL_LIBDIR}/halftone\")")
  install(CODE [[
    file(GET_RUNTIME_DEPENDENCIES EXECUTABLES $<TARGET_FILE:halftone> RESOLVED_DEPENDENCIES_VAR found UNRESOLVED_DEPENDENCIES_VAR missing
         POST_EXCLUDE_REGEXES "/(ld-linux[^/]*|lib(c|m|dl|rt|pthread|stdc[+][+]|gcc_s))[.]so[^/]*$")
    if(missing)
      message(FATAL_ERROR "the program's libraries ${missing} were not found")
    endif()
    foreach(library IN LISTS found)
      file(INSTALL ${library} DESTINATION ${CMAKE_INSTALL_PREFIX}/${halftone_libraries} TYPE SHARED_LIBRARY FOLLOW_SYMLINK_CHAIN)
    endforeach()
  ]])
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME halftone)
set(CPACK_PACKAGE_VENDOR "the Halftone authors")
set(CPACK_PACKAGE_CONTACT "the Halftone authors <halftone@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "continues the training of ONNX networks in 16 bits on CPUs")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
    "Takes a neural network that was trained in 32 bits (an ONNX file), continues\n its training in fp16 or bf16 on an ordinary CPU and writes the updated ONNX\n file. Needs neither a GPU nor Python.")
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
# What the bundled libraries and the program need besides: the C and C++ runtimes of Debian 12 or later.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libc6 (>= 2.36), libstdc++6 (>= 12), libgcc-s1")
include(CPack)
