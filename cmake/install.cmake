# `make install` and `make deb`: the program, its licence and its documents.
include(GNUInstallDirs)
install(TARGETS halftone RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)
# The manual and the shells' completion, as the program writes them from its own options.
set(halftone_documents "manual:${CMAKE_INSTALL_MANDIR}/man1:halftone.1"
                       "completion bash:${CMAKE_INSTALL_DATADIR}/bash-completion/completions:halftone"
                       "completion zsh:${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions:_halftone"
                       "completion fish:${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d:halftone.fish")
foreach(document IN LISTS halftone_documents)
  string(REPLACE ":" ";" parts "${document}")
  list(GET parts 0 arguments)
  list(GET parts 1 folder)
  list(GET parts 2 name)
  string(REPLACE " " ";" arguments "${arguments}")
  install(CODE "
    file(MAKE_DIRECTORY \"${CMAKE_BINARY_DIR}/documents\")
    execute_process(COMMAND \"$<TARGET_FILE:halftone>\" ${arguments} OUTPUT_FILE \"${CMAKE_BINARY_DIR}/documents/${name}\"
                    COMMAND_ERROR_IS_FATAL ANY)
    set(folder \"${folder}\")
    if(NOT CMAKE_INSTALL_PREFIX STREQUAL \"/usr\")  # where zsh looks elsewhere
      string(REPLACE zsh/vendor-completions zsh/site-functions folder \"\${folder}\")
    endif()
    file(INSTALL \"${CMAKE_BINARY_DIR}/documents/${name}\" DESTINATION \"\${CMAKE_INSTALL_PREFIX}/\${folder}\")")
endforeach()
install(FILES docs/options.md docs/formats.md docs/numerics.md docs/comparing.md docs/library.md docs/text.md DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs)

# Debian releases differ in the versions of some libraries that the program uses. With this option it brings its own of these: one package serves
# the releases. Those that every release has under one name, the readers of images and of compressed files above all, stay the system's, and get
# its security updates.
option(HALFTONE_BUNDLE "Install libraries that differ between Debian releases in a folder of the program's own" OFF)
if(HALFTONE_BUNDLE)
  set_target_properties(halftone PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}/halftone")
  # RPATH and not RUNPATH: it is where the libraries' own libraries are found, too (ICU's data).
  target_link_options(halftone PRIVATE -Wl,--disable-new-dtags)
  install(CODE "set(libraries \"${CMAKE_INSTALL_LIBDIR}/halftone\")\nset(documents \"${CMAKE_INSTALL_DOCDIR}\")")
  install(CODE [[
    file(GET_RUNTIME_DEPENDENCIES EXECUTABLES $<TARGET_FILE:halftone> RESOLVED_DEPENDENCIES_VAR found UNRESOLVED_DEPENDENCIES_VAR missing
         POST_EXCLUDE_REGEXES "/(ld-linux[^/]*|lib(c|m|dl|rt|pthread|stdc[+][+]|gcc_s|z|jpeg|spng|webp|webpdemux|gif|tiff|onig))[.]so[^/]*$")
    if(missing)
      message(FATAL_ERROR "the program's libraries ${missing} were not found")
    endif()
    foreach(library IN LISTS found)
      file(INSTALL ${library} DESTINATION ${CMAKE_INSTALL_PREFIX}/${libraries} TYPE SHARED_LIBRARY FOLLOW_SYMLINK_CHAIN)
      # A library's licence travels with it.
      file(REAL_PATH ${library} file)
      execute_process(COMMAND dpkg-query --search ${file} OUTPUT_VARIABLE owner COMMAND_ERROR_IS_FATAL ANY)
      string(REGEX REPLACE ":.*" "" package "${owner}")
      file(INSTALL /usr/share/doc/${package}/copyright DESTINATION ${CMAKE_INSTALL_PREFIX}/${documents}/libraries RENAME ${package})
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
# What the program and the libraries that it brings need besides, as Debian 12 and 13 name it.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libc6 (>= 2.36), libstdc++6 (>= 12), libgcc-s1, zlib1g, libjpeg62-turbo, libspng0, libwebp7, libwebpdemux2, libgif7, libtiff6, libonig5")
include(CPack)
