"""Reactions and outputs as a test wants them, without a site file."""

from collections.abc import Callable, Mapping

from drivers.outputs import Output
from gateway.alarms import Rule
from gateway.contract import Label
from gateway.deeds import Deeds
from gateway.modes import Modes
from gateway.pending import Pending
from gateway.reactions import Plan, Reactions
from gateway.switches import Switch, Switches, Way, output_alarm


def deeds(
    plans: list[Plan], outputs: dict[str, Output], pending: Pending, label: Callable[[], Label],
    kept: Mapping[str, object] | None = None,
) -> Deeds:  # fmt: skip
    """The pipeline's alarms need `rules_of(outputs)` too."""
    kept = kept or {}
    reactions = Reactions(plans, label, pending.keep, kept)
    switches = [Switch(Way(name, "valve" if name == "valve" else "led"), output) for name, output in outputs.items()]
    modes = Modes({}, label, pending.keep, kept)
    return Deeds(reactions, Switches(switches, [reactions.wish], label, pending.keep, kept), modes, pending, label)


def rules_of(outputs: dict[str, Output]) -> list[Rule]:
    """The alarms that every output has."""
    return [Rule(output_alarm(name), name, "high", ()) for name in outputs]
