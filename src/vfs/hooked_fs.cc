// A file system that asks a hook before each request and tells it after.
#include <algorithm>
#include <type_traits>

#include "cachefs/decorators.h"
#include "cachefs/lock_store.h"

namespace cachefs {
namespace {

template <typename Value>
uint64_t bytes_moved(const Result<Value>& result) {
  if constexpr (std::is_same_v<Value, AppendResult>) return result ? result->size : 0;
  if constexpr (std::is_integral_v<Value>) return result ? static_cast<uint64_t>(*result) : 0;
  return 0;
}

/// `call` between the hook's two ends, unless the hook refuses.
template <typename Call>
auto run(OperationHook& hook, Operation operation, uint64_t bytes, Call call) -> decltype(call()) {
  if (auto allowed = hook.before(operation, bytes); !allowed)
    return std::unexpected(std::move(allowed.error()));
  auto result = call();
  hook.after(operation, moves_data(operation) ? bytes_moved(result) : 0, result.has_value());
  return result;
}

class HookedStream final : public DirectoryStream {
 public:
  HookedStream(std::unique_ptr<DirectoryStream> base, OperationHook& hook)
      : base_(std::move(base)), hook_(hook) {}

  Result<std::vector<DirectoryEntry>> next_batch() override {
    return run(hook_, Operation::read_directory, 0, [&] { return base_->next_batch(); });
  }
  /// No request: what follows is.
  Result<void> seek(uint64_t cookie) override { return base_->seek(cookie); }

 private:
  const std::unique_ptr<DirectoryStream> base_;
  OperationHook& hook_;
};

class HookedXattrs final : public XattrStore {
 public:
  HookedXattrs(XattrStore& base, OperationHook& hook) : base_(base), hook_(hook) {}

  Result<std::string> get(Node& node, std::string_view name, const Caller& caller) override {
    return run(hook_, Operation::get_xattr, 0, [&] { return base_.get(node, name, caller); });
  }
  Result<std::vector<std::string>> list(Node& node, const Caller& caller) override {
    return run(hook_, Operation::list_xattrs, 0, [&] { return base_.list(node, caller); });
  }
  Result<void> set(Node& node, std::string_view name, std::string_view value, XattrMode mode,
                   const Caller& caller) override {
    return run(hook_, Operation::set_xattr, 0, [&] { return base_.set(node, name, value, mode, caller); });
  }
  Result<void> remove(Node& node, std::string_view name, const Caller& caller) override {
    return run(hook_, Operation::remove_xattr, 0, [&] { return base_.remove(node, name, caller); });
  }

 private:
  XattrStore& base_;
  OperationHook& hook_;
};

/// A check counts as a question for attributes.
class HookedReachability final : public Reachability {
 public:
  HookedReachability(Reachability& base, OperationHook& hook) : base_(base), hook_(hook) {}

  Result<void> check() override {
    return run(hook_, Operation::attributes, 0, [&] { return base_.check(); });
  }
  [[nodiscard]] uint64_t epoch() const override { return base_.epoch(); }
  [[nodiscard]] uint64_t instance() const override { return base_.instance(); }
  [[nodiscard]] bool may_change_late(const Node& node) const override { return base_.may_change_late(node); }
  [[nodiscard]] std::optional<Error> outage() const override { return base_.outage(); }
  [[nodiscard]] TimeLimits time_limits() const override { return base_.time_limits(); }
  [[nodiscard]] std::optional<Error> refusal() const override { return base_.refusal(); }
  [[nodiscard]] int event() const override { return base_.event(); }

 private:
  Reachability& base_;
  OperationHook& hook_;
};

class HookedLocks final : public LockStore {
 public:
  HookedLocks(LockStore& base, OperationHook& hook) : base_(base), hook_(hook) {}

