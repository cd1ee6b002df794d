#!/usr/bin/env bash
# A C project under autoconf and automake: configure, make, its checks, and rebuilding just what changed.
# shellcheck source=tests/mount/programs/lib.sh
. "$(dirname "$0")/lib.sh"

write_project() {
  mkdir "$project"
  cat >"$project/configure.ac" <<'END'
AC_INIT([sums], [1.0])
AC_CONFIG_SRCDIR([main.c])
AC_CONFIG_HEADERS([config.h])
AM_INIT_AUTOMAKE([foreign])
AC_PROG_CC
AM_PROG_AR
AC_PROG_RANLIB
AC_CHECK_HEADERS([stdint.h sys/mman.h])
AC_CHECK_FUNCS([mmap])
AC_CONFIG_FILES([Makefile])
AC_OUTPUT
END
  cat >"$project/Makefile.am" <<END
AM_CFLAGS = -O0
noinst_LIBRARIES = libsums.a
libsums_a_SOURCES = sums.h $(printf 'sum%d.c ' $(seq "$parts"))
bin_PROGRAMS = sums
sums_SOURCES = main.c
sums_LDADD = libsums.a
check_PROGRAMS = sums_check
sums_check_SOURCES = check.c
sums_check_LDADD = libsums.a
TESTS = sums_check
END
  local number
  {
    echo "#define VERSION_TEXT \"first\""
    for ((number = 1; number <= parts; number++)); do echo "int sum$number(int);"; done
    echo "#define ALL(x) (0$(printf ' + sum%d(x)' $(seq "$parts")))"
  } >"$project/sums.h"
  for ((number = 1; number <= parts; number++)); do
    printf '#include "config.h"\n#include "sums.h"\nint sum%d(int x) { return x + %d; }\n' \
      "$number" "$number" >"$project/sum$number.c"
  done
  printf '#include <stdio.h>\n#include "sums.h"\nint main(void) { printf("%%s %%d\\n", VERSION_TEXT, ALL(0)); }\n' \
    >"$project/main.c"
  printf '#include "sums.h"\nint main(void) { return ALL(1) == %d ? 0 : 1; }\n' \
    $((parts * (parts + 1) / 2 + parts)) >"$project/check.c"
}

make_here() { logged make -C "$project" -j2 "$@"; }

# make finds nothing to do: the times of what it made are in order.
is_made() { within make -C "$project" --question libsums.a sums >>"$log" 2>&1 || fail "make would build again what it has built"; }

start autoreconf automake make gcc
parts=$(scaled 5 200)
total=$((parts * (parts + 1) / 2))
mount_source
project=$mnt/project
write_project
cd "$project"
logged autoreconf --install
logged ./configure --disable-dependency-tracking
cd /
make_here all
make_here check
is_made
equal "the program's output" "$("$project/sums")" "first $total"

# A new header: automake's rules without dependency tracking rebuild nothing, so the objects go by hand.
sed -i 's/first/second/' "$project/sums.h"
rm "$project/main.o"
make_here all
is_made
equal "the rebuilt program's output" "$("$project/sums")" "second $total"

logged make -C "$project" install DESTDIR="$mnt/installed"
equal "the installed program's output" "$("$mnt/installed/usr/local/bin/sums")" "second $total"
[[ $(scaled quick full) == quick ]] || make_here distcheck
unmount_and_compare
equal "the output on the source" "$("$src/project/sums")" "second $total"
within make -C "$src/project" --question libsums.a sums >>"$log" 2>&1 || fail "on the source make would build again"
