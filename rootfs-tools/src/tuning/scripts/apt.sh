#!/bin/sh
# Before apt and apt-get: where the package database belongs to the base image, they could not lock it, and would say that
# instead of what to do. Without locks they get to their hooks, which refuse each change in plain words; nothing can change
# what they read. See /etc/apt/apt.conf.d/50-tenantry.
real=/usr/bin/${0##*/}
if [ -w /usr ] || [ -w /var/lib/dpkg ] || [ "$(id -u)" != 0 ]; then
    exec "$real" "$@"
fi
for word; do
    case $word in
    # What they change is not the package database, and is locked.
    update | clean | autoclean | auto-clean | distclean) exec "$real" "$@" ;;
    esac
done
exec "$real" -o Debug::NoLocking=true "$@"
