# SPDX-License-Identifier: Apache-2.0
#
# For presets with BERTH_PRECOMPILE: the headers that most files include are parsed once for the
# code and once for its tests, which are compiled with other flags. Never for the release preset: a
# file that does not include what it uses is found there.
#
# Targets take them with target_precompile_headers(x REUSE_FROM ...), as berth_library and berth_test do.

# ccache looks at what the precompiled file was made from instead of at its date.
foreach(language C CXX)
  if(CMAKE_${language}_COMPILER_LAUNCHER)
    list(PREPEND CMAKE_${language}_COMPILER_LAUNCHER
         "${CMAKE_COMMAND}" -E env "CCACHE_SLOPPINESS=pch_defines,time_macros")
  endif()
endforeach()
# All of them alike, or clang refuses what was precompiled with other macros.
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-pthread>
                    "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-Xclang -fno-pch-timestamp>")

set(BERTH_COMMON_HEADERS
    <algorithm> <atomic> <cstdint> <functional> <map> <memory> <optional> <set> <string> <thread>
    <utility> <variant> <vector>
    <absl/status/statusor.h> <absl/strings/str_cat.h> <absl/synchronization/mutex.h> <absl/time/time.h>)

file(GENERATE OUTPUT "${PROJECT_BINARY_DIR}/precompiled.cc" CONTENT "")

# berth_precompile(NAME HEADERS ...): an object library to REUSE_FROM.
function(berth_precompile name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "HEADERS;DEPS")
  add_library(${name} OBJECT "${PROJECT_BINARY_DIR}/precompiled.cc")
  target_link_libraries(${name} PRIVATE protobuf::libprotobuf gRPC::grpc++ ${arg_DEPS} berth_options)
  target_precompile_headers(${name} PRIVATE ${BERTH_COMMON_HEADERS} ${arg_HEADERS})
endfunction()

berth_precompile(berth_precompiled HEADERS <google/protobuf/message.h> <grpcpp/grpcpp.h>)
if(BERTH_BUILD_TESTS)
  berth_precompile(berth_precompiled_test
                   HEADERS <gmock/gmock.h> <gtest/gtest.h> <google/protobuf/message.h> <grpcpp/grpcpp.h>
                   DEPS GTest::gmock)
  # As an executable's.
  set_target_properties(berth_precompiled_test PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(berth_precompiled_test PRIVATE -fPIE -O0 -g0)
endif()
