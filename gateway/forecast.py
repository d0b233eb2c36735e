"""The trained forecast of waits where it knows enough and is the better one here; the plain rules elsewhere. Sans-IO.

models/queues was trained on the offices of one city (its card says which). So it answers only for a service of which a
day or ten waits are known; its bias and its intervals follow what becomes of this centre's own tickets; and where the
plain rules have been closer, they answer.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import exp, inf, log
from typing import Protocol

import msgspec

from gateway.waiting import Estimate, Forecast, Grounds, Line, PlainForecast
from models.queues import predictor
from models.queues.days import DAYS_MAX, Day, Record, Usual
from models.queues.features import features, hall
from models.queues.margins import SOFT_MIN, Margins, score_of
from models.session import ModelError

logger = logging.getLogger(__name__)

WAITS = "queue-waits"
"""The model's name."""

KEEP = "waits:"
DAYS = KEEP + "days:"
_HOUSE = KEEP + "house"
_ERRORS = KEEP + "errors:"

SAMPLE_MIN = 5.0  # as the snapshots of the training
_SAMPLES_MAX = 400  # of a day; a clock that is set to and fro begins the day anew
_DONE_LEAST = 10
_LATE_MIN = (
    60.0  # a day that begins so long after the usual first call was cut by a restart: it is no day to learn from
)
_BIAS_STEP, _BIAS_MAX = 0.02, 1.0
_ERROR_STEP, _ERRORS_LEAST = 0.05, 30
_WORSE = 1.05


class Model(Protocol):
    """As models.queues.predictor.Predictor."""

    def forecast(self, inputs: Sequence[Sequence[float]], /) -> list[predictor.Forecast]: ...

    def margins(self) -> Margins: ...


class Errors(msgspec.Struct):
    """Of one service: mean absolute error of both, min, the newest weighing most."""

    n: int = 0
    model_min: float = 0.0
    plain_min: float = 0.0

    def learn(self, model_min: float, plain_min: float) -> None:
        self.n += 1
        step = max(1 / self.n, _ERROR_STEP)
        self.model_min += (model_min - self.model_min) * step
        self.plain_min += (plain_min - self.plain_min) * step

    def plain_is_better(self) -> bool:
        return self.n >= _ERRORS_LEAST and self.model_min > _WORSE * self.plain_min


class House(msgspec.Struct):
    """What this centre has taught. bias: of ln minutes. low, high, waits, owed: models/queues/margins.py."""

    bias: float
    low: float
    high: float
    waits: int
    owed: float = 0.0

    def margins(self) -> Margins:
        return Margins(self.low, self.high, self.waits, self.owed)


