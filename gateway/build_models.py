"""The models that a site names, with what an earlier run learnt and the hour before this start."""

from gateway.alarms import Alarms
from gateway.config import Machine, Site
from gateway.contract import Label
from gateway.detectors import Detectors
from gateway.machines import Channel, Plan
from gateway.minutes import MINUTE_S
from gateway.model_packages import PACKAGES
from gateway.pending import Pending
from gateway.store import Store
from gateway.windows import HOLD_S
from models.features import WINDOW_MIN

POLLED_HOLD_ROWS = 1.5
"""A unit that is asked each row answers a little sooner or later: its last value counts half a row longer."""


def detectors(
    site: Site, alarms: Alarms, store: Store, label: Label, kept: dict[str, object], pending: Pending
) -> Detectors:
    """With the hour before this start, so that a restart blinds no model."""
    models = alarms.models()
    if not models:
        return Detectors({})
    plans = {name: _plan(site, machine) for name, machine in site.machines.items()}
    found = Detectors.of_site(
        models, kept, pending.keep, store.path.parent / PACKAGES, alarms.rates(), plans, alarms.highs()
    )
    means = store.history.means_before(sorted(found.sensors), label, WINDOW_MIN)
    end_s = label.mono // MINUTE_S * MINUTE_S
    found.restore({sensor: {"end_s": end_s, "minutes": window} for sensor, window in means.items()}, label.mono)
    return found


def _plan(site: Site, machine: Machine) -> Plan:
    """A node and a pulse meter say a number when it changes; a unit says what it is asked, each time it is."""
    kinds = dict(machine.measured())
    polled_s = POLLED_HOLD_ROWS * machine.every_s
    channels = tuple(
        Channel(id_, kinds.get(id_, ""), polled_s if site.sensors[id_].source in site.devices else HOLD_S)
        for id_ in machine.reads
    )
    return Plan(channels, machine.every_s, machine.runs)
