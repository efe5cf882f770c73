#!/bin/sh
# Without a storage.conf podman makes overlays below /var/lib/containers.
[ -e /etc/containers/storage.conf ] && exit 0
dir=/var/lib/containers
[ -d "$dir" ] || dir=/var/lib
[ "$(stat -f -c %T "$dir")" = overlayfs ] || exit 0
echo "$dir is on an overlay, and podman's own overlays cannot lie on it: write [storage] with driver = \"vfs\", runroot = \"/run/containers/storage\" and graphroot = \"/var/lib/containers/storage\" into /etc/containers/storage.conf, or ask the admin of the host for a private /var." >&2
exit 1
