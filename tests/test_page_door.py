"""The page's web server, over real sockets: what it refuses and what it bounds."""

import asyncio
import re
import select
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from gateway import web
from gateway.web import (
    BODY_BYTES_MAX,
    CLIENTS_MAX,
    CLIENTS_OF_ONE_MAX,
    HEAD_BYTES_MAX,
    Ask,
    Cookie,
    Listening,
    Reply,
    addresses,
)


class Served:
    """A web server in a thread of its own; `asks` is what reached the page behind it."""

    def __init__(self, where: list[str], names: list[str], tls: tuple[str, str] | None) -> None:
        self.asks: list[Ask] = []
        self.urls: list[str] = []
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._listening = Listening(self._answer, where, 0, names, tls, self._told)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        time.sleep(0.2)  # it is bound; uvicorn accepts a moment later

    def _told(self, url: str) -> None:
        self.urls.append(url)
        self._ready.set()

    def _run(self) -> None:
        self._loop.run_until_complete(self._listening.serve(self._stop))

    async def _answer(self, ask: Ask) -> Reply:
        self.asks.append(ask)
        if ask.path == "/fault":
            raise RuntimeError("secret words of the code")
        return Reply(f"<p>{ask.path}</p>", cookies=(Cookie("a", "b", 60),))

    def renew(self) -> None:
        """As it does every ten seconds."""
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (self._listening._renew(), done.set()))
        assert done.wait(10)

    def port(self, url: int = 0) -> int:
        return int(re.findall(r":(\d+)/", self.urls[url])[0])

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port()), timeout=10)

    def raw(self, data: bytes) -> bytes:
        with self.connect() as client:
            client.sendall(data)
            return everything(client)

    def send(self, method: str = "GET", path: str = "/", body: bytes = b"", **headers: str) -> tuple[int, str]:
        own = f"127.0.0.1:{self.port()}"
        fields = {"Host": own, "Connection": "close"}
        if method == "POST":
            kind = "application/x-www-form-urlencoded"
            fields |= {"Origin": f"http://{own}", "Content-Type": kind, "Content-Length": f"{len(body)}"}
        fields |= {key.replace("_", "-"): value for key, value in headers.items()}
        head = "".join(f"{key}: {value}\r\n" for key, value in fields.items() if value)
        answer = self.raw(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body).decode()
        assert answer, "no answer"
        return int(answer.split(" ")[1]), answer


def everything(client: socket.socket) -> bytes:
    found = b""
    try:
        while piece := client.recv(65_536):
            found += piece
    except ConnectionResetError:
        pass
    return found


@pytest.fixture
def served() -> Iterator[Served]:
    server = Served([], ["linli.example"], None)
    yield server
    server.close()


def test_it_listens_at_this_machine_alone_unless_told(served):
    assert len(served.urls) == 1 and served.urls[0].startswith("http://127.0.0.1:")


def test_an_answer_lets_a_browser_load_nothing_from_elsewhere_and_run_nothing_inline(served):
    status, answer = served.send()
    assert status == 200
    head = answer.partition("\r\n\r\n")[0].lower()
    assert "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'" in head
    assert "frame-ancestors 'none'" in head and "unsafe" not in head
    assert "set-cookie: a=b; httponly; max-age=60; path=/; samesite=strict" in head
    assert "server:" not in head and "uvicorn" not in head, "no banner"
    for field in ("x-content-type-options: nosniff", "cache-control: no-store", "referrer-policy: same-origin"):
        assert field in head


HOSTS = [
    "evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:{port}, evil.example", "[::1]:{port}",
    "127.0.0.1.evil.example:{port}", "192.0.2.1:{port}", "localhost:{port}x", ":{port}", "127.0.0.1:{port}:{port}",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_that_is_not_where_the_connection_came_in_is_refused(served, host):
    """A name rebound to this machine's address carries the attacker's own name."""
    status, _ = served.send(Host=host.format(port=served.port()))
    assert (status, served.asks) == (421, [])


def test_the_names_of_this_machine_are_taken(served):
    for host in ("localhost", "LOCALHOST", "linli.example", "127.0.0.1"):
        assert served.send(Host=f"{host}:{served.port()}")[0] == 200
    two = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{served.port()}\r\nHost: evil.example\r\n\r\n"
    assert b" 400 " in served.raw(two.encode())[:20]


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "https://127.0.0.1:{port}", "http://127.0.0.1:1"]
)
def test_a_form_of_another_site_is_refused(served, origin):
    status, _ = served.send("POST", "/staff/do", b"a=b", Origin=origin.format(port=served.port()))
    assert (status, served.asks) == (403, [])


def test_a_form_of_this_page_arrives(served):
    status, _ = served.send("POST", "/staff/do", b"name=%E6%BC%8F%E6%B0%B4&note=&a=1+2")
    assert status == 200
    assert served.asks[0].form == {"name": "漏水", "note": "", "a": "1 2"}
    assert served.asks[0].local and not served.asks[0].secure


def test_a_body_larger_than_any_form_is_refused_before_it_is_read(served):
    body = b"a=" + b"x" * BODY_BYTES_MAX
    assert served.send("POST", "/", body)[0] == 413
    piece = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    own = f"127.0.0.1:{served.port()}"
    head = f"POST / HTTP/1.1\r\nHost: {own}\r\nOrigin: http://{own}\r\nTransfer-Encoding: chunked\r\n"
    head += "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    assert b" 413 " in served.raw(head.encode() + piece * 8)[:20]
    assert served.asks == []


