"""The web server of the page: the only file that imports starlette and uvicorn. It knows no alarms, only requests.

Each connection carries one request and lives CONNECTION_S at most, so that no slow client holds a place. A request is
refused before anybody looks at it: for a Host that is not where the connection came in (a name rebound to this box),
for a form from another site, for a body larger than any form of ours.
"""

import asyncio
import contextlib
import fcntl
import ipaddress
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import uvicorn
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger(__name__)

CONNECTION_S = 20.0
CLIENTS_MAX, CLIENTS_OF_ONE_MAX = 64, 24  # at one address of ours; from one address of theirs
HEAD_BYTES_MAX, BODY_BYTES_MAX = 16_384, 8_192
_FIELDS_MAX = 20
_LOOK_AGAIN_S = 10.0  # for an interface that has got its address, or another
_SIOCGIFADDR = 0x8915
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Connection": "close",
}


class Ask(NamedTuple):
    """A request. local: from this machine. secure: over TLS. part: only what lives of the page."""

    method: str
    path: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    cookies: Mapping[str, str]
    peer: str = "127.0.0.1"
    local: bool = True
    secure: bool = False
    part: bool = False


class Cookie(NamedTuple):
    """for_s: 0 takes it away."""

    name: str
    value: str
    for_s: int
    hidden: bool = True


class Reply(NamedTuple):
    body: str
    status: int = 200
    kind: str = "text/html"
    to: str = ""
    cookies: tuple[Cookie, ...] = ()


Answer = Callable[[Ask], Awaitable[Reply]]


class Refused(Exception):
    """A request that nobody needs to look at."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Door:
    """ASGI. names: what this box is called beyond its addresses."""

    def __init__(self, answer: Answer, names: Sequence[str]) -> None:
        self._answer = answer
        self._names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        secure = scope["scheme"] == "https"
        try:
            reply = await self._answer(await self._ask(request, secure))
        except Refused as refused:
            reply = Reply(f"{refused}\n", refused.status, "text/plain")
        except ClientDisconnect:
            return
        except Exception:  # one request's fault is not the next one's
            log.exception("a request of %s", request.client and request.client.host)
            reply = Reply("the page has a fault; its log says which\n", 500, "text/plain")
        await _response(reply, secure)(scope, receive, send)

    async def _ask(self, request: Request, secure: bool) -> Ask:
        """Raises Refused, ClientDisconnect."""
        own = request.scope["server"]
        self._judge_host(request, own)
        if request.method not in ("GET", "HEAD", "POST"):
            raise Refused(405, "found another method, expected GET, HEAD or POST")
        form = await self._form(request) if request.method == "POST" else {}
        peer = request.client.host if request.client else ""
        local = _is_local(own[0]) and _is_local(peer)
        part = request.headers.get("x-part") == "1"
        query = dict(QueryParams(request.scope["query_string"]).items())
        return Ask(request.method, request.scope["path"], query, form, request.cookies, peer, local, secure, part)

    def _judge_host(self, request: Request, own: tuple[str, int]) -> None:
        """Raises Refused for what does not name the address that the connection came in at."""
        hosts = request.headers.getlist("host")
        name, port = _host_and_port(hosts[0] if len(hosts) == 1 else "", 443 if request.url.scheme == "https" else 80)
        known = {own[0], *self._names, *(("localhost",) if _is_local(own[0]) else ())}
        if name not in known or port != own[1]:
            raise Refused(421, "found another Host, expected the address or name of this box; see page.names")

    async def _form(self, request: Request) -> dict[str, str]:
        """Raises Refused, ClientDisconnect."""
        expected = f"{request.scope['scheme']}://{request.headers['host']}"
        if request.headers.getlist("origin") != [expected]:
            raise Refused(403, "found a form from elsewhere, expected one from this page; open the page itself")
        if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
            raise Refused(415, "found another type, expected a form")
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > BODY_BYTES_MAX:
                raise Refused(413, f"found a larger form, expected {BODY_BYTES_MAX} bytes at most")
        try:
            return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_FIELDS_MAX, errors="strict"))
        except ValueError:
            raise Refused(400, "found no form that can be read, expected one of this page") from None


def _response(reply: Reply, secure: bool) -> Response:
    response = Response(reply.body, 303 if reply.to else reply.status, _HEADERS, media_type=reply.kind)
    if reply.to:
        response.headers["Location"] = reply.to
    for each in reply.cookies:
        response.set_cookie(
            each.name, each.value, max_age=each.for_s, path="/", secure=secure, httponly=each.hidden, samesite="strict"
        )
    return response


def _host_and_port(host: str, usual: int) -> tuple[str, int]:
    """("", 0) for what cannot be one."""
    name, _, port = host.rpartition(":") if not host.endswith("]") and ":" in host else (host, "", f"{usual}")
    if not port.isascii() or not port.isdigit() or len(port) > 5:
        return "", 0
    return name.removeprefix("[").removesuffix("]").lower(), int(port)


def _is_local(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


# -- listening --------------------------------------------------------------------------------------------------------


class _Gate(socket.socket):
    """Listens, and shuts out who has too many connections before a byte of TLS is read: each of those takes 0.3 MB."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self._inside: list[tuple[socket.socket, str]] = []

    def accept(self) -> tuple[socket.socket, Any]:
        """Raises ConnectionAbortedError for one too many, as if it had gone by itself."""
        client, (peer, *more) = super().accept()
        self._inside = [(each, of) for each, of in self._inside if each.fileno() >= 0]
        of_one = sum(of == peer for _, of in self._inside)
        if len(self._inside) >= CLIENTS_MAX or of_one >= CLIENTS_OF_ONE_MAX:
            client.close()
            raise ConnectionAbortedError
        self._inside.append((client, peer))
        return client, (peer, *more)


