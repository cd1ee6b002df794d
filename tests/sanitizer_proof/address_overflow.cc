#include <cstddef>
#include <vector>

// Reads one byte past the end of the heap: the address sanitizer must stop it.
int main() {
  volatile std::size_t past_the_end = 64;
  const std::vector<char> bytes(64);
  return *(bytes.data() + past_the_end) == 1 ? 2 : 0;
}