  Result<void> set(Node& node, const LockRequest& request, const Caller& caller) override {
    const Operation operation =
        request.mode == LockMode::none ? Operation::release_lock : Operation::set_lock;
    return run(hook_, operation, 0, [&] { return base_.set(node, request, caller); });
  }
  Result<std::optional<HeldLock>> test(Node& node, const LockRequest& request,
                                       const Caller& caller) override {
    return run(hook_, Operation::test_lock, 0, [&] { return base_.test(node, request, caller); });
  }
  Result<void> release(Node& node, const LockOwner& owner) override {
    return run(hook_, Operation::release_lock, 0, [&] { return base_.release(node, owner); });
  }

 private:
  LockStore& base_;
  OperationHook& hook_;
};

using Buffers = std::span<const std::span<std::byte>>;

uint64_t total_size(Buffers buffers) {
  uint64_t total = 0;
  for (const auto& buffer : buffers) total += buffer.size();
  return total;
}

/// The first `bytes` of `buffers`.
std::vector<std::span<std::byte>> first_bytes(Buffers buffers, uint64_t bytes) {
  std::vector<std::span<std::byte>> shorter;
  for (const auto& buffer : buffers) {
    if (bytes == 0) break;
    shorter.push_back(buffer.first(std::min<uint64_t>(buffer.size(), bytes)));
    bytes -= shorter.back().size();
  }
  return shorter;
}

class HookedFile final : public File {
 public:
  HookedFile(std::unique_ptr<File> base, OperationHook& hook) : base_(std::move(base)), hook_(hook) {}

  Result<size_t> read_at(uint64_t offset, Buffers buffers) override {
    const uint64_t asked = total_size(buffers);
    return run(hook_, Operation::read, asked, [&] {
      const uint64_t allowed =
          std::max(hook_.shorten_read(asked), std::min<uint64_t>(asked, 1));  // 0 is end of file
      if (allowed >= asked) return base_->read_at(offset, buffers);
      const auto shorter = first_bytes(buffers, allowed);
      return base_->read_at(offset, Buffers(shorter));
    });
  }
  Result<size_t> write_at(uint64_t offset, std::span<const std::byte> data) override {
    return run(hook_, Operation::write, data.size(), [&] { return base_->write_at(offset, data); });
  }
  Result<AppendResult> append(std::span<const std::byte> data) override {
    return run(hook_, Operation::append, data.size(), [&] { return base_->append(data); });
  }
  Result<Attributes> attributes() override {
    return run(hook_, Operation::attributes, 0, [&] { return base_->attributes(); });
  }
  Result<Attributes> set_attributes(const AttributeChange& change, const Caller& caller) override {
    return run(hook_, Operation::set_attributes, 0, [&] { return base_->set_attributes(change, caller); });
  }
  Result<void> sync(SyncKind kind) override {
    return run(hook_, Operation::sync, 0, [&] { return base_->sync(kind); });
  }
  Result<void> flush() override {
    return run(hook_, Operation::flush, 0, [&] { return base_->flush(); });
  }
  Result<void> allocate(AllocateMode mode, uint64_t offset, uint64_t length) override {
    return run(hook_, Operation::allocate, 0, [&] { return base_->allocate(mode, offset, length); });
  }
  Result<uint64_t> seek(SeekKind kind, uint64_t offset) override {
    return run(hook_, Operation::seek, 0, [&] { return base_->seek(kind, offset); });
  }
  Result<uint64_t> copy_range(uint64_t offset, File& target, uint64_t target_offset,
                              uint64_t length) override {
    auto* other = dynamic_cast<HookedFile*>(&target);
    if (other == nullptr) return fail(std::errc::cross_device_link);
    return run(hook_, Operation::copy_range, length,
               [&] { return base_->copy_range(offset, *other->base_, target_offset, length); });
  }
  Result<void> close() override {
    return run(hook_, Operation::close, 0, [&] { return base_->close(); });
  }

