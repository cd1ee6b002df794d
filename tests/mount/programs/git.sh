#!/usr/bin/env bash
# git: a history, a clone with hard links, a merge, a repack. Its index knows each file's inode, size
# and times, so that it also tells whether the mount's attributes are the source's.
# shellcheck source=tests/mount/programs/lib.sh
. "$(dirname "$0")/lib.sh"

git_in() { logged git -C "$@"; }

configure_git() {
  export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=$work/gitconfig
  git config --global user.name "A Tester"
  git config --global user.email "tester@example.org"
  git config --global init.defaultBranch main
  git config --global gc.auto 0
  git config --global core.checkStat default
}

# commit_all DIRECTORY MESSAGE
commit_all() {
  git_in "$1" add --all
  git_in "$1" commit -m "$2"
}

# Each commit appends, removes, renames and makes a file executable.
make_history() {
  local number
  local -a files
  for ((number = 1; number <= $1; number++)); do
    mapfile -t files < <(cd "$repo" && git ls-files | sort | sed -n "$((number * 7)),$((number * 7 + 5))p")
    echo "/* change $number */" >>"$repo/${files[0]}"
    echo "/* change $number */" >>"$repo/${files[1]}"
    rm "$repo/${files[2]}"
    git_in "$repo" mv "${files[3]}" "renamed-$number.h"
    chmod +x "$repo/${files[4]}"
    commit_all "$repo" "Change $number"
  done
}

clone_with_hard_links() {
  find "$repo" -mindepth 1 -type d -empty -not -path "*/.git/*" -delete  # git keeps none
  logged git clone --local "$repo" "$mnt/clone"
  local pack
  pack=$(find "$mnt/clone/.git/objects" -type f -name '*.pack' | sed 1q)
  equal "links of a pack" "$(stat -c %h "$pack")" 2
  silent diff -r --exclude=.git "$repo" "$mnt/clone"
}

merge_a_branch() {
  git_in "$repo" switch -c topic
  echo "on the branch" >"$repo/topic.txt"
  commit_all "$repo" "On the branch"
  git_in "$repo" switch main
  [[ ! -e $repo/topic.txt ]] || fail "a file of another branch is still there"
  echo "on main" >"$repo/main.txt"
  commit_all "$repo" "On main"
  git_in "$repo" merge --no-edit topic
  equal "parents of the merge" "$(git -C "$repo" rev-list --parents -n 1 HEAD | wc -w)" 3
  equal "the branch's file" "$(<"$repo/topic.txt")" "on the branch"
}

# Nothing differs from the commit; without a look into the files, by their attributes alone.
is_clean() {
  silent git -C "$1" diff-files
  silent git -C "$1" status --porcelain
}

start git
configure_git
mount_source
repo=$mnt/repo
headers "$repo" "$(scaled 300 3000)"
logged git init "$repo"
commit_all "$repo" "Begin"
make_history "$(scaled 5 30)"
git_in "$repo" gc
clone_with_hard_links
merge_a_branch
git_in "$mnt/clone" pull
equal "the head after the pull" "$(git -C "$mnt/clone" rev-parse HEAD)" "$(git -C "$repo" rev-parse HEAD)"
git_in "$repo" gc --prune=now
for tree in "$repo" "$mnt/clone"; do
  git_in "$tree" fsck --strict --full
  is_clean "$tree"
done
unmount_and_compare
for tree in "$src/repo" "$src/clone"; do
  git_in "$tree" fsck --strict --full
  is_clean "$tree"
done
