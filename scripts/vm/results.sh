# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: Apache-2.0
#
# results.sh: reads the results of a boot's tests. Part of vm-test; uses $logs, $json.

# results KERNEL ROUND: reads results.txt, in which the output of each test binary is between
#
#	@@ begin PACKAGE
#	@@ end PACKAGE STATUS SECONDS
#
# appends it to $json as go test -json would have written it (the package being
# named vm/KERNEL/ROUND/PACKAGE), and prints one line for each package and what
# the failed tests said. Status 0 if all passed.
results() {
	local kernel=$1 round=$2 out=$logs/$1/$2 name bad=0
	mkdir -p "$out/packages"
	[ -e "$out/results.txt" ] || return 1
	awk -v dir="$out/packages" '
		/^@@ begin / { file = dir "/" $3 ".txt"; printf "" > file; next }
		/^@@ end /   { print $4, $5 > (dir "/" $3 ".status"); close(file); file = ""; next }
		file != ""   { print > file }' "$out/results.txt"
	for name in "$out"/packages/*.txt; do
		[ -e "$name" ] || { echo "FAIL  $kernel/$round: no test was run"; return 1; }
		results_package "$kernel/$round" "${name%.txt}" || bad=1
	done
	return $bad
}

# results_package WHERE FILE: one package of results.
results_package() {
	local package=${2##*/} status='' seconds='' outcome='did not end' passed failed skipped
	[ -e "$2.status" ] && read -r status seconds <"$2.status"
	go tool test2json -p "vm/$1/$package" <"$2.txt" >"$2.json"
	[ -z "$json" ] || cat "$2.json" >>"$json"
	passed=$(results_count "$2.json" pass)
	failed=$(results_count "$2.json" fail)
	skipped=$(results_count "$2.json" skip)
	results_bench "$2.txt"
	if [ "$status" = 0 ] && [ "$failed" -eq 0 ]; then
		printf 'ok    %s/%s  %s s: %s passed, %s skipped\n' "$1" "$package" "$seconds" "$passed" "$skipped"
		return 0
	fi
	[ -z "$status" ] || outcome="exit status $status after $seconds s"
	printf 'FAIL  %s/%s  %s: %s passed, %s failed, %s skipped\n' "$1" "$package" \
		"$outcome" "$passed" "$failed" "$skipped"
	results_failed "$2.json"
	return 1
}

# results_bench FILE: prints the median of each benchmark, and of its round-by-round
# ratio to the one before it, which is valid even on a machine whose speed varies
# between rounds.
results_bench() {
	awk '
	function median(list,  v, n, i, j, x) {
		n = split(list, v)
		for (i = 2; i <= n; i++) {
			x = v[i] + 0
			for (j = i - 1; j > 0 && v[j] + 0 > x; j--) v[j + 1] = v[j]
			v[j + 1] = x
		}
		return v[int((n + 1) / 2)]
	}
	/^Benchmark/ {
		name = $1
		if (!(name in all)) order[++n] = name
		all[name] = all[name] " " $3
		if (before) ratio[name] = ratio[name] " " $3 / before
		before = $3
	}
	/^PASS/ { before = 0 }
	END { for (i = 1; i <= n; i++) printf "      %s  %d ns%s\n", order[i], median(all[order[i]]),
		(ratio[order[i]] == "" ? "" : sprintf(", %.2f of the one before", median(ratio[order[i]]))) }' "$1"
}

# results_count FILE ACTION: counts the tests with this outcome, without packages.
results_count() { grep "\"Action\":\"$2\"" "$1" | grep -c '"Test":'; }

# results_failed FILE: prints the names of the first failed tests.
results_failed() {
	grep '"Action":"fail"' "$1" | sed -n 's/.*"Test":"\([^"]*\)".*/      --- FAIL: \1/p' | head -40
}
