# Everyday programs over a mount: scripts in programs/, each with little and with much memory for the
# cache. Where nothing can be mounted they are skipped, or fail if CACHEFS_TEST_REQUIRE_MOUNT is 1.

# cachefs_program_test(PROGRAM NAME RAM_SIZE COHERENCE): programs/PROGRAM.sh as the test programs.PROGRAM.NAME.
function(cachefs_program_test program name ram_size coherence)
  math(EXPR deadline "60 * ${CACHEFS_TEST_TIMEOUT_FACTOR}")
  math(EXPR timeout "${deadline} + 60")  # the script ends by itself before, and cleans up
  set(test programs.${program}.${name})
  add_test(NAME ${test} COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/programs/${program}.sh" ${ram_size} ${coherence})
  set_tests_properties(${test} PROPERTIES
    LABELS mount
    TIMEOUT ${timeout}
    SKIP_RETURN_CODE 77
    ENVIRONMENT "CACHEFS_PROGRAM=$<TARGET_FILE:cachefs>;CACHEFS_TEST_DEADLINE_S=${deadline}")
endfunction()

foreach(program IN ITEMS fio git make rsync sqlite tar)
  cachefs_program_test(${program} small_cache 8M close-to-open)
  cachefs_program_test(${program} large_cache 1G close-to-open)
endforeach()
cachefs_program_test(git ttl 1G ttl=60s)

# Installing PostgreSQL starts a server, which `make test` asks of nobody: only where it is there already.
file(GLOB CACHEFS_POSTGRESQL_SERVERS /usr/lib/postgresql/*/bin/postgres)
if(CACHEFS_POSTGRESQL_SERVERS)
  cachefs_program_test(postgresql small_cache 8M close-to-open)
  cachefs_program_test(postgresql large_cache 1G close-to-open)
  cachefs_program_test(postgresql ttl 8M ttl=60s)
else()
  message(STATUS "No tests with PostgreSQL: it is not installed (scripts/install-dependencies long)")
endif()

option(CACHEFS_LONG_TESTS "Tests that take minutes too, as in make test-full" OFF)
if(CACHEFS_LONG_TESTS)
  cachefs_program_test(postgresql large_ttl 1G ttl=60s)
  foreach(coherence IN ITEMS close-to-open ttl=60s)
    string(REGEX REPLACE "=.*" "" name ${coherence})
    cachefs_program_test(stress-ng small_${name} 8M ${coherence})
    cachefs_program_test(stress-ng large_${name} 1G ${coherence})
  endforeach()
endif()
