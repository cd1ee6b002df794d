#!/usr/bin/env bash
# rsync of all that a tree can hold: links, times, owners, ACLs, extended attributes, odd names, holes.
# Its run by checksum tells the same through the mount and on the source: nothing to do.
# shellcheck source=tests/mount/programs/lib.sh
. "$(dirname "$0")/lib.sh"

write_tree() {
  headers "$original/headers" "$(scaled 200 3000)"
  cd "$original"
  mkdir -p empty deep/a/b/c/d shared sticky closed
  chmod 2775 shared
  chmod 1777 sticky
  chmod 0500 closed
  head -c 3000000 /dev/urandom >several-blocks
  : >no-content
  chmod 0600 no-content
  truncate -s 5M holes
  printf 'data' | dd of=holes bs=1 seek=2000000 conv=notrunc status=none
  ln several-blocks deep/a/b/hard-link
  ln several-blocks deep/a/b/c/another
  ln -s several-blocks symlink
  ln -s /nowhere/at/all dangling
  ln -s ../.. deep/to-a-directory
  ln -s "$(printf 'x%.0s' {1..1000})" long-target
  mkfifo fifo
  odd_names
  touch -d '1999-12-31 23:59:59.123456789' deep/a/old no-content
  touch -h -d '2001-02-03 04:05:06.987654321' symlink
  touch -d '2002-03-04 05:06:07.5' deep
  cd /
}

odd_names() {
  local name
  mkdir odd
  for name in ' ' ' leading' 'trailing ' '-rf' $'new\nline' $'tab\t' $'bell\a' 'back\slash' '"quoted"' '*' '~' '#' \
    $'\xff\xfe not utf-8' 'ü' $'u\xcc\x88' '...' 'CON' 'colon:' "$(printf 'n%.0s' {1..255})"; do
    printf '%s' "$name" >"odd/$name"
  done
}

# What the file system of the original cannot hold is left out: the mount adds nothing to it.
add_acls_and_xattrs() {
  cd "$original"
  if setfattr -n user.colour -v green no-content 2>/dev/null; then
    setfattr -n user.empty no-content
    setfattr -n user.binary -v 0x00ff00ff several-blocks
    setfattr -n user.of-a-directory -v "$(printf 'v%.0s' {1..500})" empty
    flags+=X
  fi
  if setfacl -m u:1234:rw no-content 2>/dev/null; then
    setfacl -m g:4321:r-x,m::r-x deep
    setfacl -d -m u:1234:rwx,g:4321:r-- shared
    flags+=A
  fi
  if ((EUID == 0)); then
    chown 1234:4321 no-content odd
    chown -h 1234:4321 dangling
  fi
  cd /
}

# changes DIRECTORY [OPTION...]: what rsync would still do to it, by checksum; must be nothing.
nothing_to_do() {
  local directory=$1
  shift
  within rsync "-${flags}c" --itemize-changes --delete "$@" "$original/" "$directory/" >"$work/said" 2>&1 ||
    fail "rsync: $(<"$work/said")"
  [[ ! -s $work/said ]] || fail "rsync still had to change: $(<"$work/said")"
}

change_original() {
  echo "more" >>"$original/several-blocks"
  printf 'other' | dd of="$original/holes" bs=1 seek=4000000 conv=notrunc status=none
  touch -d '2003-04-05 06:07:08' "$original/holes" # rsync compares sizes and whole seconds
  mv "$original/headers" "$original/moved"
  rm -r "$original/odd" "$original/fifo"
  ln -sfn no-content "$original/symlink"
  chmod 0640 "$original/no-content"
}

# cp -a sets a directory's mode as the ACL that it amounts to; whoever asks for the mode alone must see it.
copies_modes_at_once() {
  logged cp -a "$mnt/copy/moved" "$mnt/copied"
  equal "mode after cp -a" "$(stat -c %a "$mnt/copied")" "$(stat -c %a "$src/copied")"
}

start rsync cp dd setfacl setfattr
flags=aH
original=$work/original
mkdir "$original"
write_tree
add_acls_and_xattrs
mount_source
mkdir "$mnt/tree"
logged rsync "-$flags" "$original/" "$mnt/tree/"
nothing_to_do "$mnt/tree"
nothing_to_do "$src/tree" --dry-run

change_original
logged rsync "-$flags" --delete --inplace --no-whole-file "$original/" "$mnt/tree/"
nothing_to_do "$mnt/tree"
logged rsync "-$flags" "$mnt/tree/" "$mnt/copy/"
nothing_to_do "$mnt/copy"
copies_modes_at_once

unmount_and_compare
nothing_to_do "$src/tree" --dry-run
nothing_to_do "$src/copy" --dry-run
