# shellcheck shell=bash disable=SC2034 # the lists are used by the scripts that source this
# setup.sh - sourced by reproduce.sh and test.sh: what the project needs on a bare Debian 12.
# Installs what is missing, as root or through sudo, and says what it installs. Does nothing when all is there.

build_packages="gcc libc6-dev cmake ninja-build pkg-config git ca-certificates zlib1g-dev libzstd-dev libxxhash-dev libcjson-dev
 libcmocka-dev libtracefs-dev libtraceevent-dev libtracecmd-dev libminizip-dev gnuplot-nox python3 python3-numpy python3-pandas python3-matplotlib"
test_packages="clang clang-format clang-tidy libclang-rt-14-dev llvm lld afl++ gcovr python3-pytest babeltrace2 zstd procps util-linux"

# install_packages PACKAGE...: those that are missing.
install_packages() {
	missing=""
	for package in "$@"; do
		case "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" in
		*" installed") ;;
		*) missing="$missing $package" ;;
		esac
	done
	[ -n "$missing" ] || return 0
	as_root=""
	if [ "$(id -u)" != 0 ]; then
		if ! command -v sudo >/dev/null; then
			echo "These Debian packages are missing:$missing" >&2
			echo "Install them as root (apt-get install$missing) and start again: there is no sudo here." >&2
			exit 2
		fi
		as_root="sudo"
	fi
	echo "Installing Debian packages:$missing"
	if ! { $as_root apt-get update -qq &&
		$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >"${TMPDIR:-/tmp}/kmemlab-apt.log" 2>&1; then
		tail -n 20 "${TMPDIR:-/tmp}/kmemlab-apt.log" >&2
		echo "The installation failed: its log is ${TMPDIR:-/tmp}/kmemlab-apt.log" >&2
		exit 2
	fi
}

# build_preset PRESET [TARGET...]: configure once, build what changed.
build_preset() {
	preset="$1"
	shift
	folder=build
	[ "$preset" = release ] || folder="build/$preset"
	log="build/log-$preset.txt"
	mkdir -p build
	if [ ! -f "$folder/build.ninja" ] && ! cmake --preset "$preset" >"$log" 2>&1; then
		tail -n 30 "$log" >&2
		echo "cmake --preset $preset failed: the whole log is $log" >&2
		exit 2
	fi
	if ! cmake --build --preset "$preset" --target "${@:-all}" >"$log" 2>&1; then
		grep -E -A 12 'error|FAILED' "$log" | head -n 60 >&2
		echo "Building '$preset' failed: the whole log is $log" >&2
		exit 2
	fi
}
