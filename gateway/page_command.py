"""`linli page SITE --state DIR`: the page in the centre, a process beside the gateway."""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from gateway import config
from gateway.clock import SystemClock
from gateway.config import Page, Site
from gateway.notify import notify
from gateway.page_desk import Desk, Gateway
from gateway.web import Listening


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", metavar="SITE", help="the site file")
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="the gateway's state folder")
    parser.add_argument("--port", type=_port, metavar="N", help="instead of the site file's; 0 takes a free one")


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"found {text[:20]!r}, expected a port, 0 to 65535")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """0: ended by a signal. 1: a mistake in the site file, or the port is taken."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # a client's nonsense is no news
    try:
        site = config.load(args.site)
        asyncio.run(_serve(site, args))
    except config.ConfigErrors as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        port = (site.page or Page()).port if args.port is None else args.port
        print(f"127.0.0.1:{port}: found {error.strerror}, expected a free port; "
              "end what listens there, or write another page.port", file=sys.stderr)  # fmt: skip
        return 1
    return 0


async def _serve(site: Site, args: argparse.Namespace) -> None:
    """Raises OSError."""
    page, mono_s, loop = site.page or Page(), SystemClock().mono_s, asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    desk = Desk(site, args.state, mono_s, Gateway(args.state, mono_s))
    tls = (str(site.file(page.cert)), str(site.file(page.key))) if page.cert and page.key else None
    port = page.port if args.port is None else args.port
    listening = Listening(desk.answer, page.listen, port, page.names, tls, lambda url: print(url, flush=True))
    notify("READY=1")
    await listening.serve(stop)
