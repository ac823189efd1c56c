"""The routes of the page: all are questions (GET), answered in JSON."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rarefault.page.journal.fleet import Kind, Question, Row, Sort
from rarefault.page.journal.follower import Follower
from rarefault.page.journal.history import sample_history, verdict_history
from rarefault.page.journal.queries import PageJournal
from rarefault.page.model_card import ModelCards
from rarefault.page.web.parameters import Parameters, RequestError
from rarefault.page.web.shapes import (
    Access,
    Alarm,
    AlarmList,
    Answer,
    Device,
    Health,
    Muted,
    Reason,
    Rejected,
    Status,
    alarm_of,
    answer_of,
)
from rarefault.runtime import __version__
from rarefault.runtime.errors import JournalError, ModelFileError
from rarefault.runtime.journal.damage import Damage
from rarefault.runtime.journal.records import AlarmRecord, Feedback
from rarefault.runtime.times import TIME_LIMIT_MS

T = TypeVar("T")
#: Most rows of an answer.
MOST_ROWS = 200
#: States of a device that are shown, examples of rejections, muted devices, channels of one question.
STATES, EXAMPLES, MUTED, CHANNELS = 100, 3, 50, 12
#: Searches of the past that run at a time, so that other questions have room; how long further ones wait, seconds.
SEARCHES, WAIT_S = 2, 6.0


class Json(Response):
    """An answer in JSON, which nobody keeps."""

    media_type = "application/json"

    def __init__(self, content: object, status_code: int = 200) -> None:
        super().__init__(msgspec.json.encode(content), status_code, {"Cache-Control": "no-store"})


class Api:
    """What the routes need.

    Args:
        follower: of the journal.
        cards: of the model file.
    """

    def __init__(self, follower: Follower, cards: ModelCards) -> None:
        self.follower = follower
        self.cards = cards
        self._searches = threading.BoundedSemaphore(SEARCHES)

    def routes(self) -> list[Route]:
        """All routes below ``/api/v1``."""
        handlers = {
            "status": self.status,
            "fleet": self.fleet,
            "alarms": self.alarms,
            "device": self.device,
            "verdicts": self.verdicts,
            "samples": self.samples,
            "health": self.health,
            "model": self.model,
        }
        return [Route(f"/api/v1/{name}", _answering(handler)) for name, handler in handlers.items()]

    def status(self, request: Request) -> Status:
        """What stands around each view."""
        Parameters(request)
        follower = self.follower
        access = Access(user=None, may_answer=False)
        return Status(__version__, access, follower.state, _now_ms(), follower.fleet.counts())

    def fleet(self, request: Request) -> object:
        """Devices that fit a question."""
        asks = Parameters(request, "q", "kinds", "sort", "down", "offset", "limit")
        question = Question(
            text=asks.text("q", ""),
            kinds=asks.choices("kinds", Kind),  # type: ignore[arg-type]
            sort=asks.choice("sort", Sort, "worst"),
            descending=asks.switch("down"),
            offset=asks.number("offset", 0, 0, 10_000_000),
            limit=asks.number("limit", 50, 1, MOST_ROWS),
        )
        return self.follower.fleet.page(question)

    def alarms(self, request: Request) -> AlarmList:
        """The alarms that stand, or those of the past, a page at a time."""
        asks = Parameters(request, "open", "before", "limit")
        limit = asks.number("limit", 50, 1, MOST_ROWS)
        with self._journal() as journal:
            if asks.switch("open"):
                offset = asks.number("before", 0, 0, 10_000_000)
                keys = self.follower.fleet.open_alarms()
                shown = keys[offset : offset + limit]
                marks = ", ".join("?" * len(shown))
                found = dict(journal.numbered_alarms(f"WHERE key IN ({marks})", tuple(shown)))
                records = [(key, found[key]) for key in shown if key in found]
                following = offset + limit if offset + limit < len(keys) else None
            else:
                records = journal.alarms_before(asks.number("before", 1 << 48, 0, 1 << 48), limit)
                following = records[-1][0] if len(records) == limit else None
            return AlarmList(_alarms(journal, records, journal.answers()), following)

    def device(self, request: Request) -> Device:
        """One device."""
        name = Parameters(request, "device").text("device")
        row, _ = self._device(name)
        with self._journal() as journal:
            answers = journal.answers(name)
            records = journal.alarms_of(name, STATES + 1)
            alarms = _alarms(journal, records[:STATES], answers)
            channels = list(journal.channels)
        ends = [time_ms for time_ms in (row.sample_ms, row.since_ms) if time_ms is not None]
        older, newest_ms = len(records) > STATES, max(ends, default=None)
        return Device(row, alarms, older, [answer_of(answer) for answer in answers], channels, newest_ms)

    def verdicts(self, request: Request) -> object:
        """Verdicts of a device over a range."""
        asks = Parameters(request, "device", "from", "to")
        _, number = self._device(asks.text("device"))
        range_ = _range(asks)
        with self._search():
            return verdict_history(self.follower.path, number, *range_)

    def samples(self, request: Request) -> object:
        """Samples of a device over a range: of the channels that are named, or of the first ones."""
        asks = Parameters(request, "device", "from", "to", "channels")
        _, number = self._device(asks.text("device"))
        try:
            names = msgspec.json.decode(asks.text("channels", "[]"), type=list[str])
        except msgspec.MsgspecError:
            raise RequestError(400, "parameter channels must be a JSON array of names") from None
        if len(names) > CHANNELS:
            raise RequestError(400, f"parameter channels names more than {CHANNELS}")
        range_ = _range(asks)
        with self._search():
            return sample_history(self.follower.path, number, *range_, names)

    def health(self, request: Request) -> Health:
        """What an operator looks at."""
        Parameters(request)
        follower, fleet = self.follower, self.follower.fleet
        reasons: list[Reason] = []
        muted: list[Muted] = []
        salvaged_ms, salvaged = None, ""
        if follower.state.state == "ok":
            with self._journal() as journal:
                for reason, count, _ in journal.rejections():
                    found = journal.rejected_examples(reason, EXAMPLES)
                    texts = [aside.payload.decode("utf-8", "replace") for aside in found]
                    examples = [
                        Rejected(a.received_ms, a.topic, a.detail, t) for a, t in zip(found, texts, strict=True)
                    ]
                    reasons.append(Reason(reason, count, examples))
                clocks = {name: clock for name, clock in journal.clocks().items() if clock.muted}
                muted = [Muted(name, c.late_run, c.heard_ms, c.newest_ms) for name, c in sorted(clocks.items())]
                if "damage" in journal.meta and "damaged_ms" in journal.meta:
                    salvaged_ms = int(journal.meta["damaged_ms"])
                    salvaged = msgspec.json.decode(journal.meta["damage"], type=Damage).sentence()
        counts = fleet.counts()
        return Health(
            journal=follower.state,
            path=str(follower.path),
            size=_size(follower),
            newest=fleet.newest(),
            devices=sum(counts.values()),
            silent=counts["silent"],
            reasons=reasons,
            muted=muted[:MUTED],
            muted_more=max(len(muted) - MUTED, 0),
            salvaged_ms=salvaged_ms,
            salvaged=salvaged,
        )

    def model(self, request: Request) -> object:
        """What ``rarefault inspect`` says of the model file."""
        Parameters(request)
        return self.cards.card()

    @contextmanager
    def _search(self) -> Iterator[None]:
        """Wait for the turn of a search; RequestError where it does not come."""
        if not self._searches.acquire(timeout=WAIT_S):
            raise RequestError(503, "too many search the past at the moment; try again")
        try:
            yield
        finally:
            self._searches.release()

    def _journal(self) -> PageJournal:
        return PageJournal(self.follower.path)

    def _device(self, name: str) -> tuple[Row, int]:
        """A device and its number; RequestError where there is no such device."""
        fleet = self.follower.fleet
        row, number = fleet.row(name), fleet.number(name)
        if row is None or number is None:
            raise RequestError(404, "the journal has no such device")
        return row, number


def _answering(handler: Callable[[Request], object]) -> Callable[[Request], Json]:
    """A handler as a route, whose errors are sentences in JSON."""

    def answer(request: Request) -> Json:
        try:
            return Json(handler(request))
        except RequestError as error:
            return Json({"error": str(error)}, error.status)
        except (JournalError, ModelFileError) as error:
            return Json({"error": str(error)}, 503)

    return answer


def _range(asks: Parameters) -> tuple[int, int]:
    from_ms = asks.number("from", None, 0, TIME_LIMIT_MS)
    to_ms = asks.number("to", None, 0, TIME_LIMIT_MS)
    if from_ms > to_ms:
        raise RequestError(400, "parameter from is later than parameter to")
    return from_ms, to_ms


def _alarms(journal: PageJournal, records: list[tuple[int, AlarmRecord]], answers: list[Feedback]) -> list[Alarm]:
    ends = journal.ends_of_alarms(records)
    last: dict[str, Answer] = {}
    for answer in answers:
        if answer.alarm and answer.answer == "retracted":
            last.pop(answer.alarm, None)
        elif answer.alarm:
            last[answer.alarm] = answer_of(answer)
    return [alarm_of(key, record, ends.get(key), last.get(record.id)) for key, record in records]


def _size(follower: Follower) -> int:
    paths = (follower.path, follower.path.with_name(f"{follower.path.name}-wal"))
    return sum(path.stat().st_size for path in paths if path.exists())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
