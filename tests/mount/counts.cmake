# What reaches the source through the cachefs program, counted.

cachefs_test(NAME counts_test SOURCES counts_test.cc LINKS cachefs::cli_test_fixture LABELS mount)
target_compile_definitions(counts_test PRIVATE SLOWFS_PROGRAM="$<TARGET_FILE:slowfs>")
add_dependencies(counts_test slowfs)
