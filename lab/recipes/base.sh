#!/bin/sh
# Runs in a fresh debootstrap tree (chroot): what every image of the lab wants from it.
set -eu

# dpkg: no fsync for every file, no documentation in images.
cat >/etc/dpkg/dpkg.cfg.d/lab <<'CONF'
force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/info/*
CONF
cat >/etc/apt/apt.conf.d/lab <<'CONF'
APT::Install-Recommends "false";
APT::Update::Error-Mode "any";
Acquire::Retries "5";
Acquire::Languages "none";
Dpkg::Use-Pty "false";
CONF
# No service may start while a package is being installed.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d

apt-get clean
rm -rf /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/* /usr/share/info/* /var/log/*.log
