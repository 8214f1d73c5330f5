# SPDX-License-Identifier: Apache-2.0
include(CMakeFindDependencyMacro)
find_dependency(Threads)
find_dependency(absl CONFIG)
include("${CMAKE_CURRENT_LIST_DIR}/berth-emulator-targets.cmake")
