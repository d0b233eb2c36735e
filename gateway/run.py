"""`linli run`: the gateway."""

import argparse
import asyncio
import gc
import logging
import signal
import sys
from pathlib import Path

from drivers.reading import DriverError
from gateway import config
from gateway.build import build
from gateway.control import Control
from gateway.desk import Desk
from gateway.home import AlreadyRunning, Home
from gateway.schema import SchemaError
from gateway.site_rules import broker_mistake
from gateway.store import StoreStalled

log = logging.getLogger("linli")

_SWITCH_S = 0.001  # an edge must not wait 5 ms for a thread that formats packs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", metavar="SITE", help="the site file")
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="where the database lives")
    parser.add_argument("--links", type=Path, metavar="DIR", help="the simulator's ports and pins instead of real ones")
    parser.add_argument("--broker", metavar="URL", help="instead of the site file's")


def run(args: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    if args.broker is not None and (wrong := broker_mistake(args.broker)):
        found, expected, do = wrong
        print(f"--broker: found {found}, expected {expected}; {do}", file=sys.stderr)
        return 2
    try:
        site = config.load(args.site)
        home = Home(args.state)
    except (config.ConfigErrors, AlreadyRunning) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"{args.state}: found {error.strerror}, expected a folder this user can write; "
            "choose another --state, or give it to this user",
            file=sys.stderr,
        )
        return 1
    try:
        return asyncio.run(_serve(site, home, args))
    except (SchemaError, StoreStalled, DriverError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        home.release()


async def _serve(site: config.Site, home: Home, args: argparse.Namespace) -> int:
    sys.setswitchinterval(_SWITCH_S)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    box = build(site, home, args.links, args.broker, loop)
    control = Control(home.folder, Desk(box, site, box.mono_s).asks())
    box.start()
    await control.start()
    gc.freeze()  # what is built stays: the collector need not walk it again and again
    log.info("running: %s, epoch %s", site.gateway, box.epoch)
    await stop.wait()
    await control.close()
    clean = await box.stop()
    log.info("stopped%s", "" if clean else ", but a part did not end in time")
    return 0 if clean else 1
