// Operations that make, move and remove names.
#include "core/cache_file.h"
#include "core/file_turn.h"
#include "core/lockout.h"

namespace cachefs {
namespace {

/// A change of a directory's names by us, from before the request to the source until its end is known.
class DirectoryChange {
 public:
  DirectoryChange(CacheFs::Impl& cache, Node& directory)
      : cache_(cache),
        directory_(CacheFs::Impl::node_of(directory)),
        begun_(cache.begin_directory_change(directory_)) {}
  DirectoryChange(const DirectoryChange&) = delete;
  DirectoryChange& operator=(const DirectoryChange&) = delete;
  ~DirectoryChange() { end(); }

  /// Ends it. Returns the number of its end; 0: another change overlapped, and what it did might be undone.
  uint64_t end() {
    if (!ended_) end_ = cache_.end_directory_change(directory_, begun_);
    ended_ = true;
    return end_;
  }

  CacheNode& directory() { return directory_; }

 private:
  CacheFs::Impl& cache_;
  CacheNode& directory_;
  const uint64_t begun_;
  bool ended_ = false;
  uint64_t end_ = 0;
};

/// What is known of the name after a change, unless another one came in between.
void settle_name(CacheFs::Impl& cache, DirectoryChange& change, std::string_view name, CachedName answer) {
  const uint64_t end = change.end();
  CacheNode& directory = change.directory();
  NameCache::Room room = cache.names.make_room(name);
  MutexLock lock(directory.mutex);
  if (end != 0 && directory.state.changes_in_progress == 0 && directory.state.last_change == end) {
    cache.names.put(directory.id, name, answer, std::move(room));
  } else {
    cache.names.erase(directory.id, name);
  }
}

/// Names that the source was asked to change but did not, or where it is not known.
void distrust_name(CacheFs::Impl& cache, DirectoryChange& change, std::string_view name) {
  change.end();
  cache.names.erase(change.directory().id, name);
}

}  // namespace

Result<CreatedFile> CacheFs::create(Place place, const CreateOptions& create_options, const Caller& caller) {
  if (const auto out = impl_->outage()) return std::unexpected(*out);  // nothing is forgotten
  Impl& cache = *impl_;
  CacheNode& directory = Impl::node_of(place.directory);
  // A truncation is a change of an existing file: made in a second step, as one of ours.
  CreateOptions untruncated = create_options;
  untruncated.open.truncate = false;
  const NodeRef source_directory = directory.source();
  const uint64_t generation_before = cache.certain_generation_at(directory, place.name);
  DirectoryChange change(cache, directory);
  const Ticket ticket = cache.begin_request();
  Result<CreatedFile> created = cache.source->create({*source_directory, place.name}, untruncated, caller);
  if (!created) {
    distrust_name(cache, change, place.name);
    return created;
  }
  const Impl::Origin origin = created->created ? Impl::Origin::made : Impl::Origin::found;
  Impl::Adopted adopted = cache.take_over(directory, place.name, std::move(created->entry), ticket, origin);
  created->entry = std::move(adopted.entry);
  CacheNode& node = Impl::node_of(*created->entry.node);
  settle_name(cache, change, place.name, {node.id, ticket.time, ticket.sequence});
  if (!created->created && !Impl::is_check(adopted.observed)) {
    const Result<Attributes> attributes = cache.check_again(node, created->file.get(), caller);
    if (!attributes) return std::unexpected(attributes.error());
    created->entry.attributes = *attributes;
  }
  const uint64_t generation = created->created ? adopted.generation : generation_before;
  created->file = cache.make_handle(node, untruncated.open, caller, std::move(created->file), generation);
  if (!created->created && create_options.open.truncate) {
    const Result<Attributes> after = created->file->set_attributes({.size = 0}, caller);
    if (!after) return std::unexpected(after.error());
    created->entry.attributes = *after;
  }
  return created;
}

Result<Entry> CacheFs::make(Place place, const NewNode& spec, const Caller& caller) {
  if (const auto out = impl_->outage()) return std::unexpected(*out);  // nothing is forgotten
  Impl& cache = *impl_;
  CacheNode& directory = Impl::node_of(place.directory);
  const NodeRef source_directory = directory.source();
  DirectoryChange change(cache, directory);
  const Ticket ticket = cache.begin_request();
  Result<Entry> made = cache.source->make({*source_directory, place.name}, spec, caller);
  if (!made) {
    distrust_name(cache, change, place.name);
    return made;
  }
  Entry entry = cache.take_over(directory, place.name, std::move(*made), ticket, Impl::Origin::made).entry;
  settle_name(cache, change, place.name, {Impl::node_of(*entry.node).id, ticket.time, ticket.sequence});
  return entry;
}

Result<Entry> CacheFs::link(Node& linked, Place place, const Caller& caller) {
  if (const auto out = impl_->outage()) return std::unexpected(*out);  // nothing is forgotten
  Impl& cache = *impl_;
  CacheNode& node = Impl::node_of(linked);
  CacheNode& directory = Impl::node_of(place.directory);
  const NodeRef source_directory = directory.source();
  FileTurn turn(cache, node, FileTurn::Kind::change, &TimeLimits::name_change);
  if (const auto refused = turn.refused()) return std::unexpected(*refused);
  const Result<NodeRef> source_node = cache.on_source(node);
  if (!source_node) return std::unexpected(source_node.error());
  const ChangeStart start = cache.begin_change(turn, nullptr, caller);
  DirectoryChange change(cache, directory);
  const Ticket ticket = cache.begin_request();
  Result<Entry> made = cache.source->link(**source_node, {*source_directory, place.name}, caller);
  // Where identity is not stable, the new name is another file to us, and says nothing of this one's times.
  ChangeEnd end{.asked = ticket, .kept = true};
  if (made && cache.stable_identity) end.after = made->attributes;
  cache.end_change(turn, start, end);
  if (!made) {
    distrust_name(cache, change, place.name);
    return made;
  }
  Entry entry = cache.take_over(directory, place.name, std::move(*made), ticket, Impl::Origin::made).entry;
  settle_name(cache, change, place.name, {Impl::node_of(*entry.node).id, ticket.time, ticket.sequence});
  return entry;
}

Result<void> CacheFs::remove(Place place, RemoveKind kind, const Caller& caller) {
  if (const auto out = impl_->outage()) return std::unexpected(*out);  // nothing is forgotten
  Impl& cache = *impl_;
  CacheNode& directory = Impl::node_of(place.directory);
  const NodeRef source_directory = directory.source();
  const Result<NodeRef> identified = cache.identify(directory, place.name, caller);
  if (!identified) return std::unexpected(identified.error());
  const NodeRef& victim = *identified;
  const Lockout lockout(cache, victim.get());
  DirectoryChange change(cache, directory);
  const Ticket ticket = cache.begin_request();
  const Result<void> removed = cache.source->remove({*source_directory, place.name}, kind, caller);
  if (!removed) {
    // The source may have done it all the same, and only the answer was lost.
    distrust_name(cache, change, place.name);
    cache.expire_attributes(victim.get());
    return removed;
  }
  if (!cache.stable_identity && victim)
    cache.nodes.drop_key({{}, directory.id, std::string(place.name)}, Impl::node_of(*victim).id);
  settle_name(cache, change, place.name, {kNoFile, ticket.time, ticket.sequence});
  cache.after_unlink(victim.get());
  return removed;
}

Result<void> CacheFs::rename(Place from, Place to, RenameMode mode, const Caller& caller) {
  if (const auto out = impl_->outage()) return std::unexpected(*out);  // nothing is forgotten
  Impl& cache = *impl_;
  CacheNode& from_directory = Impl::node_of(from.directory);
  CacheNode& to_directory = Impl::node_of(to.directory);
  const NodeRef from_source = from_directory.source();
  const NodeRef to_source = to_directory.source();
  const Result<NodeRef> at_from = cache.identify(from_directory, from.name, caller);
  if (!at_from) return std::unexpected(at_from.error());
  const Result<NodeRef> at_to = cache.identify(to_directory, to.name, caller);
  if (!at_to) return std::unexpected(at_to.error());
  const NodeRef& moved = *at_from;
  const NodeRef& victim = *at_to;
  const Lockout lockout(cache, mode == RenameMode::replace ? victim.get() : nullptr);
  // What is made by its old name before its key is another is another file.
  const Lockout not_at_old_name(cache, cache.stable_identity ? nullptr : moved.get());

  Result<void> renamed;
  {
    DirectoryChange from_change(cache, from_directory);
    std::optional<DirectoryChange> other_change;
    if (&from_directory != &to_directory) other_change.emplace(cache, to_directory);
    renamed = cache.rename_file(moved.get(), {*from_source, from.name}, {*to_source, to.name}, mode, caller);
    // Before its key is another: answers about the new name from before are not of it.
    if (moved && Impl::node_of(*moved).kind == FileKind::directory) cache.expire_attributes(moved.get());
    if (renamed && !cache.stable_identity) cache.move_keys(moved.get(), from, to, mode);
    // Nothing is put in their place: between two links of one file a rename does nothing.
    distrust_name(cache, from_change, from.name);
    distrust_name(cache, other_change ? *other_change : from_change, to.name);
    // What is below has other paths now: it is to be looked up anew.
    if (renamed && moved && Impl::node_of(*moved).kind == FileKind::directory && !cache.path_ttls.empty())
      cache.distrust_everything();
  }
  if (moved.get() == victim.get()) return renamed;
  if (!renamed || mode == RenameMode::exchange) {
    cache.expire_attributes(victim.get());
  } else {
    cache.after_unlink(victim.get());
  }
  return renamed;
}

/// Of what the name may lead to: the generation that an open is sure to be of (P2), as if by
/// NodeState::certain_generation. 0 also where identity is stable, and nobody asks.
uint64_t CacheFs::Impl::certain_generation_at(CacheNode& directory, std::string_view name) {
  if (stable_identity) return 0;
  const NodeRef known = nodes.find(NodeKey{{}, directory.id, std::string(name)});
  if (!known) return 0;
  MutexLock lock(node_of(*known).mutex);
  return node_of(*known).state.certain_generation();
}

/// Where files are known by their paths, they are now known by others.
void CacheFs::Impl::move_keys(Node* moved, Place from, Place to, RenameMode mode) {
  const NodeKey from_key{{}, node_of(from.directory).id, std::string(from.name)};
  const NodeKey to_key{{}, node_of(to.directory).id, std::string(to.name)};
  if (from_key == to_key) return;
  if (mode == RenameMode::exchange || moved == nullptr || node_of(*moved).nameless) {
    nodes.drop_key(from_key);
    nodes.drop_key(to_key);
  } else {
    nodes.move_key(node_of(*moved), from_key, to_key, NodeRef(&to.directory));
  }
}

/// Renames on the source, as a change of the file that moves: its change time becomes another, its content
/// stays.
Result<void> CacheFs::Impl::rename_file(Node* moved, Place from, Place to, RenameMode mode,
                                        const Caller& caller) {
  if (moved == nullptr || node_of(*moved).kind == FileKind::directory)
    return source->rename(from, to, mode, caller);
  CacheNode& node = node_of(*moved);
  FileTurn turn(*this, node, FileTurn::Kind::change, &TimeLimits::name_change);
  if (const auto refused = turn.refused()) return std::unexpected(*refused);
  const ChangeStart start = begin_change(turn, nullptr, caller);
  const Result<void> renamed = source->rename(from, to, mode, caller);
  ChangeEnd end{.asked = begin_request(), .kept = true};
  if (renamed && start.size_known) {
    // What is at the new name is the file that was cached, if its identity says so.
    const Result<Entry> entry = source->lookup(to.directory, to.name, caller);
    MutexLock lock(node.mutex);
    if (entry && entry->attributes.identity == node.state.attributes.identity) end.after = entry->attributes;
  }
  end_change(turn, start, end);
  return renamed;
}

}  // namespace cachefs
