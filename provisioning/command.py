"""`linli provision`: from an empty card to a working box. new-site asks and writes the site file."""

import argparse
import sys
from pathlib import Path

from gateway import config
from gateway.check import summary
from gateway.words import LANGUAGES, Words
from provisioning.dialogue import CATALOGUE, AnswersFile, Dialogue, GivenUp, Terminal, Unfit
from provisioning.new_site import ask_language, ask_site
from provisioning.sockets import sockets

GOOD, CHECK_FAILED, WRONG_USE = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    deeds = parser.add_subparsers(required=True, metavar="DEED")
    new = deeds.add_parser("new-site", help="ask for everything and write a checked site file")
    new.add_argument("site", type=Path, metavar="SITE", help="the file to write; never one that exists")
    new.add_argument("--answers", type=Path, metavar="FILE", help="answers in a TOML file instead of a terminal")
    new.add_argument("--lang", choices=LANGUAGES, help="of questions and names, instead of asking for it first")
    new.set_defaults(deed=_new_site)


def run(args: argparse.Namespace) -> int:
    code: int = args.deed(args)
    return code


def _new_site(args: argparse.Namespace) -> int:
    """0: written. 1: given up, or not wanted. 2: SITE is there already or cannot be written."""
    say = Words(args.lang or LANGUAGES[0], CATALOGUE)
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
