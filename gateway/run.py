"""`linli run`: the gateway."""

import argparse
import asyncio
import gc
import logging
import signal
import sys
from pathlib import Path

from drivers.reading import DriverError
from gateway import config, crash
from gateway.box import Box
from gateway.build import Ground, build_on, ground_of
from gateway.control import Control
from gateway.desk import Desk
from gateway.diskless import Diskless, is_sick
from gateway.home import AlreadyRunning, Home, OtherCentre
from gateway.schema import SchemaError
from gateway.site_rules import broker_mistake
from gateway.store import StoreStalled

log = logging.getLogger("linli")

_SWITCH_S = 0.0002  # an edge must not wait, several times on its way, for a thread that formats packs


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
        return asyncio.run(_serve(config.load(args.site), args))
    except (config.ConfigErrors, AlreadyRunning, OtherCentre, SchemaError, StoreStalled, DriverError) as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(
            f"{args.state}: found {error.strerror}, expected a folder this user can write; "
            "choose another --state, or give it to this user",
            file=sys.stderr,
        )
    return 1


async def _serve(site: config.Site, args: argparse.Namespace) -> int:
    sys.setswitchinterval(_SWITCH_S)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    ground = ground_of(site, args.links)
    diskless = Diskless(ground, site, args.state)
    while not stop.is_set():
        try:
            home, box = _opened(ground, site, args, loop, diskless)
        except DriverError:
            raise  # some of them are OSErrors, and none of them is the disk's
        except (OSError, StoreStalled) as error:
            if not is_sick(error):
                raise
            await diskless.serve(f"{error}", stop)
            continue
        try:
            return await _until(stop, home, box, site, diskless)
        finally:
            home.release()
    return 0


def _opened(
    ground: Ground, site: config.Site, args: argparse.Namespace, loop: asyncio.AbstractEventLoop, diskless: Diskless
) -> tuple[Home, Box]:
    """Raises SchemaError, AlreadyRunning, OtherCentre, DriverError, StoreStalled, OSError."""
    home = Home(args.state)
    try:
        crash.watch(home.folder)
        return home, build_on(ground, site, home, args.broker, loop, diskless.came, diskless.deeds)
    except BaseException:
        home.release()
        raise


async def _until(stop: asyncio.Event, home: Home, box: Box, site: config.Site, diskless: Diskless) -> int:
    control = Control(home.folder, Desk(box, site, box.mono_s).asks())
    box.start()
    diskless.tell(box)
    try:
        await control.start()
    except OSError as error:
        log.error("nobody can ask this gateway how it is (doctor, alarm): %s", error)
    gc.freeze()  # what is built stays: the collector need not walk it again and again
    log.info("running: %s, epoch %s", site.gateway, box.epoch)
    await stop.wait()
    await control.close()
    clean = await box.stop()
    log.info("stopped%s", "" if clean else ", but a part did not end in time")
    return 0 if clean else 1
