# Every library that the project uses. Their Debian packages: scripts/dependencies.txt.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
pkg_check_modules(fuse3 REQUIRED IMPORTED_TARGET fuse3>=3.14)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)

target_compile_definitions(PkgConfig::fuse3 INTERFACE FUSE_USE_VERSION=314)

if(PROJECT_IS_TOP_LEVEL AND BUILD_TESTING)
  find_package(GTest REQUIRED)
  find_package(rapidcheck REQUIRED)
endif()
if(CACHEFS_BENCHMARKS)
  find_package(benchmark REQUIRED)
endif()
