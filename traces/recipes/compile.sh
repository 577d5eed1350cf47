#!/bin/sh
# Workload: a compiler run. Writes small C files, compiles each in its own process, two at a time, links and runs them.
# Allocates much page memory that lives as long as its process, and the objects of short-lived processes.
set -eu
files=${1:-12}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

main=main.c
echo 'int main(void) { int sum = 0;' >"$main"
i=0
while [ $i -lt "$files" ]; do
	{
		echo '#include <stdio.h>'
		echo '#include <stdlib.h>'
		echo '#include <string.h>'
		echo "struct node_$i { struct node_$i *next; int key; char text[$((i * 8 + 8))]; };"
		echo "int work_$i(int n) { struct node_$i *list = NULL; int sum = 0;"
		echo "  for (int k = 0; k < n; k++) { struct node_$i *node = calloc(1, sizeof *node);"
		echo "    if (!node) abort(); node->key = k * $i; snprintf(node->text, sizeof node->text, \"%d\", k); node->next = list; list = node; }"
		echo "  while (list) { struct node_$i *next = list->next; sum += list->key + (int)strlen(list->text); free(list); list = next; }"
		echo '  return sum; }'
	} >"part_$i.c"
	echo "extern int work_$i(int); sum += work_$i(100);" >>"$main"
	i=$((i + 1))
done
echo 'return sum == 0; }' >>"$main"

printf '%s\n' ./*.c | xargs -P 2 -n 1 cc -O1 -w -c
cc ./*.o -o program
./program