@pytest.mark.parametrize("body", [b"\xff=1", b"&".join(b"a%d=1" % n for n in range(30)), b"%ff=%ff"])
def test_a_form_that_cannot_be_read_is_refused(served, body):
    assert (served.send("POST", "/", body)[0], served.asks) == (400, [])


def test_other_types_and_methods_are_refused(served):
    assert served.send("POST", "/", b"{}", Content_Type="application/json")[0] == 415
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"):
        assert served.send(method)[0] == 405
    assert served.asks == []


def test_a_head_without_end_is_refused(served):
    assert b" 400 " in served.raw(b"GET / HTTP/1.1\r\nX: " + b"x" * (HEAD_BYTES_MAX + 10))[:20]
    assert b" 400 " in served.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no HTTP at all\r\n\r\n")[:20]


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/page.css/..%2fpage-pin", "//x", "/%00"]
)
def test_a_path_is_a_name_and_never_a_file(served, path):
    status, answer = served.send(path=path)
    assert status == 200 and "root:" not in answer, "what it means the page behind decides, by its list"


def test_a_client_that_says_nothing_or_little_is_sent_away(served, monkeypatch):
    monkeypatch.setattr(web, "CONNECTION_S", 0.5)
    with served.connect() as silent, served.connect() as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: ")
        began_s = time.monotonic()
        assert everything(silent) == everything(slow) == b""
        assert time.monotonic() - began_s < 5


def test_one_client_has_so_many_connections_and_no_more_and_others_are_served_again(served):
    clients = [served.connect() for _ in range(CLIENTS_OF_ONE_MAX)]
    time.sleep(0.3)
    with served.connect() as one_more:
        assert everything(one_more) == b""
    for client in clients:
        client.close()
    until_s = time.monotonic() + 5
    while time.monotonic() < until_s:
        with served.connect() as again:
            again.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{served.port()}\r\n\r\n".encode())
            if everything(again):
                return
    pytest.fail("nobody is served any more")


def test_silent_connections_of_many_clients_have_a_bound_too(served):
    clients = []
    for n in range(2, 3 + CLIENTS_MAX // CLIENTS_OF_ONE_MAX):
        for _ in range(CLIENTS_OF_ONE_MAX):
            clients.append(socket.create_connection(("127.0.0.1", served.port()), 10, (f"127.0.0.{n}", 0)))
    assert _still_open(clients) == CLIENTS_MAX
    for client in clients:
        client.close()


def _still_open(clients: list[socket.socket]) -> int:
    time.sleep(0.5)  # until the last has been taken in or sent away
    return len(clients) - len(select.select(clients, [], [], 0)[0])


def test_a_fault_of_the_page_tells_nothing_of_the_code(served):
    status, answer = served.send(path="/fault")
    assert status == 500 and "secret" not in answer and "Traceback" not in answer


def test_beyond_this_machine_it_speaks_tls_alone(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    [own] = addresses("eth0") or [_own_address()]
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    make += ["-subj", "/CN=linli", "-addext", f"subjectAltName=IP:{own}", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(make, check=True, capture_output=True)
    served = Served([own], [], (str(cert), str(key)))
    try:
        until_s = time.monotonic() + 10
        while len(served.urls) < 2:
            assert time.monotonic() < until_s, served.urls
            time.sleep(0.05)
        assert served.urls[1].startswith(f"https://{own}:")
        time.sleep(0.2)
        context = ssl.create_default_context(cafile=str(cert))
        with context.wrap_socket(
            socket.create_connection((own, served.port(1)), timeout=10), server_hostname=own
        ) as client:
            client.sendall(f"GET /x HTTP/1.1\r\nHost: {own}:{served.port(1)}\r\n\r\n".encode())
            answer = everything(client)
        assert b" 200 " in answer[:20] and b"secure" in answer.lower(), "its cookies too"
        assert served.asks[0].secure and not served.asks[0].local
        with socket.create_connection((own, served.port(1)), timeout=10) as client:
            client.sendall(f"GET / HTTP/1.1\r\nHost: {own}:{served.port(1)}\r\n\r\n".encode())
            assert b"200" not in everything(client)
        silent = [socket.create_connection((own, served.port(1)), timeout=10) for _ in range(CLIENTS_OF_ONE_MAX + 9)]
        assert _still_open(silent) == CLIENTS_OF_ONE_MAX, "without a byte of TLS from them"
        for client in silent:
            client.close()
    finally:
        served.close()


def _own_address() -> str:
    """An address of this machine that is not loopback; nothing is sent for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        return str(asking.getsockname()[0])


def test_what_cannot_be_listened_at_is_told_once_with_what_to_look_at(tmp_path, caplog):
    served = Served(["etho", "192.0.2.77"], [], (str(tmp_path / "page.pem"), str(tmp_path / "page.key")))
    try:
        served.renew()
        assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
            "etho, port 0", "192.0.2.77, port 0"
        ]  # fmt: skip
        assert "see `ip address`" in caplog.text and f"{tmp_path}/page.pem and {tmp_path}/page.key" in caplog.text
        assert len(served.urls) == 1
    finally:
        served.close()


def test_an_interface_that_is_not_there_has_no_address():
    assert addresses("nosuch0") == []
    assert addresses("lo") == ["127.0.0.1"]
    assert addresses("192.0.2.4") == ["192.0.2.4"]
