# Enters the root $1 as if it were the whole machine (mounts, processes and host name are its own, the network
# is this machine's) and runs the other arguments there, each a command, in the directory /src.
# It runs in a mount, pid, ipc and uts namespace of its own.

root=$1
shift
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
for dir in sys dev; do
    mount --rbind "/$dir" "$dir"
done
mount -t tmpfs -o mode=1777 tmp tmp
# From where and in which way this machine reaches its mirrors.
for dir in etc/apt etc/ssl; do
    mount --bind -o ro "/$dir" "$dir"
done
cat /etc/resolv.conf > etc/resolv.conf
cat /etc/hosts > etc/hosts
mount --bind "$RUST" opt/rust
mount --bind "$CRATES" root/.cargo
mount --bind "$TARGET" src/target
mkdir -p old
pivot_root . old
umount -l old
rmdir old
cd /src
export HOME=/root PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
unset CARGO_HOME CARGO CARGO_TARGET_DIR RUSTUP_TOOLCHAIN RUSTUP_HOME LD_LIBRARY_PATH
for command; do
    echo "=== $command" >&2
    begin=$(date +%s)
    $command || { echo "=== $command: failed with $?"; exit 1; }
    echo "=== $command: ok, $(($(date +%s) - begin)) s"
done
