#include <limits>

// Adds one to the largest int: the undefined-behaviour sanitizer must stop it.
int main() {
  volatile int largest = std::numeric_limits<int>::max();
  return largest + 1 == 1 ? 2 : 0;
}
