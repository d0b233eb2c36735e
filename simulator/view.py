"""The demo's live page in a terminal: the only file that imports rich."""

from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gateway.config import Site
from simulator.scene import UNKNOWN, Happening, Scene, flows, output_words, state_words, streams

HAPPENINGS_SHOWN = 10
_STALE_S = 10.0
_STREAM_WORDS = {"alarms": "告警", "events": "事件", "readings": "读数", "health": "状况"}
_OUTPUT_WORDS = {"valve": "阀门 valve", "strobe": "警示灯 strobe", "buzzer": "蜂鸣器 buzzer"}
_KIND_STYLES = {"alarm": "bold red", "output": "bold yellow", "city": "green", "uplink": "cyan", "scenario": "bold"}


class LivePage:
    """Use with `with`; the last frame stays on the screen."""

    def __init__(self, site: Site, console: Console | None = None) -> None:
        self._site = site
        self._live = Live(console=console or Console(), auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> "LivePage":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, scene: Scene, _fresh: list[Happening]) -> None:
        self._live.update(self.page(scene), refresh=True)

    def page(self, scene: Scene) -> Panel:
        columns = Table.grid(expand=True, padding=(0, 2))
        columns.add_column(ratio=1)
        columns.add_column(ratio=1)
        columns.add_row(self._house(scene), self._water(scene))
        columns.add_row(self._streams(scene), self._links(scene))
        parts: list[Any] = [self._now(scene), "", columns, "", self._happened(scene)]
        page = f"页面 page {scene.page_url} · " if scene.page_url else ""
        return Panel(Group(*parts), title=f"邻里 Linli · {self._site.name}", subtitle=f"{page}Ctrl-C 结束 ends it")

    def _now(self, scene: Scene) -> Table:
        table = Table.grid(expand=True, padding=(0, 1))
        table.add_column(ratio=1)
        table.add_column(width=30)
        table.add_column(justify="right", width=14)
        s = scene.s or 0.0
        clock = f"{s:.0f} / {scene.ends_s:.0f} s"
        bar = ProgressBar(total=scene.ends_s, completed=min(s, scene.ends_s))
        table.add_row(Text(f"现在 now: {scene.now[0]} {scene.now[1]}", style="bold"), bar, clock)
        return table

    def _house(self, scene: Scene) -> Table:
        table = _table("本地 here", "")
        status: Any = scene.status
        if status is None:
            table.add_row("网关 gateway", Text(f"{UNKNOWN}: 没有应答 no answer", style="dim"))
            return table
        for name, alarm in self._site.alarms.items():
            state = status["alarms"].get(name, "normal")
            style = "green" if state == "normal" else "bold red"
            table.add_row(f"告警 {alarm.title}", Text(state_words(state), style=style))
        for name, output in self._site.outputs.items():
            on = status["outputs"].get(name)
            words = UNKNOWN if on is None else output_words(output.kind, on)
            title = _OUTPUT_WORDS.get(output.kind, name)
            table.add_row(title, Text(words, style="yellow" if on else ""))
        return table

    def _water(self, scene: Scene) -> Table:
        table = _table("水与大厅 water and hall", "")
        for name, value, age_s in flows(self._site, scene):
            title = self._site.sensors[name].name
            if value is None:
                table.add_row(title, Text(UNKNOWN, style="dim"))
            else:
                style = "dim" if age_s > _STALE_S else ""
                table.add_row(title, Text(f"{value:6.2f} L/min  {age_s:.0f} 秒前 s ago", style=style))
        if scene.tickets is None:
            table.add_row("等候 waiting", Text(UNKNOWN, style="dim"))
        else:
            age = f"  {scene.city_age_s:.0f} 秒前 s ago" if scene.city_age_s is not None else ""
            table.add_row("等候 waiting (平台账本 by the ledger)", f"{scene.tickets} 人 people{age}")
        return table

    def _streams(self, scene: Scene) -> Table:
        table = _table("消息包 packs", "已存 stored", "平台 at the city", "待确认 waiting")
        for name, *counts in streams(scene):
            cells = [Text("?", style="dim") if count is None else Text(str(count)) for count in counts]
            if counts[2]:
                cells[2].stylize("yellow")
            table.add_row(f"{_STREAM_WORDS[name]} {name}", *cells)
        return table

    def _links(self, scene: Scene) -> Table:
        table = _table("线路 lines", "")
        up = scene.broker_up
        table.add_row("消息服务器 broker", Text("在线 up" if up else "不在 away", style="green" if up else "bold red"))
        status: Any = scene.status
        if status is not None:
            connected = status["uplink"]["connected"]
            words = "已连接 connected" if connected else "失联，本地照常 alone, working on"
            table.add_row("网关 gateway", Text(words, style="green" if connected else "yellow"))
            over = scene.s is not None and scene.s > scene.ends_s  # then the simulator has taken its lines with it
            for name, port in status["ports"].items():
                style = "green" if port["open"] else "dim" if over else "bold red"
                table.add_row(name, Text("已接通 open" if port["open"] else "断开 unplugged", style=style))
        return table

    def _happened(self, scene: Scene) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_column(justify="right", width=7)
        table.add_column()
        for happening in scene.happened[-HAPPENINGS_SHOWN:]:
            words = Text(f"{happening.zh}  {happening.en}", style=_KIND_STYLES.get(happening.kind, ""))
            table.add_row(f"{happening.s:.1f} s", words)
        return table


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index and heading else "left")
    return table
