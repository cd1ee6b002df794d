# The program: its messages, the life of its daemon, its control socket.

cachefs_library(NAME cli_test_fixture SOURCES cli_fixture.cc lock_process.cc LINKS cachefs::cli GTest::gtest)
target_include_directories(cachefs_cli_test_fixture PUBLIC "${PROJECT_SOURCE_DIR}/tests")
target_compile_definitions(cachefs_cli_test_fixture PUBLIC
  CACHEFS_PROGRAM="$<TARGET_FILE:cachefs>" SLOWFS_PROGRAM="$<TARGET_FILE:slowfs>")
add_dependencies(cachefs_cli_test_fixture cachefs slowfs)

cachefs_test(NAME cli_test SOURCES cli_helper_test.cc cli_lifecycle_test.cc cli_limits_test.cc
    cli_locks_test.cc cli_messages_test.cc cli_outage_test.cc cli_over_test.cc cli_simulate_test.cc cli_start_test.cc cli_trouble_test.cc
    cli_user_test.cc
  LINKS cachefs::cli_test_fixture LABELS mount)
cachefs_test(NAME cli_parts_test SOURCES cli_parts_test.cc LINKS cachefs::cli LABELS unit)
cachefs_test(NAME control_socket_test SOURCES control_socket_test.cc LINKS cachefs::server LABELS unit)
