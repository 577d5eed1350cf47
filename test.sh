#!/usr/bin/env bash
# test.sh - set up, build and run every test; ends with the count.
#   ./test.sh            everything: gcc, clang, sanitizers, format, lint, ctest, pytest, fuzzers (under 20 minutes on two cores)
#   ./test.sh format     reformat the sources
#   ./test.sh lint       clang-format and clang-tidy only, its analyser on the tests too
#   ./test.sh coverage   line coverage of allocators/ and traces/; exit 1 below 90 %
set -u
cd "$(dirname "$0")" || exit 2
. kmemlab/setup.sh

python=/usr/bin/python3
sources() { git ls-files -co --exclude-standard -- '*.c' '*.h' | grep -vE '/fixtures/'; }

check_format() {
	sources | xargs clang-format --dry-run -Werror
}

# clang's warnings are among clang-tidy's checks: the tests need not be built with clang for them.
tidy() { xargs -P 2 -n 4 clang-tidy -p build/clang --quiet "$@" 2>/dev/null | grep -E '(warning|error):'; }

# check_lint [all]: the path-sensitive analyser takes minutes for the tests and goes over them only when asked.
check_lint() {
	build_preset clang kmemlab
	found="$(sources | grep '\.c$' | grep -v '_test\.c$' | tidy)"
	on_tests='--checks=-clang-analyzer-*'
	[ "${1:-}" = all ] && on_tests='--checks='
	found="$found$(sources | grep '_test\.c$' | tidy "$on_tests")"
	[ -z "$found" ] || echo "$found"
	[ -z "$found" ]
}

build() {
	echo "== build, $1"
	build_preset "$@"
}

passed=0 failed=0 skipped=0
# step NAME COMMAND...: one pass or one failure.
step() {
	name="$1"
	shift
	echo "== $name"
	if "$@"; then passed=$((passed + 1)); else
		failed=$((failed + 1))
		echo "FAILED: $name"
	fi
}

# count_cmocka LOG: add the cases of every suite in a ctest log.
count_cmocka() {
	add() { awk -v what="$1" 'index($0, what) { for (i = 1; i < NF; i++) if ($(i + 1) ~ /^test\(s\)/) sum += $i } END { print sum + 0 }' "$2"; }
	passed=$((passed + $(add '[  PASSED  ]' "$1")))
	skipped=$((skipped + $(add '[  SKIPPED ]' "$1")))
	failed=$((failed + $(add '[  FAILED  ]' "$1")))
}

# run_ctest PRESET FOLDER
run_ctest() {
	echo "== ctest, $1"
	ctest --preset "$1" -j 2 --no-tests=error >"build/ctest-$1.txt" 2>&1
	status=$?
	grep -E '^ *[0-9]+/[0-9]+ Test|tests passed|\(Failed\)|\(Timeout\)|SKIPPED \]' "build/ctest-$1.txt"
	count_cmocka "$2/Testing/Temporary/LastTest.log"
	if [ $status -ne 0 ]; then
		# A suite that crashed has no closing line of its own to count.
		failed=$((failed + 1))
		grep -E -B 2 -A 8 'ERROR|\[  FAILED|runtime error|Sanitizer' "build/ctest-$1.txt" | head -n 80
	fi
}

run_pytest() {
	echo "== pytest"
	"$python" -m pytest -q -rs -p no:cacheprovider analysis kmemlab fuzz 2>&1 | tee build/pytest.txt
	status=${PIPESTATUS[0]}
	count() { grep -oE "[0-9]+ $1" build/pytest.txt | tail -n 1 | grep -oE '[0-9]+' || echo 0; }
	passed=$((passed + $(count passed))) skipped=$((skipped + $(count skipped)))
	failed=$((failed + $(count failed) + $(count 'errors?')))
	[ "$status" -eq 0 ] || [ "$(count failed)" -gt 0 ] || failed=$((failed + 1))
}

coverage() {
	build_preset coverage
	find build/coverage -name '*.gcda' -delete
	ctest --preset coverage -j 2 >build/ctest-coverage.txt 2>&1 || { grep -E 'Failed|Timeout' build/ctest-coverage.txt; }
	KMEMLAB="$PWD/build/coverage/kmemlab" "$python" -m pytest -q -p no:cacheprovider kmemlab >build/pytest-coverage.txt 2>&1
	gcovr --root . --object-directory build/coverage --filter 'allocators/' --filter 'traces/' \
		--exclude '.*_test\.c' --exclude '.*/tests/.*' --exclude '.*/example_plugin/.*' --fail-under-line 90
}

# shellcheck disable=SC2086
install_packages $build_packages $test_packages
case "${1:-all}" in
format) sources | xargs clang-format -i ;;
lint) check_format && check_lint all ;;
coverage) coverage ;;
all)
	started=$SECONDS
	build release
	build dev
	build clang kmemlab
	build fuzz kmemlab-fuzz
	build afl kmemlab-fuzz kmemlab-mutator
	step "clang-format" check_format
	step "clang-tidy" check_lint
	run_ctest release build
	run_ctest dev build/dev
	run_pytest
	step "fuzzers" "$python" fuzz/smoke.py --fuzz build/fuzz --afl build/afl
	echo "Took $((SECONDS - started)) s."
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ]
	;;
*)
	echo "Usage: ./test.sh [format|lint|coverage]" >&2
	exit 2
	;;
esac
