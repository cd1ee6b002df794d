#!/usr/bin/env bash
# PostgreSQL: its server is killed amid transactions and recovers. What it had acknowledged is there, what it
# had not is there as a whole or not at all, and each page has its checksum; through the mount, then on the source.
# shellcheck source=tests/mount/programs/lib.sh
. "$(dirname "$0")/lib.sh"

readonly kClients=4

# The server refuses to be root's.
as_owner() { "$1" "${owner[@]}" "${@:2}"; }

# run_server DATA: with few buffers, so that the files are used; its postmaster is $server.
run_server() {
  as_owner beside "$binaries/postgres" -D "$1" -c listen_addresses= -c unix_socket_directories="$sockets" \
    -c shared_buffers=2MB -c max_wal_size=32MB -c min_wal_size=32MB -c checkpoint_timeout=30s \
    -c full_page_writes=on -c fsync=on -c synchronous_commit=on >>"$log" 2>&1
  job=$!
  until within pg_isready --quiet; do
    kill -0 "$job" 2>/dev/null || fail "the server has ended"
    sleep 0.05
  done
  server=$(head -n 1 "$1/postmaster.pid")
}

stop_server() {
  kill -INT "$server"
  wait "$job" || fail "the server did not end well"
}

# As a machine that loses its power: no process of it gets to do anything more.
crash_server() {
  local -a processes
  mapfile -t processes < <(pgrep --parent "$server")
  kill -KILL "$server" "${processes[@]}"
  ! wait "$job" || fail "the server ended well"
  until ! pgrep --session "$server" >/dev/null; do sleep 0.05; done
}

sql() { within psql --no-psqlrc --quiet --tuples-only --no-align --command="$1"; }

# transactions NUMBER: clients that run until the server is gone, and log what it acknowledged.
transactions() {
  (cd "$work" && logged pgbench --no-vacuum --client=$kClients --protocol=prepared --time=600 --log --log-prefix="run-$1") &
  clients=$!
}

committed() { sql "SELECT count(*) FROM pgbench_history;"; }

# crash_amid_transactions NUMBER
crash_amid_transactions() {
  local before acknowledged recovered
  before=$(committed)
  transactions "$1"
  until (($(committed) >= before + $(scaled 200 5000))); do sleep 0.05; done
  crash_server
  ! wait "$clients" || fail "no client has noticed the end of the server"
  acknowledged=$(cat "$work/run-$1".* | wc -l)
  run_server "$data"
  recovered=$(($(committed) - before))
  ((recovered >= acknowledged && recovered <= acknowledged + kClients)) ||
    fail "of $acknowledged transactions that were acknowledged there are $recovered"
  is_whole
}

# Each transaction adds the same to one row of each of three tables, and notes it in a fourth.
is_whole() {
  local sums
  sums=$(sql "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches),
    (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history);")
  equal "numbers of different sums" "$(tr '|' '\n' <<<"$sums" | sort -u | wc -l)" 1
  logged pg_amcheck --heapallindexed --parent-check --install-missing "$PGDATABASE"
}

find_binaries() {
  local directory
  for directory in /usr/lib/postgresql/*/bin; do
    [[ ! -x $directory/initdb ]] || binaries=$directory
  done
  [[ -n $binaries ]] || skip "no server of PostgreSQL is installed"
  export PATH=$binaries:$PATH
}

binaries=
find_binaries
start psql pgbench pg_amcheck initdb pgrep
owner=()
if ((EUID == 0)); then
  owner=(setpriv --reuid=postgres --regid=postgres --init-groups)
  chmod a+x "$work"
fi
sockets=$work/sockets
export PGHOST=$sockets PGUSER=tester PGDATABASE=postgres
mount_source
data=$mnt/data
mkdir "$data" "$sockets"
((EUID != 0)) || chown postgres:postgres "$data" "$sockets"

as_owner logged initdb -D "$data" --username=$PGUSER --auth=trust --no-locale --encoding=UTF8 --data-checksums
run_server "$data"
logged pgbench --initialize --scale="$(scaled 2 20)" --quiet
rounds=$(scaled 2 10)
for ((round = 1; round <= rounds; round++)); do crash_amid_transactions "$round"; done
total=$(committed)
stop_server
as_owner logged pg_checksums --check -D "$data"
unmount_and_compare

as_owner logged pg_checksums --check -D "$src/data"
run_server "$src/data"
equal "transactions on the source" "$(committed)" "$total"
is_whole
stop_server
