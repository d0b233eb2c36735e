"""Of a site file: the page that people in the centre look at and act on, and what must fit in it."""

import ipaddress
from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from gateway.site_types import FileRef, HostName, Listen, ListenPort, Metres, Millimetres, Table


class PageRoles(Table, frozen=True):
    """Who sees what. display: the hall's screen, for everybody. staff: "pin" wherever it listens, "box" only there."""

    NOT_YET = frozenset({"installer"})
    display: Literal["none", "off"] = "none"
    staff: Literal["box", "pin", "off"] = "box"


class Page(Table, frozen=True):
    """`page`: it listens at 127.0.0.1 and, beyond, at `listen`. names: what browsers call it there besides its address.

    cert, key: TLS beyond this machine, needed for a PIN that travels. display_distance_m, display_height_mm: how far
    away the hall's screen is read, and how high its picture is.
    """

    listen: Annotated[
        list[Listen], Meta(description="a list of addresses or interfaces", extra={"example": '["eth0"]'})
    ] = []
    port: ListenPort = 8080
    names: Annotated[list[HostName], Meta(description="a list of names", extra={"example": '["linli.example"]'})] = []
    roles: PageRoles = PageRoles()
    cert: FileRef | None = None
    key: FileRef | None = None
    display_distance_m: Metres = 5.0
    display_height_mm: Millimetres = 620.0


def is_loopback(where: str) -> bool:
    """Of an address or the name of an interface."""
    try:
        return ipaddress.ip_address(where).is_loopback
    except ValueError:
        return where == "lo"


def is_every_address(where: str) -> bool:
    """0.0.0.0 and its like: whatever network somebody plugs in."""
    try:
        return ipaddress.ip_address(where).is_unspecified
    except ValueError:
        return False


def is_no_address(where: str) -> bool:
    """Of what looks like one: an interface has no ":", and begins with a letter."""
    try:
        ipaddress.ip_address(where)
        return False
    except ValueError:
        return ":" in where or where[:1].isdigit()


def beyond(page: Page) -> Iterator[str]:
    """Where it listens beyond this machine."""
    return (where for where in page.listen if not is_loopback(where))
