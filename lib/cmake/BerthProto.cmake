# SPDX-License-Identifier: Apache-2.0
#
# berth_proto_library(NAME PROTOS a.proto ... [SERVICES b.proto ...] [DEPS ...]): the library
# berth::NAME with the generated C++ of the files (paths relative to proto/), included as
# "berth/v1/x.pb.h"; those of SERVICES also as "berth/v1/x.grpc.pb.h".

function(berth_proto_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "PROTOS;SERVICES;DEPS")
  set(out "${PROJECT_BINARY_DIR}/generated")
  file(MAKE_DIRECTORY "${out}")
  set(generated)
  foreach(proto ${arg_PROTOS} ${arg_SERVICES})
    string(REGEX REPLACE "\\.proto$" "" stem "${proto}")
    set(outputs "${out}/${stem}.pb.cc" "${out}/${stem}.pb.h")
    set(flags "--cpp_out=${out}")
    if(proto IN_LIST arg_SERVICES)
      list(APPEND outputs "${out}/${stem}.grpc.pb.cc" "${out}/${stem}.grpc.pb.h")
      list(APPEND flags "--grpc_out=${out}" "--plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin>")
    endif()
    add_custom_command(
      OUTPUT ${outputs}
      COMMAND protobuf::protoc "-I${PROJECT_SOURCE_DIR}/proto" ${flags} "${proto}"
      WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}/proto"
      DEPENDS "${PROJECT_SOURCE_DIR}/proto/${proto}"
      VERBATIM)
    list(APPEND generated ${outputs})
  endforeach()
  add_library(berth_${name} STATIC ${generated})
  add_library(berth::${name} ALIAS berth_${name})
  # What sanitizers look for is not in generated code, and optimising it takes most of its time.
  target_compile_options(berth_${name} PRIVATE $<$<CONFIG:Sanitize>:-O0>)
  target_include_directories(berth_${name} SYSTEM PUBLIC "${out}")
  target_link_libraries(berth_${name} PUBLIC protobuf::libprotobuf ${arg_DEPS})
  if(arg_SERVICES)
    target_link_libraries(berth_${name} PUBLIC gRPC::grpc++)
  endif()
endfunction()
