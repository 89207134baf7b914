# Run as a test: cmake -DNM=nm -DOBJECTS=a.o;b.o -P check_symbols.cmake. Fails when an object that was compiled for one instruction set defines
# a weak symbol outside its own namespace (halftone::kern::NAME): the linker might pick that copy for the whole program. A
# pointer to the exception handler is no code.
set(bad "")
foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND ${NM} --defined-only ${object} OUTPUT_VARIABLE symbols RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "cannot read the symbols of ${object}")
  endif()
  string(REPLACE "\n" ";" symbols "${symbols}")
  foreach(line IN LISTS symbols)
    if(line MATCHES " [WVu] (.*)$" AND NOT line MATCHES "halftone4kern(3ref|7ref_fma|4avx2|6avx512)"
       AND NOT line MATCHES "DW.ref.__gxx_personality_v0")
      list(APPEND bad "${object}: ${line}")
    endif()
  endforeach()
endforeach()
if(bad)
  list(JOIN bad "\n" text)
  message(FATAL_ERROR "weak symbols in instruction-set code:\n${text}")
endif()
