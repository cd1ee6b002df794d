#include "vfs/guarded_file.h"

#include <cstring>
#include <string>
#include <vector>

namespace cachefs {
namespace {

using Kind = Guard::Kind;
using Buffers = std::span<const std::span<std::byte>>;
using Bytes = std::shared_ptr<std::byte[]>;

/// Its pages are not touched before the source does: many reads may hang.
Bytes make_buffer(size_t size) { return std::make_shared_for_overwrite<std::byte[]>(size); }

void spread(std::span<const std::byte> bytes, Buffers buffers) {
  for (const std::span<std::byte> buffer : buffers) {
    const size_t part = std::min(buffer.size(), bytes.size());
    std::memcpy(buffer.data(), bytes.data(), part);
    bytes = bytes.subspan(part);
  }
}

class GuardedFile final : public File {
 public:
  GuardedFile(std::shared_ptr<Guard> guard, NodeRef node, std::unique_ptr<File> file)
      : guard_(std::move(guard)),
        node_(std::move(node)),
        file_(guarded_handle(guard_, node_.get(), std::move(file))) {}

  Result<size_t> read_at(uint64_t offset, Buffers buffers) override {
    size_t size = 0;
    for (const std::span<std::byte> buffer : buffers) size += buffer.size();
    const Bytes bytes = make_buffer(size);
    const Result<size_t> count = guard_->call(
        Kind::read, {node_.get()}, {},
        [file = file_, offset, bytes, size] { return file->read_at(offset, std::span(bytes.get(), size)); });
    if (count) spread(std::span(bytes.get(), *count), buffers);
    return count;
  }
  Result<size_t> write_at(uint64_t offset, std::span<const std::byte> data) override {
    const uint64_t end = data.size() > UINT64_MAX - offset ? UINT64_MAX : offset + data.size();
    const RequestSubject subject{.node = node_.get(), .bytes = data.size()};
    const RequestDeadline limited(guard_->deadline_of(Kind::write));  // of both parts together
    auto owned = guard_->own(subject, data);
    if (!owned) return std::unexpected(std::move(owned.error()));
    return guard_->call(
        Kind::write, subject, {{.node = node_, .begin = offset, .end = end}},
        [file = file_, offset, data = std::move(*owned)] { return file->write_at(offset, data->bytes()); });
  }
  Result<AppendResult> append(std::span<const std::byte> data) override {
    const RequestSubject subject{.node = node_.get(), .bytes = data.size()};
    const RequestDeadline limited(guard_->deadline_of(Kind::write));  // of both parts together
    auto owned = guard_->own(subject, data);
    if (!owned) return std::unexpected(std::move(owned.error()));
    return guard_->call(Kind::write, subject, {{.node = node_}},
                        [file = file_, data = std::move(*owned)] { return file->append(data->bytes()); });
  }
  Result<Attributes> attributes() override {
    return guard_->call(Kind::metadata, {node_.get()}, {}, [file = file_] { return file->attributes(); });
  }
  Result<Attributes> set_attributes(const AttributeChange& changed, const Caller& caller) override {
    return change(Kind::write,
                  [file = file_, changed, caller] { return file->set_attributes(changed, caller); });
  }
  Result<void> sync(SyncKind kind) override {
    return guard_->call(Kind::sync, {node_.get()}, {}, [file = file_, kind] { return file->sync(kind); });
  }
  Result<void> flush() override {
    return guard_->call(Kind::sync, {node_.get()}, {}, [file = file_] { return file->flush(); });
  }
  Result<void> allocate(AllocateMode mode, uint64_t offset, uint64_t length) override {
    return change(Kind::write,
                  [file = file_, mode, offset, length] { return file->allocate(mode, offset, length); });
  }
  Result<uint64_t> seek(SeekKind kind, uint64_t offset) override {
    return guard_->call(Kind::metadata, {node_.get()}, {},
                        [file = file_, kind, offset] { return file->seek(kind, offset); });
  }
  Result<uint64_t> copy_range(uint64_t offset, File& target, uint64_t target_offset,
                              uint64_t length) override {
    auto* to = dynamic_cast<GuardedFile*>(&target);
    if (to == nullptr) return fail(std::errc::cross_device_link);
    return to->change(Kind::write, [file = file_, other = to->file_, offset, target_offset, length] {
      return file->copy_range(offset, *other, target_offset, length);
    });
  }
  /// While a request that was given up still uses the file, nobody else may close it.
  Result<void> close() override {
    if (file_.use_count() > 1) return flush();
    return guard_->call(Kind::sync, {node_.get()}, {}, [file = file_] { return file->close(); });
  }

