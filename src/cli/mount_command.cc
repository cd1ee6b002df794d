#include <fmt/format.h>
#include <unistd.h>

#include <memory>

#include "cachefs/eviction_policy.h"
#include "cli/background.h"
#include "cli/commands.h"
#include "cli/daemon.h"
#include "cli/log.h"
#include "cli/mount_options.h"
#include "cli/mount_plan.h"
#include "cli/remount.h"

namespace cachefs::cli {
namespace {

constexpr const char* kDetails =
    R"(Returns once the mount is live; a daemon serves it until it is unmounted.

MODE of coherence, when the source is asked again:
  strict         at every look-up, stat and open of a file or directory; the
                 kernel keeps no names and attributes; often slower than no
                 cache, where there are many small files
  close-to-open  at every open of a file or directory; names and attributes are
                 relied upon for 1 s, or what --attr-ttl says (0: not at all)
  ttl=60s        never within that time; for sources that nobody else changes
                 often
  immutable      never; for sources that nobody changes, as archives and
                 releases; a name that was not there stays missing

WHO decides who may have what is cached: mode-bits, and the source where they leave
  a doubt; or source, each time that attributes are asked for anew: for servers
  with rules of their own (NFS with root_squash, SMB). The kernel then keeps no
  names.

DURATION: 500ms, 5s, 5m, 1h; 0, which as a --timeout means none.

SIZE: 8M, 64MiB, 1.5G are powers of 1024, 100MB is one of 1000; at least 1MiB.

NAME of the eviction policy:
{}
  `cachefs simulate` tells which one suits recorded accesses best.

COUNT of files that the kernel may know at the same time. Each takes about 256
  bytes of the daemon's memory, beside --ram-size; the kernel keeps those that
  are in use in any case.

OPTIONS, with commas between: ro, rw, allow_other, allow_root, auto_unmount,
  [no]suid, [no]dev, [no]exec, [no]atime, sync, dirsync; remount; the options
  above, as in ram_size=2G; what mount(8) and fstab have for themselves: noauto,
  nofail, user, _netdev, x-... and the like. A comma in a value stands in double
  quotes: -o 'timeout="read=20s,write=1m"'.
  nosuid and nodev unless suid and dev are given; by mount(8) the reverse.
  The kernel checks permissions always (default_permissions). Mounts made by
  root serve all users (allow_other); an ordinary user's serves that user alone.

LIST of kernel features, with commas between (in -o: ':'); all are used that the
  kernel offers, unless named with no- before: killpriv_v2 (no question to the
  mount before each write; a write by root drops set-id bits too), direct_mmap
  (files open for appending or with O_DIRECT can be mapped),
  parallel_direct_writes (to one file; only with direct_mmap), parallel_lookups
  (in one directory), prune (the kernel forgets unused files when asked to),
  export_support (file handles lead to files that the kernel has forgotten),
  read_ahead (1 MiB, set by root alone). `all` and `none` too. `cachefs status`
  shows what became of them.

`mount -t fuse.cachefs SOURCE MOUNTPOINT -o OPTIONS` does the same, where
mount.fuse.cachefs is installed in /sbin.

Examples:
  cachefs mount /srv/nfs/photos /mnt/photos
  cachefs mount /srv/nfs/photos /mnt/photos --ram-size 2G --coherence ttl=60s
  cachefs mount --foreground -o ro /srv/nfs/photos /mnt/photos   # Ctrl-C unmounts
  cachefs mount --over /srv/nfs/photos       # in its place; umount shows it again
  cachefs umount /mnt/photos

Exit codes: 0 mounted, 1 cannot be mounted, 2 wrong usage.)";

std::string details() {
  std::string policies;
  for (const EvictionPolicyInfo& policy : eviction_policies())
    policies += fmt::format("{}  {:<12}{}", policies.empty() ? "" : "\n", policy.name, policy.summary);
  return fmt::format(kDetails, policies);
}

nlohmann::json to_json(const MountPlan& plan, pid_t pid) {
  return {{"pid", pid}, {"source", plan.source}, {"mountpoint", plan.mountpoint}, {"state", "mounted"}};
}

int report_mounted(Format format, const MountPlan& plan, pid_t pid) {
  const std::string text = fmt::format("Mounted '{}' on '{}' (pid {}). Unmount with: cachefs umount {}\n",
                                       plan.source, plan.mountpoint, pid, shell_word(plan.mountpoint));
  return report(format, to_json(plan, pid), text);
}

int run_remount(Format format, const MountArguments& arguments) {
  const auto options = remount(arguments, Unnamed::stays);
  if (!options) return report_failure(format, options.error());
  return report(format, {{"mountpoint", arguments.mountpoint}, {"state", "remounted"}},
                fmt::format("Remounted '{}'.\n", arguments.mountpoint));
}

int serve_in_foreground(Format format, const MountPlan& plan) {
  int printed = kExitOk;
  const auto tell_mounted = [&] { printed = report_mounted(format, plan, ::getpid()); };
  const auto tell_end = [&] {
    note(fmt::format(
        "cachefs: note: unmounting '{}'; programs that still use it lose it in a moment; a second "
        "Ctrl-C or SIGTERM does not wait for a source that hangs",
        plan.mountpoint));
  };
  const auto served = serve(plan, {.on_mounted = tell_mounted, .on_told_to_end = tell_end});
  if (!served) return report_failure(format, served.error());
  // In JSON one object is all, and the terminal may be gone by now.
  if (format == Format::text) report(format, {}, fmt::format("Unmounted '{}'.\n", plan.mountpoint));
  return printed;
}

}  // namespace

int run_mount(Format format, const MountArguments& arguments) {
  if (arguments.remount) return run_remount(format, arguments);
  const auto plan = plan_mount(arguments);
  if (!plan) return report_failure(format, plan.error());
  for (const std::string& text : plan->notes) note(text);
  if (!arguments.foreground) {
    const auto pid = serve_in_background(*plan);
    return pid ? report_mounted(format, *plan, *pid) : report_failure(format, pid.error());
  }
  log_to(LogTarget::standard_error);
  return serve_in_foreground(format, *plan);
}

Command add_mount(CLI::App& program) {
  const auto arguments = std::make_shared<MountArguments>();
  CLI::App* app = program.add_subcommand("mount", "Serve a directory through a cache");
  app->add_option("SOURCE", arguments->source, "The slow directory: NFS, SMB, sshfs, a disk")
      ->required()
      ->type_name("");
  const auto* mountpoint =
      app->add_option("MOUNTPOINT", arguments->mountpoint, "An empty directory elsewhere")->type_name("");
  app->add_flag("-f,--foreground", arguments->foreground,
                "Stay in the foreground; Ctrl-C unmounts, even while in use");
  add_mount_options(*app, *arguments);
  app->add_option("-o", arguments->fuse_options, "Options as mount(8) has them; may be repeated")
      ->type_name("OPTIONS")
      ->allow_extra_args(false);
  app->footer(details());
  return {app, [app, mountpoint, arguments](Format format) {
            arguments->given = given_options(*app);
            if (const auto taken = take_options(*arguments, Unknown::refuse); !taken)
              return report_failure(format, taken.error());
            if (mountpoint->count() == 0 && !arguments->over) {
              return report_failure(format,
                                    {"MOUNTPOINT is required; see `cachefs mount --help`", kExitUsage});
            }
            return run_mount(format, *arguments);
          }};
}

}  // namespace cachefs::cli
