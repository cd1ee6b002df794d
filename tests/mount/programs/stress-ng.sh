#!/usr/bin/env bash
# stress-ng: each of its stressors of file systems for some seconds, which check what they get. Some of them
# are about what a mount does not have; it says so, and goes on.
# shellcheck source=tests/mount/programs/lib.sh
. "$(dirname "$0")/lib.sh"

readonly kSomeCannotRun=3

start stress-ng
mount_source
cd "$mnt"
# Not those of other things than files, nor what changes the system.
status=0
logged stress-ng --class filesystem --sequential 1 --verify --timeout "$(scaled 1 5)" --temp-path "$mnt" \
  --exclude bind-mount,binderfs,eventfd,ioprio,procfs || status=$?
((status == 0 || status == kSomeCannotRun)) || fail "stress-ng: exit code $status"
! grep -q 'stress-ng: fail:' "$log" || fail "stress-ng found faults"
cd /
unmount_and_compare
