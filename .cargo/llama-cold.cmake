# Read by CMake after each `project()` of llama.cpp (CMAKE_PROJECT_INCLUDE in .cargo/config.toml).
#
# Most of llama.cpp's own C++ runs once per model or builds a graph of calls: how it is optimised
# costs a third of its build and changes nothing that is measured. It is built with -O1. What runs
# per token, per prompt or per weight keeps -O3: all of ggml's arithmetic, and the files below.
if(NOT PROJECT_NAME STREQUAL "llama.cpp" OR MSVC OR CMAKE_VERSION VERSION_LESS 3.19)
  return()
endif()

function(card_build_cold)
  # Named here, since llama.cpp may drop or rename files.
  set(hot llama-batch llama-context llama-graph llama-kv-cache llama-kv-cache-iswa
      llama-memory-hybrid llama-memory-hybrid-iswa llama-memory-recurrent llama-quant llama-vocab
      unicode)
  set(cold ggml-backend-meta ggml-opt gguf)
  if(TARGET llama)
    target_compile_options(llama PRIVATE -O1)
    foreach(file IN LISTS hot)
      # Options of a file come after those of its target.
      set_source_files_properties(${CMAKE_CURRENT_SOURCE_DIR}/src/${file}.cpp DIRECTORY src
                                  PROPERTIES COMPILE_OPTIONS -O3)
    endforeach()
  endif()
  if(TARGET ggml-base)
    foreach(file IN LISTS cold)
      set_source_files_properties(${CMAKE_CURRENT_SOURCE_DIR}/ggml/src/${file}.cpp
                                  DIRECTORY ggml/src PROPERTIES COMPILE_OPTIONS -O1)
    endforeach()
  endif()
endfunction()

# Targets exist when all folders have been read.
cmake_language(DEFER CALL card_build_cold)