 private:
  /// Of the file as a whole, as far as those are concerned that must not overtake it.
  template <typename Run>
  auto change(Kind kind, Run run) -> decltype(run()) {
    return guard_->call(kind, {node_.get()}, {{.node = node_}}, std::move(run));
  }

  const std::shared_ptr<Guard> guard_;
  const NodeRef node_;
  const std::shared_ptr<File> file_;
};

class GuardedStream final : public DirectoryStream {
 public:
  GuardedStream(std::shared_ptr<Guard> guard, NodeRef node, std::unique_ptr<DirectoryStream> stream)
      : guard_(std::move(guard)),
        node_(std::move(node)),
        stream_(guarded_handle(guard_, node_.get(), std::move(stream))) {}

  Result<std::vector<DirectoryEntry>> next_batch() override {
    if (left_) return fail(std::errc::timed_out, "the listing has not returned yet");
    auto batch =
        guard_->call(Kind::metadata, {node_.get()}, {}, [stream = stream_] { return stream->next_batch(); });
    // It may still be at work there; streams are for one thread at a time.
    left_ = !batch && is_unreachable(batch.error());
    return batch;
  }
  /// No request: what follows is.
  Result<void> seek(uint64_t cookie) override {
    if (left_) return fail(std::errc::timed_out, "the listing has not returned yet");
    return stream_->seek(cookie);
  }

 private:
  const std::shared_ptr<Guard> guard_;
  const NodeRef node_;
  const std::shared_ptr<DirectoryStream> stream_;
  bool left_ = false;
};

class GuardedXattrs final : public XattrStore {
 public:
  explicit GuardedXattrs(std::shared_ptr<Guard> guard) : guard_(std::move(guard)) {}

  Result<std::string> get(Node& node, std::string_view name, const Caller& caller) override {
    return guard_->call(Kind::metadata, {&node}, {},
                        [&source = source(), node = NodeRef(&node), name = std::string(name), caller] {
                          return source.get(*node, name, caller);
                        });
  }
  Result<std::vector<std::string>> list(Node& node, const Caller& caller) override {
    return guard_->call(Kind::metadata, {&node}, {}, [&source = source(), node = NodeRef(&node), caller] {
      return source.list(*node, caller);
    });
  }
  Result<void> set(Node& node, std::string_view name, std::string_view value, XattrMode mode,
                   const Caller& caller) override {
    return guard_->call(
        Kind::write, {&node}, {{.node = NodeRef(&node)}},
        [&source = source(), node = NodeRef(&node), name = std::string(name), value = std::string(value),
         mode, caller] { return source.set(*node, name, value, mode, caller); });
  }
  Result<void> remove(Node& node, std::string_view name, const Caller& caller) override {
    return guard_->call(Kind::write, {&node}, {{.node = NodeRef(&node)}},
                        [&source = source(), node = NodeRef(&node), name = std::string(name), caller] {
                          return source.remove(*node, name, caller);
                        });
  }

 private:
  XattrStore& source() { return *guard_->source().xattrs(); }

  const std::shared_ptr<Guard> guard_;
};

}  // namespace

std::unique_ptr<File> make_guarded_file(std::shared_ptr<Guard> guard, NodeRef node,
                                        std::unique_ptr<File> file) {
  return std::make_unique<GuardedFile>(std::move(guard), std::move(node), std::move(file));
}

std::unique_ptr<DirectoryStream> make_guarded_stream(std::shared_ptr<Guard> guard, NodeRef node,
                                                     std::unique_ptr<DirectoryStream> stream) {
  return std::make_unique<GuardedStream>(std::move(guard), std::move(node), std::move(stream));
}

std::unique_ptr<XattrStore> make_guarded_xattrs(std::shared_ptr<Guard> guard) {
  return std::make_unique<GuardedXattrs>(std::move(guard));
}

}  // namespace cachefs
