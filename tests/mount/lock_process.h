// A process that locks files on command: whom locks keep out is another process.
#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <sys/types.h>

#include <string>

namespace cachefs::test {

/// Bytes of a file, as fcntl(2) has them: a length of 0 is to the end.
struct LockedBytes {
  off_t start = 0;
  off_t length = 0;
};

/// A child that does one thing after another. All that it does gives 0 or an errno; what cannot be asked of
/// it any more gives -1. It is killed at the end, if it still runs.
class LockProcess {
 public:
  LockProcess();
  ~LockProcess();
  LockProcess(const LockProcess&) = delete;
  LockProcess& operator=(const LockProcess&) = delete;

  /// Each open file of the child has a number, from 0.
  int open(int file, const std::string& path, int flags = O_RDWR);
  int close(int file);
  /// As dup(2).
  int duplicate(int file, int as);

  /// F_RDLCK, F_WRLCK or F_UNLCK by fcntl(2) with F_SETLK.
  int lock(int file, short type, LockedBytes bytes = {});
  /// The same of the open file (F_OFD_SETLK).
  int lock_open_file(int file, short type, LockedBytes bytes = {});
  int flock(int file, int operation);
  /// F_GETLK for an exclusive lock of all; what it says is in `found`.
  int test(int file, struct flock& found);
  int write(int file, off_t offset, const std::string& text);
  /// The text, or an errno's name after a "?".
  std::string read(int file, off_t offset, size_t size);
  /// Adds one to the number in the file, `times` times, each time under a lock that is waited for: by
  /// fcntl(2), or by flock(2).
  int count_up(int file, int times, bool by_flock);
  /// A child of the child, which has its open files too, lives until the child ends or end_fork().
  int fork();
  int end_fork();

  /// Begin to wait for a lock; the answer is that of end(). Returns when the child is about to ask.
  void begin_lock(int file, short type, LockedBytes bytes = {});
  void begin_flock(int file, int operation);
  int end();
  /// Whether end() would return at once.
  [[nodiscard]] bool has_ended() const;
  /// Whether the child waits in a system call, so that a signal can wake it.
  [[nodiscard]] bool sleeps() const;

  /// SIGUSR1 is caught, and restarts nothing.
  void signal(int number) const;
  /// Kills it, and waits for its end; false if it does not come.
  bool kill();
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  struct Command;
  struct Answer;

  [[noreturn]] static void serve(int commands);
  static Answer run(const Command& command);
  int ask(const Command& command, Answer* answer = nullptr);
  bool send(const Command& command) const;
  bool receive(Answer& answer) const;

  pid_t pid_ = -1;
  int commands_ = -1;
};

}  // namespace cachefs::test
