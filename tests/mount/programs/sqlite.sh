#!/usr/bin/env bash
# SQLite with a write-ahead log, which two writers and a reader share through a mapped file: no transaction
# is lost or seen in part, and the database outlives the mount.
# shellcheck source=tests/mount/programs/lib.sh
. "$(dirname "$0")/lib.sh"

readonly kAccounts=100
readonly kBalance=1000

readonly -a kSqlite=(sqlite3 -bail -cmd ".timeout 60000")

sql() { within "${kSqlite[@]}" "$@"; }

create() {
  equal "journal mode" "$(sql "$1" "PRAGMA journal_mode=$2;")" "$2"
  sql "$1" "
    CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
    CREATE TABLE transfer(writer INTEGER, number INTEGER, note BLOB, PRIMARY KEY(writer, number));
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $kAccounts)
      INSERT INTO account SELECT i, $kBalance FROM n;"
}

# transfers WRITER COUNT: so many transactions, each of which keeps the sum of all balances.
transfers() {
  awk -v writer="$1" -v count="$2" -v accounts=$kAccounts 'BEGIN {
    print "PRAGMA synchronous=NORMAL;"
    for (i = 1; i <= count; i++) {
      from = (i * 7 + writer) % accounts + 1
      to = (i * 13 + writer * 5) % accounts + 1
      printf "BEGIN IMMEDIATE; UPDATE account SET balance = balance - 1 WHERE id = %d;", from
      printf " UPDATE account SET balance = balance + 1 WHERE id = %d;", to
      printf " INSERT INTO transfer VALUES(%d, %d, randomblob(%d)); COMMIT;\n", writer, i, i % 300
    }
  }' >"$work/transfers-$1"
}

# run_writers DATABASE: both at once, while a reader sums up again and again.
run_writers() {
  local -a writers=()
  local writer
  for writer in 1 2; do
    beside "${kSqlite[@]}" "$1" <"$work/transfers-$writer" >"$work/writer-$writer" 2>&1
    writers+=("$!")
  done
  awk -v count="$reads" 'BEGIN { while (count-- > 0) print "SELECT sum(balance) FROM account;" }' | sql "$1" >"$work/sums"
  for writer in "${writers[@]}"; do
    wait "$writer" || fail "a writer: $(cat "$work"/writer-?)"
  done
  equal "the sums that the reader saw" "$(sort -u "$work/sums")" $((kAccounts * kBalance))
  equal "number of sums" "$(wc -l <"$work/sums")" "$reads"
}

is_whole() {
  equal "integrity" "$(sql "$1" 'PRAGMA integrity_check;')" ok
  equal "transactions" "$(sql "$1" 'SELECT count(*), count(DISTINCT writer) FROM transfer;')" "$((2 * $2))|2"
  equal "sum" "$(sql "$1" 'SELECT sum(balance) FROM account;')" $((kAccounts * kBalance))
}

content() { sql "$1" .dump | cksum; }

start sqlite3 awk
count=$(scaled 1000 20000)
reads=$(scaled 200 5000)
database=$mnt/bank.db
mount_source
create "$database" wal
transfers 1 "$count"
transfers 2 "$count"
run_writers "$database"
is_whole "$database" "$count"
equal "checkpoint" "$(sql "$database" 'PRAGMA wal_checkpoint(TRUNCATE);')" '0|0|0'
sql "$database" 'DELETE FROM transfer WHERE number % 2 = 0; VACUUM;'
is_whole "$database" $((count / 2))
content=$(content "$database")

few=$(scaled 100 2000)
create "$mnt/rollback.db" delete
transfers 1 "$few"
transfers 2 "$few"
run_writers "$mnt/rollback.db"
is_whole "$mnt/rollback.db" "$few"

unmount_source
mount_source
is_whole "$database" $((count / 2))
equal "content after the remount" "$(content "$database")" "$content"
sql "$database" 'CREATE INDEX by_size ON transfer(length(note));'
is_whole "$database" $((count / 2))
is_whole "$mnt/rollback.db" "$few"
unmount_and_compare
is_whole "$src/bank.db" $((count / 2))
is_whole "$src/rollback.db" "$few"
