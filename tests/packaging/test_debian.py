"""As a new operator would: DEORA on a clean Debian system, under a real systemd."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.debian import Debian, lacking, make_root

pytestmark = pytest.mark.torture

INSTALLER = "/srv/deora-*/install-service.sh"
LEFT = "find / -xdev -path /proc -prune -o -path /srv -prune -o -iname '*deora*' -print"
# Shell: the main process; a wait for readiness; a clock in milliseconds.
TOOLS = """
main() { systemctl show --property=MainPID --value deora-backend; }
ready() { until curl -sf -m 20 localhost:3000/health/ready >/dev/null; do sleep 0.02; done; }
ms() { echo $(($(date +%s%N) / 1000000)); }
"""


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root folder of a Debian that nobody has touched."""
    reason = lacking()
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("debian") / "clean"
    reason = make_root(folder)
    if reason is not None:
        pytest.skip(reason)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def box(clean: Path, bundle: Path, tmp_path: Path) -> Iterator[Debian]:
    """A new system that runs, with the tar.gz unpacked and the package in /srv."""
    root = tmp_path / "box"
    subprocess.run(["cp", "-a", clean, root], check=True)
    [archive] = bundle.glob("deora-*-linux-*.tar.gz")
    [package] = bundle.glob("deora_*.deb")
    subprocess.run(["tar", "-C", root / "srv", "-xzf", archive], check=True)
    shutil.copy(package, root / "srv" / "deora.deb")
    try:
        with Debian(root, tmp_path / "boot.log") as running:
            yield running
    finally:
        shutil.rmtree(root)


def test_install_start_and_look(box: Debian) -> None:
    said = box.run(INSTALLER)
    assert "next: look through /etc/deora, then  systemctl start deora-backend" in said
    modes = box.run("stat -c '%U:%G %a %n' /etc/deora /etc/deora/* /var/lib/deora /var/log/deora").splitlines()
    assert "root:deora 750 /etc/deora" in modes
    assert "root:root 700 /etc/deora/credentials" in modes
    assert "root:deora 640 /etc/deora/security.json" in modes
    assert "deora:deora 700 /var/lib/deora" in modes
    assert "deora:deora 750 /var/log/deora" in modes
    took_s = []
    for _ in range(3):
        started = f"{TOOLS} a=$(ms); systemctl start deora-backend; ready; echo $(($(ms) - a))"
        took_s.append(int(box.run(started)) / 1000)
        shown = box.run("systemctl status deora-backend")
        assert 'workers up; 0 entries wait for upstream"' in shown
        box.run("systemctl stop deora-backend")
    print(f"\nsystemctl start to ready: {sorted(took_s)} s")
    assert min(took_s) < 3
    # A stop leaves nothing: no process, no socket, and no start after it.
    assert box.run("systemctl is-active deora-backend", check=False).strip() == "inactive"
    assert box.run("ps -eo user,args | grep ^deora", check=False) == ""
    box.run("test ! -e /run/deora")
    assert box.run("systemctl is-enabled deora-backend").strip() == "enabled"


def test_the_queue_is_shown_and_credentials_are_handed_over(box: Debian) -> None:
    box.run(f"{INSTALLER}; echo secret >/etc/deora/credentials/key.json; chmod 600 /etc/deora/credentials/key.json")
    box.run("systemctl start deora-backend; deora upstream pause primary")
    box.run("curl -sf -X PUT localhost:3000/v1/documents/a/b -H 'Content-Type: application/json' -d '{}'")
    box.run(
        "until systemctl status deora-backend | grep -q '; 1 entries wait for upstream (paused)'; do sleep 0.1; done"
    )
    assert "paused" in box.run("deora status")
    as_it_sees = "nsenter -t $(main) -m setpriv --reuid deora --clear-groups cat /run/credentials/deora-backend.service"
    assert box.run(f"{TOOLS} {as_it_sees}/deora_key.json") == "secret\n"
    # The tills' tokens are the operator's to make, and the service's to read.
    box.run("deora token add till-1 --scope write >/dev/null; systemctl reload deora-backend")
    assert "till-1" in box.run("setpriv --reuid deora --regid deora --clear-groups cat /etc/deora/security.json")
    assert box.run("curl -s -o /dev/null -w '%{http_code}' localhost:3000/v1/documents/a/b") == "401"


