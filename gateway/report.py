"""`linli report`: the month of a centre, or of many, as one page for the residents' council.

On the box (--state) from its own database, in the city (--db) from the ledger; the same facts give the same figures.
"""

import argparse
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path

from gateway.home import DATABASE
from gateway.month import Month, MonthError, month_of
from gateway.report_facts import Centre, FactsError, of_box, of_city, strange
from gateway.report_figures import CentreMonth, of_month
from gateway.report_page import report

GOOD, CHECK_FAILED, WRONG_USE = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--state", type=Path, metavar="DIR", help="the gateway's state folder")
    where.add_argument("--db", type=Path, metavar="FILE", help="the city's ledger, as linli city --db writes it")
    parser.add_argument("--gateway", action="append", default=[], metavar="ID", help="of the ledger; left out: all")
    parser.add_argument("--month", required=True, metavar="YYYY-MM")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the page that is written")


def run(args: argparse.Namespace) -> int:
    """0: written. 1: nothing to report from. 2: wrong use."""
    try:
        rough = month_of(args.month, "UTC", "")
        found = [_of_month(centre, args.month) for centre in _centres(args, rough)]
        if not found:
            raise FactsError(f"{args.db}: found no gateway in the ledger, expected one; see --db")
        args.out.write_text(report(args.month, found), encoding="utf-8")
    except MonthError as error:
        return _say(str(error), WRONG_USE)
    except (FactsError, sqlite3.Error, ValueError) as error:
        return _say(str(error), CHECK_FAILED)
    except OSError as error:
        return _say(f"{args.out}: found {error.strerror}, expected a file that can be written; see --out", WRONG_USE)
    print(f"{args.out}: {args.month}, {_summary(found)}")
    return GOOD


def _of_month(centre: Centre, month: str) -> CentreMonth:
    """A ledger takes what a gateway says, whatever that is. Raises FactsError."""
    try:
        return of_month(centre, month)
    except (LookupError, TypeError, ValueError, AssertionError) as error:
        raise strange(centre.gateway, error) from None


def _say(what: str, code: int) -> int:
    print(f"linli report: {what}", file=sys.stderr)
    return code


def _centres(args: argparse.Namespace, rough: Month) -> Iterable[Centre]:
    if args.state:
        return [of_box(args.state / DATABASE, *rough.widest)]
    return of_city(args.db, args.gateway, *rough.widest)


def _summary(found: list[CentreMonth]) -> str:
    tickets = sum(waits.issued for each in found for waits in each.waits)
    cases = sum(len(facility.cases) for each in found for facility in each.facilities)
    return f"{len(found)} centres, {tickets} tickets, {cases} cases, {sum(len(each.leaks) for each in found)} leaks"
