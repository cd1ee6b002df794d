// Reads a file twice through a cache. The second time only one question goes to the source: has it changed?
#include <cachefs/cache_fs.h>
#include <cachefs/path_operations.h>
#include <cachefs/posix_fs.h>

#include <iostream>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: readme_example DIRECTORY FILE-IN-IT\n";
    return 2;
  }
  auto source = cachefs::make_posix_fs(argv[1]);
  if (!source) {
    std::cerr << source.error().message() << '\n';
    return 1;
  }
  cachefs::CacheOptions options;
  options.max_bytes = 64 * cachefs::kMiB;
  auto cache = cachefs::CacheFs::create(**source, options);
  if (!cache) {
    std::cerr << cache.error().message() << '\n';
    return 1;
  }
  for (int pass = 1; pass <= 2; ++pass) {
    (*cache)->reset_stats();
    const auto content = cachefs::read_file(**cache, argv[2]);
    if (!content) {
      std::cerr << content.error().message() << '\n';
      return 1;
    }
    const cachefs::CacheStats stats = (*cache)->stats();
    std::cout << "pass " << pass << ": " << content->size() << " bytes, " << stats.source_reads
              << " reads and " << stats.source_metadata_ops << " other requests at the source\n";
  }
}
