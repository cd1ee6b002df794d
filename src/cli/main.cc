#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "cli/helper_line.h"
#include "cli/program.h"

namespace {

/// A caller may have closed standard streams: what is opened later must not be taken for one.
void open_standard_streams() {
  int fd = 0;
  do {
    fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  } while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd > STDERR_FILENO) ::close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  open_standard_streams();
  const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  if (cachefs::cli::is_helper_line(argc > 0 ? argv[0] : "", arguments))
    return cachefs::cli::run_helper_line(arguments);
  return cachefs::cli::run_program_line(arguments);
}
