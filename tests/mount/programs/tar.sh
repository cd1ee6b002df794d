#!/usr/bin/env bash
# tar: into the mount, out of it again, and of what was written just before: attributes that settle late
# make it say "file changed as we read it".
# shellcheck source=tests/mount/programs/lib.sh
. "$(dirname "$0")/lib.sh"

start tar diff
original=$work/original
headers "$original" "$(scaled 600 4000)"
ln -s stdio.h "$original/a-symlink"
ln "$original/stdio.h" "$original/a-hard-link.h" 2>/dev/null || echo content >"$original/stdio.h"
mkdir "$original/empty"
head -c "$(scaled 12000000 60000000)" /dev/urandom >"$original/larger-than-the-cache"

mount_source
silent tar -C "$original" -cf "$mnt/all.tar" .
mkdir "$mnt/tree"
silent tar -C "$mnt/tree" -xpf "$mnt/all.tar"
silent diff -r --no-dereference "$original" "$mnt/tree"
silent tar -C "$mnt/tree" --compare -f "$mnt/all.tar"

# Of what is fresh, through a pipe: with /dev/null as the archive tar would not read.
rounds=$(scaled 20 100)
for ((round = 0; round < rounds; round++)); do
  name=$mnt/tree/fresh-$round
  head -c $((round * 9973)) "$original/larger-than-the-cache" >"$name"
  echo "more" >>"$name"
  within tar -C "$mnt/tree" -cf - "fresh-$round" 2>"$work/said" | within tar -C "$work" -xf -
  [[ ! -s $work/said ]] || fail "tar of a fresh file: $(<"$work/said")"
  silent cmp "$work/fresh-$round" "$name"
done
silent tar -C "$mnt/tree" -cf "$mnt/again.tar" .
silent tar -C "$mnt/tree" --compare -f "$mnt/again.tar"

unmount_and_compare
rm "$src"/tree/fresh-*
silent diff -r --no-dereference "$original" "$src/tree"
