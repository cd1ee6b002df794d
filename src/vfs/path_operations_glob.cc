// Patterns: one component, and whole paths.
#include <algorithm>
#include <set>

#include "cachefs/path_operations.h"

namespace cachefs {
namespace {

/// A set "[...]" at the start of `pattern`.
struct SetMatch {
  size_t length = 0;  ///< of the set in the pattern; 0: not a set, the '[' stands for itself
  bool matches = false;
};

SetMatch match_set(std::string_view pattern, char c) {
  size_t i = 1;
  const bool negated = i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^');
  if (negated) ++i;
  const auto byte = [](char x) { return static_cast<unsigned char>(x); };
  bool found = false;
  for (bool first = true; i < pattern.size() && (first || pattern[i] != ']'); first = false) {
    if (pattern[i] == '\\' && i + 1 < pattern.size()) ++i;
    const char low = pattern[i++];
    char high = low;
    if (i + 1 < pattern.size() && pattern[i] == '-' && pattern[i + 1] != ']') {
      i += pattern[i + 1] == '\\' && i + 2 < pattern.size() ? 2 : 1;
      high = pattern[i++];
    }
    found = found || (byte(low) <= byte(c) && byte(c) <= byte(high));
  }
  if (i >= pattern.size()) return {};
  return {.length = i + 1, .matches = found != negated};
}

/// How much of `pattern` fits the one byte `c`; 0: it does not. `pattern` does not begin with '*'.
size_t match_one(std::string_view pattern, char c) {
  if (pattern.empty()) return 0;
  if (pattern[0] == '?') return 1;
  if (pattern[0] == '[') {
    const SetMatch set = match_set(pattern, c);
    if (set.length != 0) return set.matches ? set.length : 0;
  }
  if (pattern[0] == '\\' && pattern.size() > 1) return pattern[1] == c ? 2 : 0;
  return pattern[0] == c ? 1 : 0;
}

bool is_literal(std::string_view component) {
  return component.find_first_of("*?[\\") == std::string_view::npos;
}

std::vector<std::string> split(std::string_view pattern) {
  std::vector<std::string> components;
  while (!pattern.empty()) {
    const size_t end = std::min(pattern.find('/'), pattern.size());
    if (end > 0) components.emplace_back(pattern.substr(0, end));
    pattern.remove_prefix(std::min(end + 1, pattern.size()));
  }
  return components;
}

/// Expands a pattern from left to right: a step is a path that fits the components before `next`.
class Globber {
 public:
  Globber(const PathContext& context, std::string_view pattern)
      : context_(context),
        components_(split(pattern)),
        start_(pattern.starts_with('/') ? "/" : ""),
        directories_only_(pattern.ends_with('/')) {}

  std::vector<std::string> run() {
    push(start_, 0);
    while (!steps_.empty()) {
      const Step step = std::move(steps_.back());
      steps_.pop_back();
      take(step);
    }
    return {found_.begin(), found_.end()};
  }

 private:
  struct Step {
    std::string path;
    size_t next;
  };

  /// "**" leads to one path in many ways: each step is taken once.
  void push(std::string path, size_t next) {
    if (seen_.emplace(path, next).second) steps_.push_back({std::move(path), next});
  }

  void take(const Step& step) {
    if (step.next == components_.size()) return accept(step.path);
    const std::string& component = components_[step.next];
    if (component == "**") {
      push(step.path, step.next + 1);
      each_entry(step.path, [&](const DirectoryEntry& entry) {
        const bool last = step.next + 1 == components_.size();
        if (entry.kind == FileKind::directory) push(below(step.path, entry.name), step.next);
        if (last && entry.kind != FileKind::directory) push(below(step.path, entry.name), step.next + 1);
      });
    } else if (is_literal(component)) {
      push(below(step.path, component), step.next + 1);
    } else {
      each_entry(step.path, [&](const DirectoryEntry& entry) {
        if (matches_component(component, entry.name)) push(below(step.path, entry.name), step.next + 1);
      });
    }
  }

  /// Where a directory cannot be read, nothing fits: errors say no more than that.
  void each_entry(const std::string& directory, const std::function<void(const DirectoryEntry&)>& call) {
    auto entries = read_directory(context_, directory.empty() ? "." : directory);
    if (!entries) return;
    for (const DirectoryEntry& entry : *entries) call(entry);
  }

  void accept(const std::string& path) {
    if (path.empty()) return;
    const auto there = directories_only_ ? stat(context_, path) : lstat(context_, path);
    if (!there || (directories_only_ && there->kind != FileKind::directory)) return;
    found_.insert(path);
  }

  static std::string below(const std::string& directory, std::string_view name) {
    std::string path = directory;
    if (!path.empty() && !path.ends_with('/')) path += '/';
    return path.append(name);
  }

  const PathContext& context_;
  const std::vector<std::string> components_;
  const std::string start_;
  const bool directories_only_;
  std::vector<Step> steps_;
  std::set<std::pair<std::string, size_t>> seen_;
  std::set<std::string> found_;
};

}  // namespace

bool matches_component(std::string_view pattern, std::string_view name) {
  // After a mismatch only the last '*' can take one byte more: whatever an earlier one could take, the last
  // can too.
  std::string_view after_star;
  size_t star_name = 0;
  bool starred = false;
  size_t at = 0;
  while (at < name.size()) {
    if (pattern.starts_with('*')) {
      pattern.remove_prefix(1);
      after_star = pattern;
      star_name = at;
      starred = true;
    } else if (const size_t used = match_one(pattern, name[at]); used != 0) {
      pattern.remove_prefix(used);
      ++at;
    } else if (starred) {
      pattern = after_star;
      at = ++star_name;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*') == std::string_view::npos;
}

Result<std::vector<std::string>> glob(const PathContext& context, std::string_view pattern) {
  if (pattern.empty()) return fail(std::errc::invalid_argument);
  return Globber(context, pattern).run();
}

}  // namespace cachefs
