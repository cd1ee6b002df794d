#include <thread>

// Two threads write one variable without a lock: the thread sanitizer must tell, by its exit code.
int main() {
  int shared = 0;
  std::thread other([&shared] { shared = 1; });
  shared = 2;
  other.join();
  return 0;
}
