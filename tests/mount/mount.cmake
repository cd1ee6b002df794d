# The mount itself, over plain file systems, and slowfs.

cachefs_library(NAME mount_test_fixture SOURCES lock_process.cc mount_test_fixture.cc
  LINKS cachefs::mount cachefs::core cachefs::test_support GTest::gtest)
target_include_directories(cachefs_mount_test_fixture PUBLIC "${PROJECT_SOURCE_DIR}/tests")

cachefs_test(NAME mount_test
  SOURCES
    mount_test_access.cc
    mount_test_data.cc
    mount_test_differences.cc
    mount_test_direct.cc
    mount_test_faults.cc
    mount_test_handles.cc
    mount_test_kernel.cc
    mount_test_listing.cc
    mount_test_lock_ends.cc
    mount_test_locks.cc
    mount_test_memory.cc
    mount_test_names.cc
    mount_test_set_id.cc
    mount_test_sleep.cc
    mount_test_stop.cc
    mount_test_sync.cc
    tree_fs.cc
  LINKS cachefs::mount_test_fixture
  LABELS mount)

cachefs_test(NAME slowfs_test SOURCES mount_test_slowfs.cc
  LINKS cachefs::mount_test_fixture nlohmann_json::nlohmann_json LABELS mount)
target_compile_definitions(slowfs_test PRIVATE SLOWFS_PROGRAM="$<TARGET_FILE:slowfs>")
add_dependencies(slowfs_test slowfs)

cachefs_test(NAME node_table_test SOURCES node_table_test.cc
  LINKS cachefs::mount cachefs::vfs GTest::gtest LABELS unit)

cachefs_test(NAME kernel_features_test SOURCES kernel_features_test.cc LINKS cachefs::cli LABELS unit)
