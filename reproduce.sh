#!/usr/bin/env bash
# reproduce.sh - the main job in one command: set up, build, replay every shipped trace on every allocator,
# draw the figures and print the summary. Options are those of `kmemlab run` (see build/kmemlab run --help).
set -eu
cd "$(dirname "$0")"
. kmemlab/setup.sh

# shellcheck disable=SC2086
install_packages $build_packages
build_preset release kmemlab
exec build/kmemlab run --level all,pages "$@"
