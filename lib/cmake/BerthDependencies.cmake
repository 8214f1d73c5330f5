# SPDX-License-Identifier: Apache-2.0
#
# Every dependency, each a Debian 12 package (deploy/install-dependencies names the packages,
# ARCHITECTURE.md says why each is there).

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(Protobuf MODULE REQUIRED)
find_package(gRPC CONFIG REQUIRED)
if(CMAKE_CROSSCOMPILING)
  # The package's is a program of the target's architecture, and has to run here.
  find_program(BERTH_GRPC_PLUGIN grpc_cpp_plugin REQUIRED)
  set_target_properties(gRPC::grpc_cpp_plugin PROPERTIES
                        IMPORTED_LOCATION_RELEASE "${BERTH_GRPC_PLUGIN}")
endif()
find_package(OpenSSL REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(YAML_CPP REQUIRED IMPORTED_TARGET yaml-cpp)
if(BERTH_BUILD_TESTS)
  find_package(GTest CONFIG REQUIRED)
  find_package(rapidcheck CONFIG REQUIRED)
endif()
