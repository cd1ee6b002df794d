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