class _Impatient(H11Protocol):
    """A connection with an end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._end = self.loop.call_later(CONNECTION_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end.cancel()
        super().connection_lost(exc)


class _Server(uvicorn.Server):
    """One address. Signals are the command's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listening:
    """At 127.0.0.1, and at each address that `where` names or that an interface of it has, once it has it.

    tls: (certificate, key) beyond this machine. told: each address, as it is opened.
    """

    def __init__(
        self, answer: Answer, where: Sequence[str], port: int, names: Sequence[str],
        tls: tuple[str, str] | None, told: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._door = Door(answer, names)
        self._where, self._port, self._tls, self._told = where, port, tls, told
        self._open: dict[str, tuple[_Server, asyncio.Task[None]]] = {}
        self._failed: dict[str, str] = {}

    async def serve(self, stop: asyncio.Event) -> None:
        """Until `stop`. Raises OSError when 127.0.0.1 itself cannot be had."""
        self._listen("127.0.0.1")
        try:
            while not stop.is_set():
                self._renew()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _LOOK_AGAIN_S)
        finally:
            for server, _ in self._open.values():
                server.should_exit = True
            await asyncio.gather(*(task for _, task in self._open.values()), return_exceptions=True)

    def _renew(self) -> None:
        """Open what has come, close what has gone; what cannot be opened is told once and tried again."""
        wanted = {"127.0.0.1"}
        for where in self._where:
            found = addresses(where)
            wanted.update(found)
            if where not in found:
                self._trouble(where, "" if found else "found no IPv4 address of this interface; see `ip address`")
        for address in [each for each in self._open if each not in wanted or self._open[each][1].done()]:
            server, _ = self._open.pop(address)
            server.should_exit = True
        for address in sorted(wanted - set(self._open)):
            try:
                self._listen(address)
                self._trouble(address, "")
            except OSError as error:
                self._trouble(address, str(error))

    def _trouble(self, where: str, why: str) -> None:
        """Told when it begins, or changes; "" ends it."""
        if why and self._failed.get(where) != why:
            log.error("%s, port %d: %s; it is tried again", where, self._port, why)
        self._failed[where] = why

    def _listen(self, address: str) -> None:
        local = _is_local(address)
        tls: dict[str, Any] = {}
        if self._tls and not local:
            tls = {"ssl_certfile": self._tls[0], "ssl_keyfile": self._tls[1]}
        config = uvicorn.Config(
            self._door, http=_Impatient, ws="none", lifespan="off", log_config=None, access_log=False,
            proxy_headers=False, server_header=False, limit_concurrency=CLIENTS_MAX, backlog=CLIENTS_MAX,
            h11_max_incomplete_event_size=HEAD_BYTES_MAX, timeout_keep_alive=5, timeout_graceful_shutdown=2, **tls,
        )  # fmt: skip
        _load(config)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = _Gate(socket.create_server((address, self._port), family=family))
        server = _Server(config)
        self._open[address] = server, asyncio.get_running_loop().create_task(server.serve([sock]))
        host = f"[{address}]" if ":" in address else address
        self._told(f"{'https' if tls else 'http'}://{host}:{sock.getsockname()[1]}/")


def _load(config: uvicorn.Config) -> None:
    """Raises OSError that names the files of TLS, which OpenSSL does not."""
    try:
        config.load()
    except OSError as error:
        files = f"{config.ssl_certfile} and {config.ssl_keyfile}"
        expected = "a certificate and its key in PEM without a password, which this user can read"
        raise OSError(f"found {error} at {files}, expected {expected}") from None


def addresses(where: str) -> list[str]:
    """Of an address itself, or the IPv4 address that an interface has now."""
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(where))]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking, contextlib.suppress(OSError):
        found = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("256s", where.encode()[:15]))
        return [socket.inet_ntoa(found[20:24])]
    return []
