"""`linli verify`: whether everything that the devices produced is in the city's ledger, once and unchanged.

The truth is what the simulator wrote before a byte left a device; the ledger is what the city has on its disk. Neither
asks the gateway.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from simulator.comparison import Comparison, Numbers, numbers
from simulator.ledger import Ledger
from simulator.ledger_file import LedgerError
from simulator.truth_book import TruthError, read_truth

GOOD, FAILED, WRONG_USE = 0, 1, 2
TIME_TOLERANCE_S = 5.0


def verdict(
    comparison: Comparison, found: Numbers, not_whole: list[str], tolerance_s: float, excuse_lost: bool = False
) -> dict[str, object]:
    """Counts by name; `failed` names those that make the verdict bad.

    excuse_lost: what the device itself said to have given up may be missing. Nobody else's word excuses anything.
    """
    book = comparison.book
    late = sum(error_s > tolerance_s for error_s in comparison.errors_s)
    counts: dict[str, object] = {
        "facts": len(book),
        "arrived": comparison.arrived,
        "missing": comparison.missing,
        "wrong": comparison.wrong,
        "invented": comparison.invented,
        "twice": comparison.twice,
        "lost_lines": book.lost_lines,
        "lost_events": comparison.lost_events,
        "given_up": comparison.given_up,
        "unfounded": comparison.unfounded,
        "time_median_s": _median(comparison.errors_s),
        "time_max_s": round(max(comparison.errors_s, default=0.0), 3),
        "time_off": late,
        "untimed": comparison.untimed,
        **found._asdict(),
        "sampled": sum(len(samples.times) for samples in book.sampled.values()),
        "sampled_seen": comparison.sampled_seen,
        "overheard": book.overheard.total(),
        "overheard_seen": comparison.overheard_seen,
        "empty": int(not len(book) and not book.sampled and not book.overheard),
    }
    failing = ["missing", "wrong", "invented", "twice", "time_off", "holes", "heads_not_reached", "conflicts", "empty"]
    failing += ["unfounded"] if excuse_lost else ["lost_lines", "lost_events", "given_up"]
    failed = [name for name in failing if counts[name]]
    examples = comparison.examples | ({"not_whole": not_whole} if not_whole else {})
    return counts | {"failed": failed, "examples": examples, "good": not failed}


def _median(errors_s: Sequence[float]) -> float:
    return round(sorted(errors_s)[len(errors_s) // 2], 3) if errors_s else 0.0


def lines(said: dict[str, object], tolerance_s: float) -> list[str]:
    """The verdict for a person."""
    text = """\
facts    {facts}: {arrived} arrived, {missing} missing, {wrong} wrong, {invented} invented, {twice} twice
lost     {lost_lines} times by the truth, {lost_events} times by the ledger: {given_up} facts did not arrive, \
{unfounded} numbers by the ledger alone
time     median {time_median_s} s, max {time_max_s} s off; {time_off} beyond {tolerance} s, {untimed} without a time
numbers  {packs} packs held, {copies} copies, {holes} holes, {heads_not_reached} heads not reached, \
{conflicts} conflicts, {rejects} rejects
sampled  {sampled_seen} of {sampled} levels seen within {tolerance} s (told, not judged)
overheard {overheard_seen} of {overheard} (said once: missing is told, invented is judged)"""
    found = text.format(**said, tolerance=f"{tolerance_s:g}").splitlines()
    examples = said["examples"]
    assert isinstance(examples, dict)
    found += [f"         {name}: {'; '.join(shown)}" for name, shown in examples.items()]
    failed = said["failed"]
    assert isinstance(failed, list)
    return [*found, "verdict  " + (f"BAD: {', '.join(failed)}" if failed else "GOOD")]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--truth", metavar="FILE", type=Path, required=True, help="what `linli simulate` wrote")
    parser.add_argument("--db", metavar="FILE", type=Path, required=True, help="what `linli city` wrote")
    parser.add_argument("--gateway", help="whose facts (default: the only one in the ledger)")
    parser.add_argument(
        "--time-tolerance", metavar="S", type=float, default=TIME_TOLERANCE_S, help="(default: %(default)g s)"
    )
    parser.add_argument(
        "--excuse-lost", action="store_true", help="what a device itself said to have given up may be missing"
    )
    parser.add_argument("--json", action="store_true", help="a JSON object as the last line")


def run(arguments: argparse.Namespace) -> int:
    try:
        ledger = Ledger(arguments.db, watching=True)
        try:
            said = _compare(ledger, arguments)
        finally:
            ledger.close()
    except (LedgerError, TruthError) as error:
        print(f"linli verify: {error}", file=sys.stderr)
        return WRONG_USE
    except msgspec.MsgspecError as error:
        print(f"linli verify: the ledger holds a pack that keeps no contract: {error}; expected SenML or CloudEvents")
        return FAILED
    print("\n".join(lines(said, arguments.time_tolerance)))
    if arguments.json:
        print(json.dumps(said, ensure_ascii=False))
    return GOOD if said["good"] else FAILED


def _compare(ledger: Ledger, arguments: argparse.Namespace) -> dict[str, object]:
    gateway = arguments.gateway or _only_gateway(ledger)
    comparison = Comparison(read_truth(arguments.truth))
    comparison.feed(ledger, gateway)
    comparison.finish(arguments.time_tolerance)
    return verdict(comparison, *numbers(ledger, gateway), arguments.time_tolerance, arguments.excuse_lost)


def _only_gateway(ledger: Ledger) -> str:
    names = [name for (name,) in ledger.rows("SELECT gateway FROM gateways ORDER BY gateway")]
    if len(names) > 1:
        raise LedgerError(f"the ledger holds {', '.join(names[:5])}; expected one gateway; choose with --gateway")
    return names[0] if names else ""
