#!/bin/bash
# What the package promises, on a Debian with systemd as PID 1 where it is installed already. Run as root; prints
# `ok NAME` or `FAIL NAME: …` for each promise, and ends with 1 if one was broken. It removes and purges the package.
#
#   package.sh INSTALLED NEWER      the package that is installed, and one with a higher version
#
# An image "busybox" must be in /var/lib/tenantry/images.
set -u
installed=$1 newer=$2
failed=0

# promise NAME COMMAND…: the command tells whether it is kept.
promise() {
    local name=$1 said
    shift
    if said=$("$@" 2>&1); then
        echo "ok $name"
    else
        echo "FAIL $name: $(echo "$said" | tail -n 5 | tr '\n' ';')"
        failed=1
    fi
}

# within SECONDS COMMAND…: polls.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        if [ $SECONDS -ge $end ]; then
            echo "not in time: $*"
            return 1
        fi
        sleep 0.2
    done
}

no_supervisor_runs() { ! pgrep -x tenant >/dev/null; }
property() { systemctl show --property "$2" --value "$1"; }
supervisor() { property "tenant@$1" MainPID; }
# Processes of a tenant besides its supervisor: its own init and what that started.
processes() { cat "/sys/fs/cgroup$(property "tenant@$1" ControlGroup)"/payload/cgroup.procs | sort -n | head -n 1; }
is() { [ "$(property "$1" "$2")" = "$3" ] || { echo "$1: $2 is $(property "$1" "$2"), not $3"; return 1; }; }
enabled() { [ "$(systemctl is-enabled "$1")" = enabled ] || { echo "$1 is $(systemctl is-enabled "$1")"; return 1; }; }
status() { dpkg-query --show --showformat '${db:Status-Status} ${Version}' tenantry; }
names() { "$1" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\) .*/\1/p' | grep -vx help; }

installs_hostd_enabled_and_running() {
    is hostd.service ActiveState active && is hostd.socket ActiveState active || return
    is tenants.target ActiveState active || return
    enabled hostd.service && enabled hostd.socket && enabled tenants.target || return
    within 20 tenantctl list && getent group tenantry
}

ships_units_without_faults() {
    local said
    said=$(systemd-analyze verify --man=no hostd.service hostd.socket tenants.slice tenants.target tenant@x.service 2>&1)
    [ -z "$said" ] || { echo "$said"; return 1; }
}

has_a_page_for_every_command() {
    local program name count=0
    for program in tenantctl rootfsctl; do
        for name in $(names $program); do
            count=$((count + 1))
            [ -s "/usr/share/man/man1/$program-$name.1.gz" ] || { echo "no $program-$name(1)"; return 1; }
        done
    done
    [ $count -gt 25 ] || { echo "only $count commands found"; return 1; }
    for name in man8/hostd.8 man8/tenant.8 man8/tenant@.service.8 man5/tenant.toml.5 man5/hostd.toml.5 \
        man5/ports.toml.5 man5/profile.toml.5 man1/tenantctl.1 man1/rootfsctl.1; do
        zcat "/usr/share/man/$name.gz" | grep -q '^\.TH' || { echo "no $name"; return 1; }
    done
}

has_completions() {
    local program
    for program in tenantctl rootfsctl; do
        bash -n "/usr/share/bash-completion/completions/$program" || return
        [ -s "/usr/share/zsh/vendor-completions/_$program" ] || return
        [ -s "/usr/share/fish/vendor_completions.d/$program.fish" ] || return
    done
}

has_the_commands_of_lxc() { PATH=/usr/libexec/tenantry/lxc:$PATH lxc-ls; }

has_a_settings_file_that_is_read() {
    within 20 tenantctl doctor --json || [ $? -le 1 ] || return
    ! tenantctl doctor 2>&1 | grep hostd.toml
}

knows_its_messages() {
    local file=/usr/lib/systemd/catalog/tenantry.catalog id
    [ -e $file ] || return 0
    id=$(sed -n 's/^-- \([0-9a-f]\{32\}\)$/\1/p' $file | head -n 1)
    journalctl --dump-catalog "$id" | grep -q Subject
}

starts_a_tenant() {
    tenantctl create one two three --image busybox || return
    timeout 60 systemctl enable --now tenant@one && timeout 60 systemctl start tenant@two || return
    systemctl enable tenant@three || return
    [ "$(tenantctl exec one -- hostname)" = one ]
}

# As a person of the group "tenantry" who is nobody else.
carla() { runuser -u carla -- "$@"; }

lets_operators_start_and_stop_tenants() {
    command -v pkaction >/dev/null || return
    getent passwd carla >/dev/null || useradd --groups tenantry carla || return
    carla tenantctl list || return
    carla timeout 60 systemctl --no-ask-password stop tenant@two && is tenant@two MainPID 0 || return
    carla timeout 60 systemctl --no-ask-password reset-failed tenant@two || true
    carla timeout 60 systemctl --no-ask-password start tenant@two && is tenant@two ActiveState active || return
    ! carla timeout 60 systemctl --no-ask-password stop hostd.service || return
    ! carla timeout 60 systemctl --no-ask-password stop tenants.target || return
    ! carla timeout 60 systemctl --no-ask-password enable tenant@two || return
    is hostd.service ActiveState active && is tenants.target ActiveState active
}

