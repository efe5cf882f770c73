#!/bin/sh
# Runs the programs of one stage after the other, with a reboot of the machine between two stages. Programs named
# native-… get mount and network namespaces of their own, those named vm-… are about this machine itself.
export TENANTRY_TEST_BIN=/payload/bin TENANTRY_TEST_IMAGES=/payload/images TENANTRY_TEST_TMP=/payload/tmp
export TENANTRY_TEST_TENANTS=5 RUST_BACKTRACE=1

say() { echo "payload: $*" > /dev/ttyS0; }

notes=/var/lib/payload
mkdir -p $notes
stage=1
while [ -e $notes/ended-$stage ]; do stage=$((stage + 1)); done
# A machine that came back by itself has panicked.
[ ! -e $notes/begun-$stage ] || { say "the machine went down in stage $stage"; exit 1; }
touch $notes/begun-$stage
sync

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
    101) touch $notes/failed ;;
    *) touch $notes/failed; say "$program ended with $code"; break ;;
    esac
done < /payload/stage-$stage
touch $notes/ended-$stage
if [ -e /payload/stage-$((stage + 1)) ]; then
    touch /run/again
    systemctl reboot --no-block
    exit
fi
[ ! -e $notes/failed ] || journalctl --no-pager -o short-precise > /dev/ttyS2
say 'every program has run'
