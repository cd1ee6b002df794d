#!/usr/bin/env bash
# Usage: check_docs.sh REPOSITORY
# The documents and the code that they speak of are the same: the README's example, the numbers of the examples in
# docs/SEMANTICS.md, links between documents.
set -euo pipefail
cd "$1"

failed=0
complain() {
  echo "$*" >&2
  failed=1
}

# block LANGUAGE FILE: the first fenced block of that language.
block() { awk -v fence='```'"$1" '$0 == fence { inside = 1; next } inside && $0 == "```" { exit } inside' "$2"; }

block cpp README.md | diff - examples/readme_example.cc >&2 ||
  complain "README.md: its example is not examples/readme_example.cc"

in_document=$(grep -oE '^- \*\*S[0-9]+\*\*' docs/SEMANTICS.md | grep -oE 'S[0-9]+' | sort -V)
in_tests=$(sed -nE 's/^TEST(_F)?\([A-Za-z0-9]+, (S[0-9]+)\).*/\2/p' tests/unit/semantics_*test.cc | sort -V)
[[ -n $in_document ]] || complain "docs/SEMANTICS.md: no example found"
diff <(echo "$in_document") <(echo "$in_tests") >&2 ||
  complain "docs/SEMANTICS.md (<) and tests/unit/semantics_*test.cc (>) do not have the same examples, each once"

# The table "When the source is asked": its rows and modes, as names of tests.
camel_case() { sed -E 's/=.*//; s/[^A-Za-z0-9]+/ /g' | awk '{ for (i = 1; i <= NF; ++i) printf "%s", toupper(substr($i, 1, 1)) substr($i, 2); print "" }'; }
asked_table=$(awk '/^\| \| `strict` \|/ { inside = 1 } inside && !/^\|/ { exit } inside' docs/SEMANTICS.md)
asked_tests=tests/unit/coherence_table_test.cc
diff <(tail -n +3 <<<"$asked_table" | cut -d'|' -f2 | camel_case | sort) \
  <(sed -nE 's/^TEST_P\(CoherenceTable, ([A-Za-z0-9]+)\).*/\1/p' "$asked_tests" | sort) >&2 ||
  complain "docs/SEMANTICS.md (<) and $asked_tests (>) do not have the same rows"
# shellcheck disable=SC2016
diff <(head -n 1 <<<"$asked_table" | grep -oE '`[^`]+`' | camel_case | sort) \
  <(grep -oE 'Mode\{"[A-Za-z]+"' "$asked_tests" | grep -oE '[A-Za-z]+"' | tr -d '"' | sort) >&2 ||
  complain "docs/SEMANTICS.md (<) and $asked_tests (>) do not have the same modes"

while IFS=: read -r file link; do
  target=${link#*](}
  target=${target%)}
  target=${target%%#*}
  case $target in '' | http:* | https:* | mailto:*) continue ;; esac
  [[ -e $(dirname "$file")/$target ]] || complain "$file: the link to '$target' leads nowhere"
done < <(grep -oHE '\]\([^) ]+\)' ./*.md docs/*.md docs/decisions/*.md)

keys() { sed -nE "/$1/,/\};/s/.*\{\"([a-z_]+)\", .*/\1/p" "$2" | sort; }
for key in $(keys '^nlohmann::json to_json' src/cli/stats_report.cc) $(keys 'nlohmann::json status\(\) const' src/cli/daemon.cc); do
  grep -q "^$key	" docs/man/cachefs.1 || complain "docs/man/cachefs.1: the table of keys lacks '$key'"
done

while read -r name; do
  sed -nE '/BI .*policy " NAME"$/,/^\.TP/{ s/\\-/-/g; p }' docs/man/cachefs.1 | grep -qE "[ \"]$name([ ,;]|$)" ||
    complain "docs/man/cachefs.1: --policy lacks '$name'"
done < <(sed -nE 's/^ *\{"([a-z0-9-]+)", ".*make_.*/\1/p' src/policy/registry.cc)

exit "$failed"
