#!/bin/sh
# The generators for /etc/fstab and for init scripts are masked, because each takes 10 ms of every boot. This one
# runs them if they have something to read. Without their mask systemd runs them directly.
masks=/etc/systemd/system-generators
generators=/usr/lib/systemd/system-generators

has_mounts() {
    [ -r /etc/fstab ] || return 1
    while read -r first _ || [ -n "$first" ]; do
        case $first in '' | '#'*) ;; *) return 0 ;; esac
    done < /etc/fstab
    return 1
}

has_scripts() {
    for script in /etc/init.d/*; do
        [ -f "$script" ] && [ -x "$script" ] || continue
        name=${script##*/}
        name=${name%.sh}
        case $name in rc | rcS | functions | skeleton) continue ;; esac
        for place in /etc /run /usr/local/lib /usr/lib; do
            unit=$place/systemd/system/$name.service
            if [ -e "$unit" ] || [ -L "$unit" ]; then continue 2; fi
        done
        return 0
    done
    return 1
}

run() {
    if [ -L "$masks/$1" ] && [ -x "$generators/$1" ]; then "$generators/$@"; fi
}

if has_mounts; then run systemd-fstab-generator "$@"; fi
if has_scripts; then run systemd-sysv-generator "$@"; fi
