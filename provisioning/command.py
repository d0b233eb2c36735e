"""`linli provision`: from an empty card to a working box: new-site, install, remove."""

import argparse
import io
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from gateway import config
from gateway.check import summary
from gateway.words import LANGUAGES, Words
from provisioning.dialogue import CATALOGUE, AnswersFile, Dialogue, GivenUp, Terminal, Unfit
from provisioning.install import install, installed_id, missing, plan, remove, unfit
from provisioning.new_site import ask_language, ask_site
from provisioning.program import CHECKOUT, Program, folder_for_wheels, has_pins, python_of, source
from provisioning.sockets import sockets
from provisioning.steps import SAME, InstallError, Machine

GOOD, CHECK_FAILED, WRONG_USE = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    deeds = parser.add_subparsers(required=True, metavar="DEED")
    new = deeds.add_parser("new-site", help="ask for everything and write a checked site file")
    new.add_argument("site", type=Path, metavar="SITE", help="the file to write; never one that exists")
    new.add_argument("--answers", type=Path, metavar="FILE", help="answers in a TOML file instead of a terminal")
    new.add_argument("--lang", choices=LANGUAGES, help="of questions and names, instead of asking for it first")
    new.set_defaults(deed=_new_site)
    put = deeds.add_parser("install", help="put the gateway on a Debian or Raspberry Pi OS machine, as a service")
    put.add_argument("site", type=Path, metavar="SITE", help="the site file")
    put.add_argument(
        "--program", type=Path, default=CHECKOUT, metavar="PATH", help="a checkout, or a wheel and run.lock"
    )
    put.add_argument("--wheels", type=Path, metavar="DIR", help="take every package from this folder; no network")
    put.set_defaults(deed=_install)
    away = deeds.add_parser("remove", help="take it away again; the site file and the data stay")
    away.add_argument(
        "--purge", nargs="?", const="", metavar="SITE-ID", help="the data too; the site's id must be typed"
    )
    away.set_defaults(deed=_remove)
    for deed in (put, away):
        deed.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="another root folder, for images")
        deed.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
        deed.add_argument("--lang", choices=LANGUAGES, help="the site file's when left out")


def run(args: argparse.Namespace) -> int:
    code: int = args.deed(args)
    return code


def _new_site(args: argparse.Namespace) -> int:
    """0: written. 1: given up, or not wanted. 2: SITE is there already or cannot be written."""
    say = Words(args.lang or LANGUAGES[0], CATALOGUE)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # told as a wrong answer, not as a traceback
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a serial console may know no Chinese
    if args.site.exists() or args.site.is_symlink():
        print(say("new.exists", path=args.site), file=sys.stderr)
        return WRONG_USE
    try:
        source = AnswersFile(args.answers) if args.answers else Terminal(sys.stdin, sys.stdout, say)
        dialogue = Dialogue(source, say)
        dialogue = Dialogue(source, Words(args.lang or ask_language(dialogue), CATALOGUE))
        draft = ask_site(dialogue, sockets())
        if isinstance(source, AnswersFile) and (unasked := source.unasked()):
            raise GivenUp("\n".join(dialogue.say("unasked", where=where) for where in unasked))
        text = draft.text(f"# {dialogue.say('new.heading')}\n")
        dialogue.tell(f"\n{text}")
        if not args.answers and not dialogue.yes("new.save", "yes", path=args.site):
            raise GivenUp(dialogue.say("new.kept"))
    except (GivenUp, Unfit) as error:
        print(error, file=sys.stderr)
        return CHECK_FAILED
    except KeyboardInterrupt:
        print("\n" + say("new.kept"), file=sys.stderr)
        return CHECK_FAILED
    return _write(args.site, text, dialogue.say)


def _write(path: Path, text: str, say: Words) -> int:
    """What was checked is what is written; a file that came meanwhile is left alone."""
    file, _ = config.read_bytes(text.encode(), str(path))
    assert file is not None  # the draft was judged with each table
    try:
        with open(path, "x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        print(say("new.exists", path=path), file=sys.stderr)
        return WRONG_USE
    except OSError as error:
        print(say("new.unwritable", path=path, why=error.strerror), file=sys.stderr)
        return WRONG_USE
    print(say("new.written", path=path, summary=summary(file)))
    print(say("new.next", path=path))
    return GOOD


def _install(args: argparse.Namespace) -> int:
    """0: done, or nothing to do. 1: the site file or the machine is not fit. 2: not root."""
    file, wrong = config.read(args.site)
    for problem in wrong:
        print(problem, file=sys.stderr)
    if file is None:
        return CHECK_FAILED
    site = config.load(args.site)
    say = Words(args.lang or site.lang, CATALOGUE)
    if not _may(args, say):
        return WRONG_USE
    os.umask(0o022)
    try:
        machine = Machine(args.root)
        if lacks := list(unfit(machine)):
            raise InstallError("\n".join(lacks))
        with folder_for_wheels() as folder:
            python = python_of(machine)
            program = Program(source(args.program, args.wheels, Path(folder), machine), python)
            steps = plan(machine, site, program)
            changes = _told(install(machine, steps, args.dry_run), args.dry_run, say)
    except (InstallError, OSError) as error:
        print(error, file=sys.stderr)
        return CHECK_FAILED
    for path in missing(machine, site):
        print(say("install.missing", path=path))
    if not args.dry_run and not has_pins(machine, python):
        print(say("install.pins"))
    key = "nothing" if not changes else "dry" if args.dry_run else "started" if machine.live else "done"
    print(say(f"install.{key}", changes=changes))
    return GOOD


def _told(states: Iterable[tuple[str, str]], dry: bool, say: Words) -> int:
    """One line a step, as it is done; how many changed something."""
    changes = 0
    for state, path in states:
        changes += state != SAME
        print(f"{say(f'state.{state}'):<8} {path}", flush=True)
    return changes


def _may(args: argparse.Namespace, say: Words) -> bool:
    if os.geteuid() == 0 or args.dry_run:
        return True
    print(say("install.root"), file=sys.stderr)
    return False


def _remove(args: argparse.Namespace) -> int:
    """0: done. 1: it could not be. 2: not root, or the data without the site's id."""
    say = Words(args.lang or LANGUAGES[0], CATALOGUE)
    if not _may(args, say):
        return WRONG_USE
    try:
        machine = Machine(args.root)
        if args.purge is not None and not _meant(args.purge, installed_id(machine), say):
            return WRONG_USE
        gone = list(remove(machine, args.purge is not None, args.dry_run))
    except (InstallError, OSError) as error:
        print(error, file=sys.stderr)
        return CHECK_FAILED
    for path in gone:
        print(f"{say('state.gone'):<8} {path}")
    if not gone:
        print(say("remove.nothing"))
    elif args.dry_run:
        print(say("install.dry", changes=len(gone)))
    else:
        print(say("remove.purged" if args.purge is not None else "remove.kept"))
    return GOOD


def _meant(typed: str, site: str, say: Words) -> bool:
    """Whether the id that was typed, now or with --purge, is that of the site whose data would be lost."""
    if not typed and sys.stdin.isatty():
        typed = input(say("purge.ask") + " ").strip()
    if site and typed == site:
        return True
    print(say("purge.refused" if site else "purge.nosite", typed=typed or "-"), file=sys.stderr)
    return False
