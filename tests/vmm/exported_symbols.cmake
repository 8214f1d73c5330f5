# SPDX-License-Identifier: Apache-2.0
# cmake -DNM=... -DLIBRARY=... -P: what the library exports is berth_vmm_* and nothing else.
execute_process(COMMAND "${NM}" -D --defined-only "${LIBRARY}" OUTPUT_VARIABLE symbols
                COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]+" lines "${symbols}")
set(functions 0)
foreach(line IN LISTS lines)
  if(line MATCHES " T berth_vmm_[a-z0-9_]+@@BERTH_VMM_[01]$")
    math(EXPR functions "${functions} + 1")
  elseif(NOT line MATCHES " A BERTH_VMM_[01]")
    message(FATAL_ERROR "unexpected symbol: ${line}")
  endif()
endforeach()
if(functions LESS 20)
  message(FATAL_ERROR "only ${functions} functions are exported")
endif()
