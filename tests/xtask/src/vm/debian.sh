# Makes root.img, and vmlinuz-VERSION and initrd-VERSION of two kernels, in the current directory: a Debian 12
# whose one service runs what is on the second disk, and then powers off.

{
    echo "deb $debian bookworm main"
    echo "deb $debian bookworm-backports main"
    [ -z "$security" ] || echo "deb $security bookworm-security main"
} > sources

# The kernels alone: their packages would have an initial ramdisk made that nobody needs.
cat > kernels <<'EOF'
#!/bin/sh
set -eu
versions=$(chroot "$1" apt-cache show --all-versions linux-image-cloud-amd64 |
    sed -n 's/^Depends: linux-image-\([^ ]*\).*/\1/p' | sort -uV)
for series in 6.1 6.12; do
    version=$(echo "$versions" | grep "^$series[.]" | tail -n 1)
    chroot "$1" sh -c "cd /tmp && apt-get download -qq linux-image-$version"
    dpkg-deb --fsys-tarfile "$1"/tmp/linux-image-*.deb |
        tar -x -C "$1" --keep-directory-symlink --exclude='./boot/System.map*' --exclude='./usr/share'
    rm "$1"/tmp/linux-image-*.deb
    chroot "$1" depmod "$version"
done
rm -r "$1"/var/lib/apt/lists/*
EOF
chmod +x kernels

mmdebstrap --quiet --variant=minbase --skip=cleanup/apt/lists --format=directory \
    --include=systemd-sysv,dbus,libpam-systemd,udev,kmod,nftables,iproute2,busybox-static,util-linux \
    --include=e2fsprogs,erofs-utils,procps,systemd-container,polkitd,mmdebstrap,xfsprogs,btrfs-progs,cryptsetup-bin,apparmor \
    --customize-hook=./kernels bookworm root sources

cat > root/etc/systemd/system/payload.service <<'EOF'
[Unit]
Description=What is on the second disk
After=network.target dbus.service
RequiresMountsFor=/var/lib/tenantry/images

[Service]
Type=oneshot
Delegate=yes
ExecStartPre=/bin/stty -F /dev/ttyS1 raw
ExecStart=/payload/run
ExecStopPost=/bin/sh -c '[ -e /run/again ] || systemctl poweroff --no-block'
StandardOutput=file:/dev/ttyS1
StandardError=inherit
TimeoutStartSec=infinity
EOF
mkdir -p root/etc/systemd/system/multi-user.target.wants
ln -s ../payload.service root/etc/systemd/system/multi-user.target.wants/
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer; do
    ln -sf /dev/null "root/etc/systemd/system/$unit"
done
# The images are where the package looks for them, without being copied.
images=/var/lib/tenantry/images
mkdir -p root/payload root$images
chmod 700 root$images
{
    echo '/dev/vda / ext4 rw 0 1'
    echo '/dev/vdb /payload ext4 rw 0 0'
    echo "/payload/images$images $images none bind,x-systemd.requires-mounts-for=/payload 0 0"
} > root/etc/fstab
: > root/etc/machine-id
# The journal outlives the reboot of the machine.
mkdir -p root/var/log/journal
printf '%s\n' overlay veth bridge macvlan 8021q nf_tables loop erofs > root/etc/modules-load.d/payload.conf

for kernel in root/boot/vmlinuz-*; do
    version=${kernel#root/boot/vmlinuz-}
    mv "$kernel" .
    mkdir -p ramdisk/bin ramdisk/dev ramdisk/mnt ramdisk/modules
    cp root/usr/bin/busybox ramdisk/bin/
    # What this kernel needs to see its disk, in the order in which it can be loaded.
    for wanted in virtio_pci virtio_blk ext4; do
        chroot root modprobe --show-depends --set-version "$version" "$wanted"
    done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' > needed
    number=100
    while read -r module; do
        name=ramdisk/modules/$number-$(basename "$module" .xz)
        case $module in
        *.xz) xz -dc "root$module" > "$name" ;;
        *) cp "root$module" "$name" ;;
        esac
        number=$((number + 1))
    done < needed
    rm needed
    cat > ramdisk/init <<'EOF'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do /bin/busybox insmod "$module"; done
for second in 1 2 3 4 5 6 7 8 9; do [ -b /dev/vda ] || /bin/busybox sleep 1; done
# A process 1 that ends is a kernel that panics, and that ends the machine.
/bin/busybox mount -t ext4 /dev/vda /mnt && exec /bin/busybox switch_root /mnt /sbin/init
EOF
    chmod +x ramdisk/init
    (cd ramdisk && find . | cpio --quiet -o -H newc | gzip -1) > "initrd-$version"
    rm -r ramdisk
done

truncate -s 4G root.img
mkfs.ext4 -q -F -O ^has_journal -d root root.img
rm -r root sources kernels
