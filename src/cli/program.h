// The command line as a whole.
#pragma once

#include <string>
#include <vector>

namespace cachefs::cli {

/// Runs what the arguments (without the program's name) ask for. Returns the exit code.
int run_program_line(const std::vector<std::string>& line);

}  // namespace cachefs::cli