 private:
  const std::unique_ptr<File> base_;
  OperationHook& hook_;
};

class HookedFs final : public FileSystem {
 public:
  HookedFs(FileSystem& base, OperationHook& hook) : base_(base), hook_(hook) {
    if (XattrStore* store = base.xattrs()) xattrs_ = std::make_unique<HookedXattrs>(*store, hook);
    if (Reachability* known = base.reachability())
      reachability_ = std::make_unique<HookedReachability>(*known, hook);
    if (LockStore* store = base.locks()) locks_ = std::make_unique<HookedLocks>(*store, hook);
  }

  [[nodiscard]] const Capabilities& capabilities() const override { return base_.capabilities(); }
  NodeRef root() override { return base_.root(); }
  Result<Entry> lookup(Node& directory, std::string_view name, const Caller& caller) override {
    return run(hook_, Operation::lookup, 0, [&] { return base_.lookup(directory, name, caller); });
  }
  Result<Attributes> attributes(Node& node, const Caller& caller) override {
    return run(hook_, Operation::attributes, 0, [&] { return base_.attributes(node, caller); });
  }
  Result<Attributes> set_attributes(Node& node, const AttributeChange& change,
                                    const Caller& caller) override {
    return run(hook_, Operation::set_attributes, 0,
               [&] { return base_.set_attributes(node, change, caller); });
  }
  Result<OpenedFile> open(Node& node, const OpenFlags& flags, const Caller& caller) override {
    auto opened = run(hook_, Operation::open, 0, [&] { return base_.open(node, flags, caller); });
    if (opened) opened->file = wrap(std::move(opened->file));
    return opened;
  }
  Result<CreatedFile> create(Place place, const CreateOptions& options, const Caller& caller) override {
    auto created = run(hook_, Operation::create, 0, [&] { return base_.create(place, options, caller); });
    if (created) created->file = wrap(std::move(created->file));
    return created;
  }
  Result<Entry> make(Place place, const NewNode& spec, const Caller& caller) override {
    return run(hook_, Operation::make, 0, [&] { return base_.make(place, spec, caller); });
  }
  Result<Entry> link(Node& node, Place place, const Caller& caller) override {
    return run(hook_, Operation::link, 0, [&] { return base_.link(node, place, caller); });
  }
  Result<void> remove(Place place, RemoveKind kind, const Caller& caller) override {
    return run(hook_, Operation::remove, 0, [&] { return base_.remove(place, kind, caller); });
  }
  Result<void> rename(Place from, Place to, RenameMode mode, const Caller& caller) override {
    return run(hook_, Operation::rename, 0, [&] { return base_.rename(from, to, mode, caller); });
  }
  Result<std::string> read_link(Node& node, const Caller& caller) override {
    return run(hook_, Operation::read_link, 0, [&] { return base_.read_link(node, caller); });
  }
  Result<std::unique_ptr<DirectoryStream>> open_directory(Node& node, const Caller& caller) override {
    auto opened =
        run(hook_, Operation::open_directory, 0, [&] { return base_.open_directory(node, caller); });
    if (opened) *opened = std::make_unique<HookedStream>(std::move(*opened), hook_);
    return opened;
  }
  Result<void> sync_directory(Node& node) override {
    return run(hook_, Operation::sync_directory, 0, [&] { return base_.sync_directory(node); });
  }
  Result<FileSystemStatistics> statistics(Node& node) override {
    return run(hook_, Operation::statistics, 0, [&] { return base_.statistics(node); });
  }
  XattrStore* xattrs() override { return xattrs_.get(); }
  LockStore* locks() override { return locks_.get(); }
  Reachability* reachability() override { return reachability_.get(); }

 private:
  std::unique_ptr<File> wrap(std::unique_ptr<File> file) const {
    return std::make_unique<HookedFile>(std::move(file), hook_);
  }

  FileSystem& base_;
  OperationHook& hook_;
  std::unique_ptr<HookedXattrs> xattrs_;
  std::unique_ptr<HookedReachability> reachability_;
  std::unique_ptr<HookedLocks> locks_;
};

}  // namespace

std::unique_ptr<FileSystem> make_hooked_fs(FileSystem& base, OperationHook& hook) {
  return std::make_unique<HookedFs>(base, hook);
}

}  // namespace cachefs