def test_whatever_kills_it_it_comes_back(box: Debian) -> None:
    box.run(f"{INSTALLER}; systemctl start deora-backend")
    box.run("curl -sf -X PUT localhost:3000/v1/documents/a/b -H 'Content-Type: application/json' -d '{\"n\": 1}'")
    # A loop that hangs: systemd hears nothing for WatchdogSec.
    box.run(TOOLS + "a=$(main); kill -STOP $a; until [ $(main) != $a ]; do sleep 0.1; done; ready")
    assert "Watchdog timeout (limit 30s)!" in box.run("journalctl -u deora-backend")
    seconds = box.run(
        TOOLS
        + """
        began=$(ms); crashes=0; last=0
        while [ $crashes -lt 100 ]; do
            pid=$(main)
            if [ $pid != 0 ] && [ $pid != $last ] && kill -9 $pid 2>/dev/null; then
                last=$pid; crashes=$((crashes + 1))
            fi
            sleep 0.05
        done
        ready; echo $((($(ms) - began) / 1000))
        """
    )
    print(f"\n100 crashes, and ready, in {seconds.strip()} s")
    assert float(seconds) < 300
    assert box.run("systemctl is-active deora-backend").strip() == "active"
    assert int(box.run("systemctl show -p NRestarts --value deora-backend")) >= 101
    assert '"n":1' in box.run("curl -sf localhost:3000/v1/documents/a/b")


def test_reload_and_new_installations_keep_the_process(box: Debian) -> None:
    box.run(f"{INSTALLER}; systemctl start deora-backend")
    pid = box.run(TOOLS + "main")
    box.run("systemctl reload deora-backend")
    assert "becomes what was installed" in box.run(INSTALLER)
    assert box.run(TOOLS + "ready; main") == pid
    # It is the new program, and the old one is gone.
    assert box.run(TOOLS + "readlink /proc/$(main)/exe; ls /opt/deora").split() == [
        "/opt/deora/2/deora",
        "2",
        "program",
    ]
    wrong = box.run("echo '{\"prot\": 1}' >/etc/deora/servers.json; systemctl reload deora-backend", check=False)
    assert "failed" in wrong
    refused = box.run(INSTALLER, check=False)
    assert "prot" in refused
    assert "it goes on as it was" in refused
    assert box.run(TOOLS + "ready; main; ls /opt/deora").split() == [pid.strip(), "2", "program"]


def test_a_socket_that_systemd_holds_refuses_nobody(box: Debian) -> None:
    box.run(f"{INSTALLER} --socket; systemctl start deora-backend")
    said = box.run(
        TOOLS
        + """
        visit() { curl -s -m 30 -o /dev/null -w '%{http_code}\\n' localhost:3000/v1/documents/a; }
        (for i in $(seq 150); do visit || true; done) >/srv/seen &
        for i in 1 2 3; do systemctl restart deora-backend; done
        wait; sort /srv/seen | uniq -c
        """
    )
    assert said.split() == ["150", "200"], said
    assert box.run("systemctl is-active deora-backend.socket").strip() == "active"


def test_an_uninstallation_leaves_nothing_but_what_is_the_operators(box: Debian) -> None:
    before = box.run(LEFT)
    assert before == ""
    box.run(f"{INSTALLER} --socket; systemctl start deora-backend; deora status")
    said = box.run(f"{INSTALLER} --uninstall")
    assert "kept: /etc/deora" in said
    assert sorted(box.run(LEFT).split()) == [
        "/etc/deora",
        "/var/lib/deora",
        "/var/lib/deora/deora.lock",
        "/var/log/deora",
    ]
    assert box.run("ps -eo user,args | grep ^deora", check=False) == ""
    assert "0 loaded units" in box.run("systemctl list-units --all 'deora*'")
    # And what is there again is as it was.
    box.run(f"{INSTALLER}; systemctl start deora-backend")


def test_the_debian_package(box: Debian) -> None:
    box.run("dpkg -i /srv/deora.deb")
    pid = box.run(TOOLS + "ready; main")
    assert "healthy" in box.run("deora status")
    # An upgrade by apt is one in place.
    box.run("dpkg -i /srv/deora.deb")
    assert box.run(TOOLS + "ready; main; readlink /proc/$(main)/exe").split() == [pid.strip(), "/usr/lib/deora/2/deora"]
    assert "the Debian package deora is installed" in box.run(INSTALLER, check=False)
    held = "systemctl stop deora-backend; systemctl enable --now deora-backend.socket; systemctl start deora-backend"
    box.run(f"{held}; {TOOLS} ready")
    assert box.run("systemctl is-active deora-backend.socket deora-backend").split() == ["active", "active"]
    box.run("dpkg -r deora")
    assert box.run("ps -eo user,args | grep ^deora", check=False) == ""
    box.run("test -e /etc/deora/servers.json; dpkg --purge deora")
    assert sorted(box.run(LEFT).split()) == ["/var/lib/deora", "/var/lib/deora/deora.lock"]
