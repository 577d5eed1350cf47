#!/bin/sh
# slabinfo-series.sh [SECONDS [INTERVAL]] - /proc/slabinfo again and again, on standard output: what cron would collect.
# As root: sh slabinfo-series.sh 300 5 | zstd -19 >busy.slabinfo.zst
seconds=${1:-300}
interval=${2:-5}
end=$(($(date +%s) + seconds))
while now=$(date +%s) && [ "$now" -le "$end" ]; do
	echo "time: $now"
	cat /proc/slabinfo || exit 1
	sleep "$interval"
done
