# SPDX-License-Identifier: Apache-2.0
#
# For the tsan preset alone: what every program and test is linked with (tests/tsan/README.md). Part
# of each executable, because the dynamic linker prefers its definitions to those of any library.
set(sources "${PROJECT_SOURCE_DIR}/tests/tsan")
set(executable "$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>")

set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${sources}/suppressions.txt")
file(READ "${sources}/suppressions.txt" BERTH_SUPPRESSIONS)
configure_file("${sources}/suppressions.cc.in" tsan_suppressions.cc @ONLY)

add_library(berth_tsan OBJECT
            "${sources}/absl_mutex.cc" "${sources}/absl_status.cc"
            "${PROJECT_BINARY_DIR}/tsan_suppressions.cc")
target_include_directories(berth_tsan PRIVATE "${PROJECT_SOURCE_DIR}")
target_sources(berth_options INTERFACE "$<${executable}:$<TARGET_OBJECTS:berth_tsan>>")

# For programs with gRPC: the others do not link what it refers to.
add_library(berth_tsan_grpc OBJECT "${sources}/grpc.cc")
target_include_directories(berth_tsan_grpc PRIVATE "${PROJECT_SOURCE_DIR}")
set_property(TARGET gRPC::grpc++ APPEND PROPERTY INTERFACE_SOURCES
             "$<${executable}:$<TARGET_OBJECTS:berth_tsan_grpc>>")
