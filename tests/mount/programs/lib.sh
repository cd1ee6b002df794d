# shellcheck shell=bash
# For the scripts beside it, each of which runs one everyday program over a mount of cachefs:
#   SCRIPT RAM_SIZE COHERENCE
# The environment: CACHEFS_PROGRAM, the program under test; CACHEFS_TEST_DEADLINE_S, the time for the
# whole script; CACHEFS_TEST_SCALE=full for more of everything; CACHEFS_TEST_REQUIRE_MOUNT=1 where a
# mount must be possible.
#
# A script calls start, mounts, works below $mnt, and ends with unmount_and_compare. What it needs
# beside the mount lies in $work. Whatever happens, its processes, its mount and its files go.
set -Eeuo pipefail
exec 3>&2  # for what is told of a failure, wherever its command writes its errors

readonly kSkipped=77

: "${CACHEFS_PROGRAM:?the program under test}"
ram_size=${1:?usage: ${0##*/} RAM_SIZE COHERENCE}
coherence=${2:?usage: ${0##*/} RAM_SIZE COHERENCE}
deadline=$((SECONDS + ${CACHEFS_TEST_DEADLINE_S:-60}))
work=
src=
mnt=
log=
daemon=

# start PROGRAM...: what the script needs; an empty source directory $src.
start() {
  [[ -c /dev/fuse && -r /dev/fuse && -w /dev/fuse ]] || skip "/dev/fuse cannot be opened"
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null || skip "$program is not installed"
  done
  work=$(mktemp -d "${TMPDIR:-/tmp}/cachefs-programs.XXXXXX")
  trap clean_up EXIT
  trap 'exit 130' INT TERM HUP
  trap 'explain "$LINENO" "$BASH_COMMAND"' ERR
  src=$work/source
  mnt=$work/mount
  log=$work/log
  mkdir "$src" "$mnt"
  export HOME=$work LC_ALL=C TMPDIR=$work
  umask 022
}

skip() {
  echo "skipped: $*"
  [[ ${CACHEFS_TEST_REQUIRE_MOUNT:-} != 1 ]] || exit 1
  exit $kSkipped
}

fail() {
  echo "FAILED: $*" >&3
  show_log
  exit 1
}

explain() {
  echo "FAILED in line $1: $2" >&3
  show_log
}

show_log() {
  [[ ! -s $log ]] || { echo "--- the last of the log" && tail -n 40 "$log"; } >&3
}

# scaled QUICK FULL: the number for this run.
scaled() {
  if [[ ${CACHEFS_TEST_SCALE:-} == full ]]; then echo "$2"; else echo "$1"; fi
}

# within COMMAND...: runs it, and ends it when the script's time is over.
within() {
  local left=$((deadline - SECONDS))
  ((left > 0)) || fail "no time left for: $*"
  timeout --kill-after=5 "$left" "$@"
}

# beside COMMAND...: the same at the same time; its process is $!.
beside() {
  local left=$((deadline - SECONDS))
  ((left > 0)) || fail "no time left for: $*"
  timeout --kill-after=5 "$left" "$@" <&0 &
}

# logged COMMAND...: the same; its output is shown only if something fails.
logged() { within "$@" >>"$log" 2>&1; }

# silent COMMAND...: the same for a program that must succeed without a word.
silent() {
  within "$@" >"$work/said" 2>&1 || { cat "$work/said" >&3 && fail "$*"; }
  [[ ! -s $work/said ]] || { cat "$work/said" >&3 && fail "not silent: $*"; }
}

# equal WHAT ACTUAL EXPECTED
equal() { [[ $2 == "$3" ]] || fail "$1: is '$2', expected '$3'"; }

mount_source() {
  # Into files: a daemon may keep them open, and would keep a pipe's reader waiting.
  within "$CACHEFS_PROGRAM" mount "$src" "$mnt" --json --ram-size "$ram_size" --coherence "$coherence" \
    >"$work/mounted" 2>>"$log" </dev/null 3>&- || fail "cannot be mounted"
  daemon=$(sed -nE 's/.*"pid": ?([0-9]+).*/\1/p' "$work/mounted")
  [[ -n $daemon ]] || fail "no pid in: $(<"$work/mounted")"
  is_mounted || fail "not mounted"
}

unmount_source() {
  logged "$CACHEFS_PROGRAM" umount "$mnt"
  ! is_mounted || fail "still mounted"
  ! is_running "$daemon" || fail "the daemon outlived its mount"
  daemon=
}

# What was seen through the mount is what the source holds.
unmount_and_compare() {
  snapshot "$mnt" >"$work/seen"
  unmount_source
  snapshot "$src" >"$work/held"
  diff "$work/held" "$work/seen" >"$work/differences" ||
    { head -n 40 "$work/differences" >&3 && fail "the mount showed something else than the source holds"; }
}

# snapshot DIRECTORY: one line for each entry, and one for the content of each file.
snapshot() {
  (
    cd "$1"
    within find . -printf '%P|%y|%m|%U|%G|%n|%s|%T@|%C@|%l\0' | sort -z | tr '\0' '\n'
    within find . -type f -print0 | sort -z | within xargs -0 -r cksum
  )
}

is_mounted() { mountpoint -q "$mnt"; }

is_running() {
  local state
  [[ -n $1 ]] && state=$(sed -E 's/^.*\) (.).*/\1/' "/proc/$1/stat" 2>/dev/null) && [[ $state != [ZX] ]]
}

# headers DIRECTORY COUNT: fills it with so many of the C library's headers.
headers() {
  mkdir -p "$1"
  (cd /usr/include && find . -type f -name '*.h' | sort | sed -n "1,$2p") >"$work/headers"
  within tar -C /usr/include -T "$work/headers" -cf - | within tar -C "$1" -xf - --no-same-owner
}

clean_up() {
  local status=$? child
  trap - ERR EXIT
  trap : INT TERM HUP  # a signal now must not end the cleaning
  set +e
  for child in $(jobs -p); do kill "$child" 2>/dev/null && wait "$child" 2>/dev/null; done
  cd /
  if is_mounted || is_running "$daemon"; then
    timeout 30 "$CACHEFS_PROGRAM" umount "$mnt" >/dev/null 2>&1 ||
      { timeout 5 umount --lazy "$mnt" || timeout 5 fusermount3 -uz "$mnt"; } 2>/dev/null
    is_running "$daemon" && kill -KILL "$daemon"
  fi
  is_mounted || rm -rf --one-file-system "$work"
  exit "$status"
}
