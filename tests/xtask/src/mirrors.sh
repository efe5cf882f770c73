# Sourced: mirror SUITE prints from where this machine has the packages of a suite of Debian.

PATH=$PATH:/usr/sbin:/sbin
mirror() {
    apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' | sed -n "s/^$1 //p" | head -n 1
}
debian=$(mirror bookworm)
security=$(mirror bookworm-security)
[ -n "$debian" ] || { echo "this machine's apt has no mirror of Debian 12 (bookworm)" >&2; exit 1; }
