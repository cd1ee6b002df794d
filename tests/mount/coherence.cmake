# What a mount shows of files that change on its source, over each kind of source.

cachefs_library(NAME source_place SOURCES source_place.cc LINKS cachefs::cli_test_fixture)
cachefs_test(NAME coherence_test SOURCES coherence_test.cc
  LINKS cachefs::source_place cachefs::test_support LABELS mount PARTS Directory Slowfs Sshfs)
