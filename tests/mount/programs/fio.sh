#!/usr/bin/env bash
# fio writes at random, by calls and through mappings, with and without dropping the page cache, and checks
# the checksum of every block, then again on the source.
# shellcheck source=tests/mount/programs/lib.sh
. "$(dirname "$0")/lib.sh"

write_jobs() {
  cat >"$1" <<END
[global]
directory=\${FIO_DIRECTORY}
size=$(scaled 16M 256M)
rw=randwrite
verify=crc32c
verify_fatal=1
end_fsync=1
$2

[calls]
ioengine=psync
bsrange=4k-64k
bs_unaligned=0
blockalign=4k

[mapped]
ioengine=mmap
bs=4k

[two-of-them]
ioengine=psync
bs=12k
numjobs=2
size=$(scaled 8M 128M)

[mixed]
ioengine=psync
rw=randrw
bs=8k

[direct]
ioengine=psync
direct=1
bs=32k
END
}

# verified DIRECTORY JOBS [OPTION...]
verified() {
  local directory=$1
  shift
  FIO_DIRECTORY=$directory logged fio --aux-path="$work" "$@"
}

start fio
mount_source
for caching in default kept; do
  options=
  [[ $caching == default ]] || options=invalidate=0
  write_jobs "$work/$caching.fio" "$options"
  mkdir "$mnt/$caching"
  verified "$mnt/$caching" "$work/$caching.fio"
done
unmount_and_compare
for caching in default kept; do
  verified "$src/$caching" --verify_only "$work/$caching.fio"
done
