"""The uplink over TLS: the broker proves its name, the certificate is ours."""

import re
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Mosquitto, free_port
from scripted_broker import ScriptedBroker
from uplink_rig import GATEWAY, ROOT, TOPICS, MakeBox, Watcher, wait

from gateway.link import Link, tls_context

pytest_plugins = ["uplink_rig"]


# -- TLS --------------------------------------------------------------------------------------------------------------


class Authority:
    """A city's certificate authority, made by openssl."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self.ca = self._make("ca", "a city", [])[0]

    def issue(self, name: str, *san: str) -> tuple[str, str]:
        """(certificate, key) of `name`, signed."""
        extra = ["-CA", self.ca, "-CAkey", f"{self._folder}/ca.key", "-addext", "basicConstraints=critical,CA:FALSE"]
        return self._make(name, name, [*extra, *(["-addext", f"subjectAltName={','.join(san)}"] if san else [])])

    def _make(self, name: str, subject: str, extra: list[str]) -> tuple[str, str]:
        cert, key = f"{self._folder}/{name}.pem", f"{self._folder}/{name}.key"
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        command = ["openssl", "req", "-x509", *curve, "-subj", f"/CN={subject}", "-out", cert, "-keyout", key, *extra]
        subprocess.run(command, check=True, capture_output=True)
        return cert, key


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def secured(authority: Authority, server: str, port: int, *more: str) -> str:
    """mosquitto.conf of a listener with TLS, whose certificate is for the address `server`."""
    cert, key = authority.issue(f"broker-{server}", f"IP:{server}")
    lines = ["per_listener_settings false", f"listener {port} 127.0.0.1"]
    return "\n".join([*lines, f"cafile {authority.ca}", f"certfile {cert}", f"keyfile {key}", *more])


def test_the_certificate_is_the_box_s_name_and_its_acl_holds_by_it(
    make_mosquitto: Callable[..., Mosquitto], make_box: MakeBox, authority: Authority,
    watch: Callable[[Mosquitto], Watcher],
) -> None:  # fmt: skip
    port = free_port()
    conf = secured(authority, "127.0.0.1", port, "require_certificate true", "use_identity_as_username true")
    broker = make_mosquitto(
        conf=conf, acl="pattern write linli/v1/%u/#\npattern read linli/v1/%u/down/#\nuser watcher\ntopic read #\n"
    )
    watcher = watch(broker)
    cert, key = authority.issue(GATEWAY)
    box = make_box(f"mqtts://127.0.0.1:{port}", ca=authority.ca, cert=cert, key=key).start()
    box.put(3)
    wait(lambda: len(watcher.all(TOPICS.up("events"))) == 4, "the packs")
    assert box.well
    box.close()
    other_cert, other_key = authority.issue("box-b")
    liar = make_box(f"mqtts://127.0.0.1:{port}", ca=authority.ca, cert=other_cert, key=other_key).start()
    wait(lambda: "does not accept" in liar.said or "refused" in liar.said, "the ACL's no to another one's name")
    assert len(watcher.all(TOPICS.up("events"))) == 4


@pytest.mark.parametrize("wrong", ["name", "authority", "no certificate of ours"])
def test_a_broker_that_cannot_prove_itself_or_does_not_know_us_is_told_nothing(
    wrong: str, make_mosquitto: Callable[..., Mosquitto], make_box: MakeBox, authority: Authority, tmp_path: Path
) -> None:
    port = free_port()
    more = "require_certificate true" if wrong == "no certificate of ours" else ""
    broker = make_mosquitto(conf=secured(authority, "127.0.0.2" if wrong == "name" else "127.0.0.1", port, more))
    ca = Authority(tmp_path / "other").ca if wrong == "authority" else authority.ca
    box = make_box(f"mqtts://127.0.0.1:{port}", ca=ca).start()
    expected = {"name": "IP address mismatch", "authority": "CERTIFICATE_VERIFY_FAILED"}
    wait(lambda: expected.get(wrong, "") in box.said and box.said, "the reason")
    time.sleep(0.3)
    assert box.uplink.state.packs_sent == 0 and not box.uplink.state.connected
    assert f"as {GATEWAY}" not in broker.log


def test_an_address_that_says_tls_is_never_tried_without(broker: ScriptedBroker, make_box: MakeBox) -> None:
    box = make_box(f"mqtts://127.0.0.1:{broker.port}").start()
    wait(lambda: box.said, "word of it")
    assert broker.connects == []


def test_a_certificate_that_is_not_there_is_told_with_its_path_and_looked_for_again(
    broker: ScriptedBroker, make_box: MakeBox
) -> None:
    box = make_box(f"mqtts://127.0.0.1:{broker.port}", ca="/nowhere/city-ca.pem").start()
    wait(lambda: "/nowhere/city-ca.pem" in box.said, "word of it")
    wait(lambda: box.uplink.state.connections >= 2, "another look")


def test_no_line_of_ours_switches_a_check_off() -> None:
    """EN 303 645 5.5-1. In pieces, so that this file does not find itself."""
    switches = re.compile("|".join(("tls_" + "insecure", "CERT_" + "NONE", "check_hostname" + r"\s*=\s*False",
                                    "_create_" + "unverified", "CERT_" + "OPTIONAL")))  # fmt: skip
    for folder in ("gateway", "drivers", "models", "provisioning", "simulator", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not switches.search(path.read_text()), f"{path} switches a check of TLS off"


def test_the_profile_of_the_site_file_is_the_oldest_tls_that_is_spoken(authority: Authority) -> None:
    for profile, version in (("tls1.2+", ssl.TLSVersion.TLSv1_2), ("tls1.3", ssl.TLSVersion.TLSv1_3)):
        context = tls_context(Link("mqtts://127.0.0.1", GATEWAY, TOPICS, ca=authority.ca, profile=profile))
        assert context.minimum_version == version and context.check_hostname
