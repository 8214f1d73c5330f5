# SPDX-License-Identifier: Apache-2.0
#
# Toolchain file of the preset arm64. From the environment, because a sysroot has no usual place:
# BERTH_ARM64_TOOLS, a folder with usr/bin/aarch64-linux-gnu-g++; BERTH_ARM64_SYSROOT, Debian's
# arm64 packages of everything that Berth links; BERTH_ARM64_EMULATOR, the program that tests run
# under. tests/kernel/build-arm64 sets them.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

set(CMAKE_C_COMPILER "$ENV{BERTH_ARM64_TOOLS}/usr/bin/aarch64-linux-gnu-gcc")
set(CMAKE_CXX_COMPILER "$ENV{BERTH_ARM64_TOOLS}/usr/bin/aarch64-linux-gnu-g++")
set(CMAKE_SYSROOT "$ENV{BERTH_ARM64_SYSROOT}")
set(CMAKE_CROSSCOMPILING_EMULATOR "$ENV{BERTH_ARM64_EMULATOR}" -L "${CMAKE_SYSROOT}")

# Libraries are the sysroot's; protoc and its plugins run here.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${CMAKE_SYSROOT}")
set(ENV{PKG_CONFIG_LIBDIR}
    "${CMAKE_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${CMAKE_SYSROOT}/usr/share/pkgconfig")
