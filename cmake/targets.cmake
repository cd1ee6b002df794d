# One function for each kind of target.

set(CACHEFS_TEST_TIMEOUT_FACTOR 1 CACHE STRING "Multiplies the time limit of every test")

# cachefs_add_folders(FOLDER...): adds each folder that has a CMakeLists.txt, in this order.
function(cachefs_add_folders)
  foreach(folder IN LISTS ARGN)
    if(EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${folder}/CMakeLists.txt")
      add_subdirectory(${folder})
    endif()
  endforeach()
endfunction()

# cachefs_library(NAME vfs SOURCES a.cc b.cc LINKS cachefs::base fmt::fmt)
# A static library cachefs_vfs, also called cachefs::vfs.
function(cachefs_library)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME" "SOURCES;LINKS")
  cachefs_check_arguments(${CMAKE_CURRENT_FUNCTION})
  add_library(cachefs_${arg_NAME} STATIC ${arg_SOURCES})
  add_library(cachefs::${arg_NAME} ALIAS cachefs_${arg_NAME})
  cachefs_configure_target(cachefs_${arg_NAME} PUBLIC ${arg_LINKS})
endfunction()

# cachefs_program(NAME slowfs SOURCES main.cc LINKS cachefs::vfs)
# A program at the top of the build directory.
function(cachefs_program)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME" "SOURCES;LINKS")
  cachefs_check_arguments(${CMAKE_CURRENT_FUNCTION})
  add_executable(${arg_NAME} ${arg_SOURCES})
  cachefs_configure_target(${arg_NAME} PRIVATE ${arg_LINKS})
  set_target_properties(${arg_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")
endfunction()

# cachefs_test(NAME sieve_test SOURCES sieve_test.cc LINKS cachefs::policy LABELS unit
#              [TIMEOUT seconds] [SERIAL] [PARTS name...])
# A GoogleTest program, with GoogleMock, RapidCheck and tests/support at hand. One label of: unit,
# conformance, model, fault, mount. SERIAL: runs beside no other test. The program is one test,
# except under the label mount, where each TEST is one, so that none inherits another's mounts; with PARTS, all
# TESTs whose names contain that name are one, since they share a mount of their own.
function(cachefs_test)
  cmake_parse_arguments(PARSE_ARGV 0 arg "SERIAL" "NAME;TIMEOUT" "SOURCES;LINKS;LABELS;PARTS")
  cachefs_check_arguments(${CMAKE_CURRENT_FUNCTION} LABELS)
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
  endif()
  math(EXPR timeout "${arg_TIMEOUT} * ${CACHEFS_TEST_TIMEOUT_FACTOR}")
  set(properties LABELS "${arg_LABELS}" TIMEOUT ${timeout} RUN_SERIAL ${arg_SERIAL})

  add_executable(${arg_NAME} ${arg_SOURCES})
  target_include_directories(${arg_NAME} PRIVATE "${PROJECT_SOURCE_DIR}/tests")
  cachefs_configure_target(${arg_NAME} PRIVATE
    ${arg_LINKS} $<TARGET_NAME_IF_EXISTS:cachefs_test_support> GTest::gmock_main rapidcheck)
  if(arg_PARTS)
    foreach(part IN LISTS arg_PARTS)
      add_test(NAME ${arg_NAME}.${part} COMMAND ${arg_NAME} "--gtest_filter=*${part}*")
      set_tests_properties(${arg_NAME}.${part} PROPERTIES ${properties})
    endforeach()
  elseif(arg_LABELS STREQUAL "mount")
    gtest_discover_tests(${arg_NAME} DISCOVERY_MODE PRE_TEST PROPERTIES ${properties})
  else()
    add_test(NAME ${arg_NAME} COMMAND ${arg_NAME})
    set_tests_properties(${arg_NAME} PROPERTIES ${properties})
  endif()
endfunction()

# cachefs_bench(NAME hit_path_bench SOURCES hit_path_bench.cc LINKS cachefs::core)
# A Google Benchmark program in <build>/bench, a part of the target `benchmarks`.
function(cachefs_bench)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME" "SOURCES;LINKS")
  cachefs_check_arguments(${CMAKE_CURRENT_FUNCTION})
  add_executable(${arg_NAME} ${arg_SOURCES})
  cachefs_configure_target(${arg_NAME} PRIVATE ${arg_LINKS} benchmark::benchmark_main)
  set_target_properties(${arg_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bench")
  if(NOT TARGET benchmarks)
    add_custom_target(benchmarks)
  endif()
  add_dependencies(benchmarks ${arg_NAME})
endfunction()

# What the four have in common.
macro(cachefs_check_arguments function)
  foreach(required NAME SOURCES ${ARGN})
    if(NOT arg_${required})
      message(FATAL_ERROR "${function}: ${required} is missing")
    endif()
  endforeach()
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "${function}: unknown arguments: ${arg_UNPARSED_ARGUMENTS}")
  endif()
endmacro()

function(cachefs_configure_target target scope)
  target_compile_features(${target} ${scope} cxx_std_23)
  target_include_directories(${target} ${scope}
    "${PROJECT_SOURCE_DIR}/src" "${PROJECT_SOURCE_DIR}/include")
  target_link_libraries(${target} ${scope} ${ARGN} Threads::Threads)
endfunction()
