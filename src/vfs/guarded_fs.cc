// A file system whose requests end in time: what is handed to the guard owns all that it uses.
#include "cachefs/guarded_fs.h"

#include "vfs/guarded_file.h"

namespace cachefs {
namespace {

using Kind = Guard::Kind;

ChangeExtent name_in(const Place& place) {
  return {.node = NodeRef(&place.directory), .name = std::string(place.name)};
}

class GuardedReachability final : public Reachability {
 public:
  explicit GuardedReachability(std::shared_ptr<Guard> guard) : guard_(std::move(guard)) {}

  Result<void> check() override {
    return guard_->call(Kind::metadata, {}, {},
                        [&source = guard_->reachability()] { return source.check(); });
  }
  [[nodiscard]] uint64_t epoch() const override { return guard_->reachability().epoch(); }
  [[nodiscard]] uint64_t instance() const override { return guard_->reachability().instance(); }
  [[nodiscard]] bool may_change_late(const Node& node) const override {
    return guard_->may_change_late(node);
  }
  [[nodiscard]] std::optional<Error> outage() const override { return guard_->outage(); }
  [[nodiscard]] std::optional<Error> refusal() const override { return guard_->refusal(); }
  [[nodiscard]] TimeLimits time_limits() const override { return guard_->time_limits(); }

 private:
  const std::shared_ptr<Guard> guard_;
};

class GuardedFsImpl final : public GuardedFs {
 public:
  explicit GuardedFsImpl(std::shared_ptr<Guard> guard) : guard_(std::move(guard)), reachability_(guard_) {
    if (source().xattrs() != nullptr) xattrs_ = make_guarded_xattrs(guard_);
    if (source().locks() != nullptr) locks_ = make_guarded_locks(guard_);
  }
  ~GuardedFsImpl() override { guard_->leave(); }

  [[nodiscard]] const Capabilities& capabilities() const override { return guard_->source().capabilities(); }
  NodeRef root() override { return source().root(); }

  Result<Entry> lookup(Node& directory, std::string_view name, const Caller& caller) override {
    return guard_->call(Kind::metadata, {&directory, name}, {},
                        [&fs = source(), at = NodeRef(&directory), name = std::string(name), caller] {
                          return fs.lookup(*at, name, caller);
                        });
  }
  Result<Attributes> attributes(Node& node, const Caller& caller) override {
    return guard_->call(Kind::metadata, {&node}, {},
                        [&fs = source(), of = NodeRef(&node), caller] { return fs.attributes(*of, caller); });
  }
  Result<Attributes> set_attributes(Node& node, const AttributeChange& change,
                                    const Caller& caller) override {
    return guard_->call(Kind::write, {&node}, {{.node = NodeRef(&node)}},
                        [&fs = source(), of = NodeRef(&node), change, caller] {
                          return fs.set_attributes(*of, change, caller);
                        });
  }
  Result<OpenedFile> open(Node& node, const OpenFlags& flags, const Caller& caller) override {
    Guard::Extents changed;
    if (flags.truncate) changed.push_back({.node = NodeRef(&node)});
    auto opened = guard_->call(
        flags.truncate ? Kind::write : Kind::metadata, {&node}, std::move(changed),
        [&fs = source(), of = NodeRef(&node), flags, caller] { return fs.open(*of, flags, caller); });
    if (opened) opened->file = make_guarded_file(guard_, NodeRef(&node), std::move(opened->file));
    return opened;
  }
  Result<CreatedFile> create(Place place, const CreateOptions& options, const Caller& caller) override {
    auto created = change_name(
        place, [options, caller](FileSystem& fs, Place at) { return fs.create(at, options, caller); });
    if (created && created->file)
      created->file = make_guarded_file(guard_, created->entry.node, std::move(created->file));
    return created;
  }
  Result<Entry> make(Place place, const NewNode& spec, const Caller& caller) override {
    return change_name(place, [spec, target = std::string(spec.target), caller](FileSystem& fs, Place at) {
      NewNode owned = spec;
      owned.target = target;
      return fs.make(at, owned, caller);
    });
  }
  Result<Entry> link(Node& node, Place place, const Caller& caller) override {
    return change_name(place, [linked = NodeRef(&node), caller](FileSystem& fs, Place at) {
      return fs.link(*linked, at, caller);
    });
  }
  Result<void> remove(Place place, RemoveKind kind, const Caller& caller) override {
    return change_name(place,
                       [kind, caller](FileSystem& fs, Place at) { return fs.remove(at, kind, caller); });
  }
  Result<void> rename(Place from, Place to, RenameMode mode, const Caller& caller) override {
    ChangeExtent one = name_in(from);
    ChangeExtent other = name_in(to);
    return guard_->call(Kind::name_change, {&from.directory, from.name}, {one, other},
                        [&fs = source(), one, other, mode, caller] {
                          return fs.rename({*one.node, one.name}, {*other.node, other.name}, mode, caller);
                        });
  }
  Result<std::string> read_link(Node& node, const Caller& caller) override {
    return guard_->call(Kind::metadata, {&node}, {},
                        [&fs = source(), of = NodeRef(&node), caller] { return fs.read_link(*of, caller); });
  }
  Result<std::unique_ptr<DirectoryStream>> open_directory(Node& node, const Caller& caller) override {
    auto opened = guard_->call(Kind::metadata, {&node}, {}, [&fs = source(), of = NodeRef(&node), caller] {
      return fs.open_directory(*of, caller);
    });
    if (opened) *opened = make_guarded_stream(guard_, NodeRef(&node), std::move(*opened));
    return opened;
  }
  Result<void> sync_directory(Node& node) override {
    return guard_->call(Kind::sync, {&node}, {},
                        [&fs = source(), of = NodeRef(&node)] { return fs.sync_directory(*of); });
  }
  Result<FileSystemStatistics> statistics(Node& node) override {
    return guard_->call(Kind::metadata, {&node}, {},
                        [&fs = source(), of = NodeRef(&node)] { return fs.statistics(*of); });
  }
  XattrStore* xattrs() override { return xattrs_.get(); }
  LockStore* locks() override { return locks_.get(); }
  Reachability* reachability() override { return &reachability_; }

  [[nodiscard]] SourceHealth health() const override { return guard_->health(); }
  void set_on_late_change(std::function<void()> callback) override {
    guard_->set_on_late_change(std::move(callback));
  }

 private:
  [[nodiscard]] FileSystem& source() const { return guard_->source(); }

  /// `run(FileSystem&, Place)` makes, removes or replaces the name.
  template <typename Run>
  auto change_name(Place place, Run run) -> decltype(run(std::declval<FileSystem&>(), place)) {
    ChangeExtent at = name_in(place);
    return guard_->call(
        Kind::name_change, {&place.directory, place.name}, {at},
        [&fs = source(), at, run = std::move(run)]() mutable { return run(fs, Place{*at.node, at.name}); });
  }

  const std::shared_ptr<Guard> guard_;
  GuardedReachability reachability_;
  std::unique_ptr<XattrStore> xattrs_;
  std::unique_ptr<LockStore> locks_;
};

}  // namespace

std::unique_ptr<GuardedFs> GuardedFs::create(std::shared_ptr<FileSystem> base, const GuardOptions& options) {
  return std::make_unique<GuardedFsImpl>(Guard::create(std::move(base), options));
}

}  // namespace cachefs
