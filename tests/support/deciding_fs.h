// A file system that decides for itself who may have something, as a server does, whatever its mode bits say.
#pragma once

#include <cerrno>
#include <mutex>
#include <set>

#include "cachefs/file_system.h"

namespace cachefs::test {

/// Passes everything on, but to those it refuses: they may not look up, open, list or create (EACCES).
/// Thread-safe.
class DecidingFs final : public FileSystem {
 public:
  explicit DecidingFs(FileSystem& base) : base_(base) {}

  void refuse(uint32_t uid) {
    const std::lock_guard lock(mutex_);
    refused_.insert(uid);
  }
  void admit(uint32_t uid) {
    const std::lock_guard lock(mutex_);
    refused_.erase(uid);
  }

  [[nodiscard]] const Capabilities& capabilities() const override { return base_.capabilities(); }
  NodeRef root() override { return base_.root(); }
  Result<Entry> lookup(Node& directory, std::string_view name, const Caller& caller) override {
    if (refuses(caller)) return fail_errno(EACCES);
    return base_.lookup(directory, name, caller);
  }
  Result<OpenedFile> open(Node& node, const OpenFlags& flags, const Caller& caller) override {
    if (refuses(caller)) return fail_errno(EACCES);
    return base_.open(node, flags, caller);
  }
  Result<CreatedFile> create(Place place, const CreateOptions& options, const Caller& caller) override {
    if (refuses(caller)) return fail_errno(EACCES);
    return base_.create(place, options, caller);
  }
  Result<std::unique_ptr<DirectoryStream>> open_directory(Node& node, const Caller& caller) override {
    if (refuses(caller)) return fail_errno(EACCES);
    return base_.open_directory(node, caller);
  }

  Result<Attributes> attributes(Node& node, const Caller& caller) override {
    return base_.attributes(node, caller);
  }
  Result<Attributes> set_attributes(Node& node, const AttributeChange& change,
                                    const Caller& caller) override {
    return base_.set_attributes(node, change, caller);
  }
  Result<Entry> make(Place place, const NewNode& spec, const Caller& caller) override {
    return base_.make(place, spec, caller);
  }
  Result<Entry> link(Node& node, Place place, const Caller& caller) override {
    return base_.link(node, place, caller);
  }
  Result<void> remove(Place place, RemoveKind kind, const Caller& caller) override {
    return base_.remove(place, kind, caller);
  }
  Result<void> rename(Place from, Place to, RenameMode mode, const Caller& caller) override {
    return base_.rename(from, to, mode, caller);
  }
  Result<std::string> read_link(Node& node, const Caller& caller) override {
    return base_.read_link(node, caller);
  }
  Result<void> sync_directory(Node& node) override { return base_.sync_directory(node); }
  Result<FileSystemStatistics> statistics(Node& node) override { return base_.statistics(node); }
  XattrStore* xattrs() override { return base_.xattrs(); }
  LockStore* locks() override { return base_.locks(); }

 private:
  bool refuses(const Caller& caller) {
    const std::lock_guard lock(mutex_);
    return refused_.contains(caller.uid);
  }

  FileSystem& base_;
  std::mutex mutex_;
  std::set<uint32_t> refused_;
};

}  // namespace cachefs::test
