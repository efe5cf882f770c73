#!/bin/sh
# Run by apt and dpkg before they change anything, where /usr or the package database is read-only.
case ${APT_HOOK_SOCKET-} in
[0-9])
    # The protocol of apt's hooks. Only a change of packages is refused.
    read -r _ <&"$APT_HOOK_SOCKET"
    read -r _ <&"$APT_HOOK_SOCKET"
    printf '{"jsonrpc":"2.0","id":0,"result":{"version":"0.2"}}\n\n' >&"$APT_HOOK_SOCKET"
    read -r call <&"$APT_HOOK_SOCKET"
    case $call in
    # A package is not known: the lists were never fetched. It could not be installed if it were.
    *install.fail*'"unknown-packages":["'*) ;;
    *'"packages":[]'*) exit 0 ;;
    *install.pre-prompt*) ;;
    *) exit 0 ;;
    esac
    # A simulation or a download is not refused: see the options of apt, which is the parent or grandparent.
    read -r _ _ _ above _ < /proc/$PPID/stat
    for process in "$PPID" "$above"; do
        tr '\0' '\n' < "/proc/$process/cmdline" |
            grep -Eqx -e '-[A-Za-z]*[ds][A-Za-z]*|--(simulate|just-print|dry-run|recon|no-act|download-only)' &&
            exit 0
    done
    ;;
esac
cat >&2 << 'END'
error: cannot install, upgrade or remove packages here: the packages of this system belong to its base image, which it shares with other tenants
help: the administrator of the host changes them: rootfsctl update for newer versions, rootfsctl build debian --include PACKAGE for another package; or a tenant with a system of its own: tenantctl create NAME --profile os
END
exit 1
