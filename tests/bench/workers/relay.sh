#!/bin/sh
# A script that sends every line to all others.
echo "join bench" >&3
while IFS= read -r line; do
	printf 'broadcast_to_others bench %s\n' "$line" >&3
done
