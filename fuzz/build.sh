#!/usr/bin/env bash
# build.sh - the fuzzers as OSS-Fuzz and ClusterFuzzLite want them (google.github.io/oss-fuzz, "New project guide").
# Honours CC, CFLAGS, LDFLAGS, LIB_FUZZING_ENGINE, SANITIZER and WORK; leaves in OUT, for each target, an executable of
# its name (links to one file: it knows its target by its name), TARGET_seed_corpus.zip, TARGET.options and, for the
# parsers of text, TARGET.dict. Libraries that the executable needs are copied to OUT/lib.
set -eu
source="$(cd "$(dirname "$0")/.." && pwd)"
: "${OUT:?OUT names the folder for the fuzzers}" "${WORK:=$(mktemp -d)}"
: "${CC:=clang}" "${LIB_FUZZING_ENGINE:=-fsanitize=fuzzer}" "${SANITIZER:=address}"
: "${CFLAGS:=-O1 -fno-omit-frame-pointer -gline-tables-only -fsanitize=address,undefined -fno-sanitize-recover=all -fsanitize=fuzzer-no-link}"
mkdir -p "$OUT/lib" "$WORK"

feedback=""
case "$CC" in
*afl*) export AFL_QUIET=1 AFL_LLVM_DENYLIST="$source/fuzz/uninstrumented.txt" ;;
*clang*) [ "$SANITIZER" = coverage ] || feedback="-fsanitize-coverage-ignorelist=$source/fuzz/uninstrumented.txt" ;;
esac
# shellcheck disable=SC2016 # $ORIGIN is the loader's word
cmake -G Ninja -S "$source" -B "$WORK/kmemlab" -DCMAKE_BUILD_TYPE=None -DCMAKE_C_COMPILER="$CC" -DCMAKE_C_FLAGS="$CFLAGS" \
	-DCMAKE_EXE_LINKER_FLAGS="${LDFLAGS:-}" -DCMAKE_BUILD_RPATH='$ORIGIN/lib' -DKML_TESTS=OFF -DKML_FUZZING_ENGINE="$LIB_FUZZING_ENGINE" \
	-DKML_FUZZING_FEEDBACK="$feedback"
cmake --build "$WORK/kmemlab" --target kmemlab-fuzz

program="$WORK/kmemlab/kmemlab-fuzz"
export KMEMLAB_SOURCE="$source"
# The image that runs fuzzers has the C library and no more.
ldd "$program" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | while read -r library; do
	case "$(basename "$library")" in
	libc.so* | libm.so* | libdl.so* | libpthread.so* | librt.so* | libgcc_s.so* | libresolv.so*) ;;
	*) cp -L "$library" "$OUT/lib/" ;;
	esac
done
cp "$program" "$OUT/.kmemlab-fuzz"
"$program" --list | while IFS=$'\t' read -r target kind _; do
	[ "$kind" != canary ] || continue # it is found every time: for fuzz/smoke.py alone
	ln -f "$OUT/.kmemlab-fuzz" "$OUT/$target"
	seeds="$WORK/seeds/$target"
	rm -rf "$seeds"
	KML_FUZZ_TARGET="$target" "$program" --write-seeds "$seeds"
	rm -f "$OUT/${target}_seed_corpus.zip"
	python3 -c 'import shutil, sys; shutil.make_archive(sys.argv[1], "zip", sys.argv[2])' "$OUT/${target}_seed_corpus" "$seeds"
	length=4096
	[ "$kind" = parser ] || length=800
	printf '[libfuzzer]\nmax_len = %s\n' "$length" >"$OUT/$target.options"
	dictionary="$source/fuzz/dictionaries/$target.dict"
	if [ -s "$dictionary" ]; then
		cp "$dictionary" "$OUT/$target.dict"
		printf 'dict = %s.dict\n' "$target" >>"$OUT/$target.options"
	fi
done
rm "$OUT/.kmemlab-fuzz"
