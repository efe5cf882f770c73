#!/bin/sh
# Runs the programs of one stage, which the kernel's command line names, one after the other; then the machine is
# rebooted, or powered off after the last stage. Programs named native-… get mount and network namespaces of their own,
# those named vm-… are about this machine itself.
export TENANTRY_TEST_BIN=/payload/bin TENANTRY_TEST_IMAGES=/payload/images TENANTRY_TEST_TMP=/payload/tmp
export TENANTRY_TEST_TENANTS=5 RUST_BACKTRACE=1

say() { echo "payload: $*" > /dev/ttyS0; }

stage=$(sed -n 's/.*payload[.]stage=\([0-9]*\).*/\1/p' /proc/cmdline)
failed=
while read -r program only; do
    echo "$program"
    case $program in
    native-*)
        # shellcheck disable=SC2086
        unshare --mount --net --propagation private sh -c 'ip link set lo up; exec "$@"' sh \
            /payload/tests/$program --test-threads=2 $only
        ;;
    # shellcheck disable=SC2086
    *) /payload/tests/$program --test-threads=1 $only ;;
    esac < /dev/null
    code=$?
    # 101 is that of libtest when a test failed: it has said so.
    case $code in
    0) ;;
    101) failed=yes ;;
    *) failed=yes; say "$program ended with $code"; break ;;
    esac
done < /payload/stage-$stage
[ -z "$failed" ] || journalctl --no-pager -o short-precise > /dev/ttyS2
# A program that was cut short has left the rest undone.
[ "${code:-0}" -eq 0 ] || [ "${code:-0}" -eq 101 ] || exit 1
say "stage $stage has run"
if [ -e /payload/stage-$((stage + 1)) ]; then
    touch /run/again
    systemctl reboot --no-block
fi
