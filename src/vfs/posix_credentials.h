// Running an operation as its caller: file-system user and group, and the thread's own supplementary groups.
#pragma once

#include <vector>

#include "cachefs/file_system.h"

namespace cachefs::posix {

/// Who this process is, and whether it can be somebody else. Immutable after construction, thread-safe.
class Credentials {
 public:
  /// `wanted`: switch, if the process may.
  explicit Credentials(bool wanted);

  [[nodiscard]] const Caller& own() const { return own_; }
  /// False for root with our own group: it may do all that we may, and what it creates is owned alike.
  [[nodiscard]] bool must_switch_for(const Caller& caller) const;

 private:
  Caller own_;
  bool can_switch_ = false;
};

/// While it lives, the calling thread (and no other) acts on files as `caller`; then as the process again,
/// always. Threads do not remember a caller beyond that: one that kept foreign groups would carry them into a
/// later operation. Must not be nested, and dies on the thread that made it.
class [[nodiscard]] ActAs {
 public:
  ActAs(const Credentials& credentials, const Caller& caller);
  ~ActAs();
  ActAs(const ActAs&) = delete;
  ActAs& operator=(const ActAs&) = delete;

  /// EPERM or EINVAL if the kernel refused to switch: then the operation must not run.
  [[nodiscard]] const Result<void>& result() const { return result_; }

 private:
  void switch_to(const Caller& caller);

  const Credentials& credentials_;
  bool groups_switched_ = false;
  bool ids_switched_ = false;
  Result<void> result_;
};

/// While it lives, the calling thread (and no other) has no right to let a file keep its set-id bits when its
/// content changes (CAP_FSETID): whoever wrote it, they go. Within ActAs, for becoming root again brings the
/// right back. Not to be held around what makes files or sets modes, which needs the right: else a set-group
/// bit of a group that this process is no member of would be lost.
class [[nodiscard]] ContentRights {
 public:
  /// `drop`: else nothing is done.
  explicit ContentRights(bool drop);
  ~ContentRights();
  ContentRights(const ContentRights&) = delete;
  ContentRights& operator=(const ContentRights&) = delete;

  /// Whether this process can give the right up, or has none.
  static bool can_be_dropped();

 private:
  bool dropped_ = false;
};

}  // namespace cachefs::posix
