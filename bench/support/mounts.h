// File systems under measurement: mounted by programs that end with the benchmark, whatever happens to it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace cachefs::bench {

/// A temporary directory, and a mount namespace of the process's own. Needs root and /dev/fuse: else the
/// program ends with a sentence.
class Workspace {
 public:
  Workspace();
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  /// A directory of that name, made if it is not there.
  [[nodiscard]] std::string directory(const std::string& name) const;
  [[nodiscard]] std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

/// A program that serves a mount in the foreground. Made in the main thread alone.
class Mount {
 public:
  /// Returns once it is mounted.
  Mount(const std::vector<std::string>& command, std::string mountpoint);
  ~Mount();  ///< unmounts and waits for the program's end
  Mount(const Mount&) = delete;
  Mount& operator=(const Mount&) = delete;

  [[nodiscard]] const std::string& path() const { return mountpoint_; }
  /// Answers that the program wrote to the kernel so far. Those that it splices are not among them.
  [[nodiscard]] uint64_t answers() const;

 private:
  [[nodiscard]] bool mounted() const;
  const std::string mountpoint_;
  pid_t daemon_ = 0;
};

/// The cachefs program over `source`.
class CacheMount : public Mount {
 public:
  CacheMount(const std::string& source, const std::string& mountpoint,
             const std::vector<std::string>& options);
  /// `cachefs stats --json`.
  [[nodiscard]] nlohmann::json stats() const;
};

/// slowfs with that delay for each request, and no limit of bandwidth.
class SlowMount : public Mount {
 public:
  SlowMount(const std::string& source, const std::string& mountpoint, const std::string& delay);
  /// Sends a command ("stats", "reset", "hang", ...) and returns its answer.
  nlohmann::json control(const std::vector<std::string>& words) const;
};

/// The peer: libfuse's own pass-through, compiled from the examples that Debian's libfuse3-dev installs.
/// Returns the program's path.
std::string compile_pass_through(const Workspace& workspace);
class PassThrough : public Mount {
 public:
  /// Served or not: if they are, the kernel asks for one before each write.
  enum class Xattrs : bool { none, served };
  PassThrough(const std::string& program, const std::string& source, const std::string& mountpoint,
              Xattrs xattrs = Xattrs::served);
};

/// Runs a program and returns its output; the end if it fails.
std::string run(const std::vector<std::string>& command);

/// What two of those answers differ by, for one key.
uint64_t delta(const nlohmann::json& before, const nlohmann::json& after, const char* key);

}  // namespace cachefs::bench