class _Service:
    """records: its earlier days. calls: of Line.calls, when the day began."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records
        self.day: Day | None = None
        self.weekday = -1
        self.calls = 0

    def begin(self, line: Line, weekday: int) -> Day:
        self.day, self.weekday, self.calls = Day(Usual(self.records, weekday)), weekday, line.calls
        return self.day

    def knows_enough(self) -> bool:
        return bool(self.records) or (self.day is not None and len(self.day.done) >= _DONE_LEAST)


class TrainedForecast:
    """plain: answers where the model does not. kept: state of an earlier run. fault: why the model is out, or empty."""

    def __init__(
        self, plain: Forecast, model: Model, kept: Mapping[str, object], keep: Callable[[str, object], None]
    ) -> None:
        self._plain = plain
        self._model: Model | None = model
        self._keep = keep
        self._services: dict[str, _Service] = {}
        self._errors: dict[str, Errors] = {}
        start = model.margins()
        self._house = House(0.0, start.low, start.high, start.waits)
        self.fault = ""
        for key, value in kept.items():
            if key.startswith(KEEP):
                self._restore(key, value)

    def _restore(self, key: str, value: object) -> None:
        try:
            if key == _HOUSE:
                self._house = msgspec.convert(value, House)
            elif key.startswith(_ERRORS):
                self._errors[key.removeprefix(_ERRORS)] = msgspec.convert(value, Errors)
            elif key.startswith(DAYS):
                self._services[key.removeprefix(DAYS)] = _Service(msgspec.convert(value, list[Record]))
        except msgspec.ValidationError as error:
            logger.error("%s of an earlier version is not read (%s): the forecast learns it anew", key, error)

    # -- what is known -----------------------------------------------------------------------------------------------

    def see(self, line: Line) -> None:
        """The line as it stands. Looked at every SAMPLE_MIN, from the first sign of life of the day on."""
        if line.minute is None or line.weekday is None:
            return
        service = self._services.setdefault(line.service, _Service([]))
        if service.day and service.weekday != line.weekday:
            self._end(line.service, service)
        day = service.day
        if day and (line.minute < day.minutes[-1] or len(day.minutes) >= _SAMPLES_MAX):
            day = None
        elif day and line.minute < day.minutes[-1] + SAMPLE_MIN:
            return
        if day is None:
            if line.waiting == 0 and line.windows == 0:
                return
            day = service.begin(line, line.weekday)
        day.see(line.minute, line.windows, line.waiting, line.calls - service.calls)

    def _end(self, name: str, service: _Service) -> None:
        """The day is over: it becomes one of the earlier ones."""
        day, service.day = service.day, None
        record = day.record("", service.weekday) if day else None
        if day is None or record is None:
            return
        if service.records and day.minutes[0] > day.usual.first + _LATE_MIN:
            return
        service.records = [*service.records, record][-DAYS_MAX:]
        self._keep(DAYS + name, msgspec.to_builtins(service.records))

    # -- what is said ------------------------------------------------------------------------------------------------

    def expect(self, line: Line) -> Estimate | None:
        plain = self._plain.expect(line)
        found = self._forecast(line)
        if found is None:
            return plain
        wait_min, spread = found
        wait_min = min(max((wait_min + SOFT_MIN) * exp(self._house.bias) - SOFT_MIN, 0.0), predictor.WAIT_MAX_MIN)
        head = -inf
        if line.head and line.head_s is not None:
            head = score_of(line.head.wait_min, line.head.spread, line.head_s / 60)
        low_min, high_min = self._house.margins().interval(wait_min, spread, head)
        grounds = Grounds(wait_min, spread, (low_min, high_min), plain.wait_s if plain else None)
        errors = self._errors.get(line.service)
        if plain and errors and errors.plain_is_better():
            return plain._replace(grounds=grounds)
        return Estimate(wait_min * 60, low_min * 60, high_min * 60, grounds)

    def _forecast(self, line: Line) -> predictor.Forecast | None:
        service = self._services.get(line.service)
        if self._model is None or service is None or service.day is None or not service.knows_enough():
            return None
        if line.minute is None or line.weekday != service.weekday or (line.waiting == 0 and line.idle > 0):
            return None
        now = service.day.with_last(line.minute, line.windows, line.waiting, line.calls - service.calls)
        house = hall(s.day for s in self._services.values() if s.day and s.weekday == line.weekday)
        try:
            return self._model.forecast([features(now, house)])[0]
        except ModelError as error:
            self._model, self.fault = None, str(error)
            logger.error("the trained forecast of waits is taken out until the next start: %s", error)
            return None

    def learn(self, line: Line, told: Estimate, waited_s: float) -> None:
        self._plain.learn(line, told, waited_s)
        if told.grounds is None:
            return
        wait_min, spread, interval_min, plain_s = told.grounds
        waited_min = waited_s / 60
        margins = self._house.margins()
        margins.learn(wait_min, spread, interval_min, waited_min)
        off = log((waited_min + SOFT_MIN) / (wait_min + SOFT_MIN))
        bias = min(max(self._house.bias + _BIAS_STEP * off, -_BIAS_MAX), _BIAS_MAX)
        low, high, owed = round(margins.low, 4), round(margins.high, 4), round(margins.owed, 4)
        self._house = House(round(bias, 4), low, high, margins.waits, owed)
        self._keep(_HOUSE, msgspec.to_builtins(self._house))
        if plain_s is not None:
            errors = self._errors.setdefault(line.service, Errors())
            errors.learn(abs(wait_min - waited_min), abs(plain_s / 60 - waited_min))
            self._keep(_ERRORS + line.service, msgspec.to_builtins(errors))


@cache
def _shipped() -> predictor.Predictor:
    return predictor.Predictor()


def forecast_of(services: bool, kept: Mapping[str, object], keep: Callable[[str, object], None]) -> Forecast:
    """services: whether there is a queue at all; numpy and onnxruntime are 40 MB that only such a centre pays."""
    plain = PlainForecast(kept, keep)
    if not services:
        return plain
    try:
        return TrainedForecast(plain, _shipped(), kept, keep)
    except ModelError as error:
        logger.error("waits are forecast by the plain rules alone: %s", error)
        return plain
