# SPDX-License-Identifier: Apache-2.0
#
# How Berth is compiled: language levels, warnings, sanitizers, output folders, and the three
# functions that every CMakeLists.txt of the tree uses: berth_library, berth_executable, berth_test.

option(BERTH_BUILD_TESTS "Build the tests" ON)
set(BERTH_SANITIZE "" CACHE STRING "Value of -fsanitize=, or empty")
option(BERTH_PRECOMPILE "Precompile headers, with clang" OFF)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")
set(CMAKE_C_FLAGS_RELEASE "-O2 -g1")
set(CMAKE_CXX_FLAGS_SANITIZE "-O1 -g1 -fno-omit-frame-pointer")
set(CMAKE_C_FLAGS_SANITIZE "-O1 -g1 -fno-omit-frame-pointer")

find_program(BERTH_CCACHE ccache)
if(BERTH_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER "${BERTH_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${BERTH_CCACHE}")
endif()
find_program(BERTH_MOLD mold)
# A cross compiler brings its own linker and does not find others.
if(BERTH_MOLD AND NOT CMAKE_CROSSCOMPILING)
  add_link_options(-fuse-ld=mold)
endif()

include(GNUInstallDirs)

add_library(berth_options INTERFACE)
target_include_directories(berth_options INTERFACE "${PROJECT_SOURCE_DIR}")
# Release keeps no -DNDEBUG: CHECKs are for programming errors, and those must not go on unseen.
target_compile_options(berth_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wvla -Werror)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_options(berth_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wthread-safety>)
endif()
if(BERTH_SANITIZE)
  add_compile_options(-fsanitize=${BERTH_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${BERTH_SANITIZE})
endif()
if(BERTH_SANITIZE STREQUAL "thread")
  # protobuf's headers lay classes out differently for ThreadSanitizer, its library was built
  # without.
  add_compile_options(-U__SANITIZE_THREAD__)
endif()

# berth_library(NAME SOURCES a.cc ... DEPS x ...): the static library berth::NAME.
function(berth_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;DEPS")
  add_library(berth_${name} STATIC ${arg_SOURCES})
  add_library(berth::${name} ALIAS berth_${name})
  target_link_libraries(berth_${name} PUBLIC ${arg_DEPS}
                        PRIVATE $<BUILD_INTERFACE:berth_options>)
  target_include_directories(berth_${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
  set_target_properties(berth_${name} PROPERTIES EXPORT_NAME ${name})
  if(BERTH_PRECOMPILE)
    target_precompile_headers(berth_${name} REUSE_FROM berth_precompiled)
  endif()
endfunction()

# berth_executable(berth-x SOURCES main.cc DEPS ...): an installed program.
function(berth_executable name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;DEPS")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_DEPS} berth_options)
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT Runtime)
endfunction()

# berth_test(name_test DEPS ... [SOURCES ...] [LABELS ...] [TIMEOUT s]): a GoogleTest program from
# name_test.cc, registered with CTest as one test per program. Label "spawns": it starts programs of
# the project.
function(berth_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "SOURCES;DEPS;LABELS;ENVIRONMENT")
  if(NOT arg_SOURCES)
    set(arg_SOURCES ${name}.cc)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_executable(${name} ${arg_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
  target_link_libraries(${name} PRIVATE ${arg_DEPS} GTest::gmock GTest::gtest_main berth_options)
  # Tests are compiled as often as the code and run for a moment.
  target_compile_options(${name} PRIVATE -O0 -g0)
  if(BERTH_PRECOMPILE)
    target_precompile_headers(${name} REUSE_FROM berth_precompiled_test)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}"
                       ENVIRONMENT "${arg_ENVIRONMENT}")
endfunction()
