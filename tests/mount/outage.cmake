# What programs see of a mount whose source hangs, fails or goes away in the middle of their work.

cachefs_test(NAME outage_matrix_test SOURCES outage_matrix_test.cc outage_work.cc
  LINKS cachefs::cli_test_fixture LABELS mount)
cachefs_test(NAME replaced_source_test SOURCES replaced_source_test.cc
  LINKS cachefs::vfs cachefs::test_support LABELS mount)