# Everything that an upgrade must leave alone, as text.
tenants_as_they_are() {
    local name
    for name in one two; do
        echo "$name $(supervisor $name) $(processes $name) $(property tenant@$name ActiveEnterTimestampMonotonic)"
    done
    property tenant@three ActiveState
    property tenant@one NRestarts
    systemctl is-enabled tenant@one tenant@two tenant@three tenants.target hostd.service
    md5sum /etc/tenantry/hostd.toml
}

upgrade_disturbs_no_tenant() {
    local before hostd
    echo '# mine' >> /etc/tenantry/hostd.toml
    before=$(tenants_as_they_are) hostd=$(property hostd.service MainPID)
    dpkg -i "$newer" || return
    [ "$before" = "$(tenants_as_they_are)" ] || { echo "$before"; tenants_as_they_are; return 1; }
    [ "$(property hostd.service MainPID)" != "$hostd" ] || { echo "hostd was not restarted"; return 1; }
    is hostd.service ActiveState active && within 20 tenantctl list || return
    [ "$(tenantctl exec two -- hostname)" = two ]
}

upgrade_leaves_disabled_what_was_disabled() {
    systemctl disable tenants.target && dpkg -i "$newer" || return
    is tenants.target UnitFileState disabled || return
    systemctl enable tenants.target
}

removal_is_refused_while_tenants_run() {
    local before said
    before=$(tenants_as_they_are; property hostd.service MainPID)
    if said=$(dpkg --remove tenantry 2>&1); then echo "it was removed"; return 1; fi
    echo "$said"
    echo "$said" | grep -qx '    one' && echo "$said" | grep -qx '    two' || return
    echo "$said" | grep -q 'tenantctl stop --all' || return
    [ "$before" = "$(tenants_as_they_are; property hostd.service MainPID)" ] || return
    [[ $(status) = installed* ]] || { status; return 1; }
}

removal_leaves_tenants_and_settings() {
    timeout 60 systemctl stop tenant@one tenant@two
    dpkg --remove tenantry || return
    ! systemctl is-active hostd.service && ! systemctl is-active hostd.socket || return
    [ ! -e /usr/bin/tenantctl ] && [ ! -e /lib/systemd/system/tenant@.service ] || return
    [ -e /etc/tenantry/tenants/one.toml ] && [ -d /var/lib/tenantry/tenants/one ] || return
    grep -q '# mine' /etc/tenantry/hostd.toml
}

installed_again_it_has_its_tenants() {
    dpkg -i "$newer" && within 20 tenantctl show one || return
    within 60 systemctl is-active --quiet tenant@one || return
    within 60 systemctl is-active --quiet tenant@three || return
    is tenant@two ActiveState inactive || is tenant@two ActiveState failed
}

forced_removal_stops_tenants_in_order() {
    local said
    said=$(TENANTRY_REMOVE=force timeout 120 dpkg --remove tenantry 2>&1) || { echo "$said"; return 1; }
    ! pgrep -x tenant || return
    [ -e /etc/tenantry/tenants/one.toml ] && [ -d /var/lib/tenantry/tenants/one ]
}

purge_leaves_tenants_and_says_so() {
    local said
    said=$(dpkg --purge tenantry 2>&1) || { echo "$said"; return 1; }
    echo "$said"
    echo "$said" | grep -q '/var/lib/tenantry is left' || return
    [ ! -e /etc/tenantry/hostd.toml ] && [ ! -e /var/cache/tenantry ] || return
    [ -e /etc/tenantry/tenants/one.toml ] && [ -d /var/lib/tenantry/tenants/one ] || return
    [ ! -e /etc/systemd/system/multi-user.target.wants/hostd.service ]
}

purge_without_tenants_leaves_nothing() {
    local left
    dpkg -i "$newer" && within 20 tenantctl list || return
    # The target is stopped before its tenants are: this comes back earlier than they end.
    timeout 60 systemctl stop tenants.target && within 60 no_supervisor_runs || return
    timeout 120 tenantctl destroy --all --force --yes || return
    rm -rf /var/lib/tenantry/images/*
    rm -rf /var/lib/tenantry/images/.[!.]*
    dpkg --purge tenantry || return
    left=$(find /etc /usr /var/lib/tenantry /run/tenantry -path '*tenantry*' ! -path '/var/lib/dpkg/*' 2>/dev/null)
    left+=$(find /etc/systemd -name '*tenant*' ! -path '*/system.control/*' 2>/dev/null)
    # Of the group there may be files; and of /run the next boot takes care.
    left=$(echo "$left" | grep -v '^/run/tenantry' | grep -v '^$')
    [ -z "$left" ] || { echo "left: $left"; return 1; }
    ! nft list tables | grep tenantry
}

older_comes_back() { dpkg -i "$installed" && within 20 tenantctl list; }

for name in installs_hostd_enabled_and_running ships_units_without_faults has_a_page_for_every_command has_completions \
    has_the_commands_of_lxc has_a_settings_file_that_is_read knows_its_messages starts_a_tenant \
    lets_operators_start_and_stop_tenants upgrade_disturbs_no_tenant upgrade_leaves_disabled_what_was_disabled removal_is_refused_while_tenants_run \
    removal_leaves_tenants_and_settings installed_again_it_has_its_tenants forced_removal_stops_tenants_in_order \
    purge_leaves_tenants_and_says_so purge_without_tenants_leaves_nothing older_comes_back; do
    promise $name $name
done
exit $failed
