#include "mount/wake.h"

#include <cerrno>
#include <optional>
#include <string>
#include <vector>

namespace cachefs::mount {
namespace {

std::unexpected<Error> stale() { return fail_errno(ESTALE, "no known name leads to the file any more"); }

bool is_gone(const Error& error) {
  return error.is(std::errc::no_such_file_or_directory) || error.is(std::errc::not_a_directory);
}

/// As this process: the kernel holds the file already, or a program that may open what it has a handle of. As
/// the caller where this process may not: a server may give root less.
template <typename Ask>
auto ask(const Caller& caller, Ask ask_as) {
  auto answer = ask_as(Caller::self());
  return !answer && answer.error().is(std::errc::permission_denied) ? ask_as(caller) : std::move(answer);
}

Result<Entry> look_up(MountState& mount, const MountNode& directory, const std::string& name,
                      const Caller& caller) {
  return ask(caller, [&](const Caller& as) { return mount.fs.lookup(*directory.node(), name, as); });
}

Result<Attributes> attributes_of(MountState& mount, const MountNode& node, const Caller& caller) {
  return ask(caller, [&](const Caller& as) { return mount.fs.attributes(*node.node(), as); });
}

struct Step {
  MountNodeRef node;
  NodePlace place;
};

/// From the node up to the first directory that is awake. Null: some place on the way is not known.
std::optional<std::vector<Step>> way_to(MountState& mount, MountNodeRef node) {
  std::vector<Step> steps;
  while (!node->is_awake()) {
    std::optional<NodePlace> place = mount.nodes.place_of(*node);
    if (!place) return std::nullopt;
    MountNodeRef above = place->directory;
    steps.push_back({std::move(node), std::move(*place)});
    node = std::move(above);
  }
  return steps;
}

Result<void> wake_once(MountState& mount, const MountNodeRef& node, const Caller& caller) {
  auto steps = way_to(mount, node);
  if (!steps) return stale();
  for (; !steps->empty(); steps->pop_back()) {
    const Step& step = steps->back();
    const Result<Entry> found = look_up(mount, *step.place.directory, step.place.name, caller);
    if (step.node->is_awake()) continue;  // somebody else was faster
    if (!found && is_gone(found.error())) return stale();
    if (!found) return std::unexpected(found.error());
    if (!mount.nodes.rouse(*step.node, *found)) return stale();
  }
  return {};
}

}  // namespace

Result<void> wake(MountState& mount, const MountNodeRef& node, const Caller& caller) {
  // A name that leads elsewhere may have been changed meanwhile, by ourselves.
  constexpr int kAttempts = 3;
  Result<void> awake;
  for (int attempt = 0; attempt < kAttempts && !node->is_awake(); ++attempt) {
    awake = wake_once(mount, node, caller);
    if (!awake && awake.error().to_errno() != ESTALE) return awake;
  }
  return node->is_awake() ? Result<void>() : awake;
}

Result<Attributes> enter_again(MountState& mount, const MountNodeRef& node, const Caller& caller) {
  if (const Result<void> awake = wake(mount, node, caller); !awake) return std::unexpected(awake.error());
  Result<Attributes> attributes = attributes_of(mount, *node, caller);
  if (!attributes && is_gone(attributes.error())) return stale();
  if (attributes && !mount.nodes.enter_again(*node)) return stale();
  return attributes;
}

MountNodeRef awake_at(MountState& mount, fuse_ino_t number) {
  MountNodeRef node = mount.nodes.at(number);
  if (node->is_awake()) return node;
  const std::optional<NodePlace> place = mount.nodes.place_of(*node);
  if (!place || !place->directory->is_awake()) return nullptr;
  const auto known = mount.view->try_lookup(*place->directory->node(), place->name);
  return known && *known && mount.nodes.rouse(*node, **known) ? node : nullptr;
}

MountNodeRef wake_at(MountState& mount, const MountNode& directory, const std::string& name,
                     const Caller& caller) {
  MountNodeRef node = mount.nodes.find_at(directory, name);
  if (node && !wake(mount, node, caller)) return nullptr;
  return node;
}

}  // namespace cachefs::mount
