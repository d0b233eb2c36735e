"""The alarms every site has without naming them; none of a site file can be called so, for their names hold a colon."""

from gateway.config import Site
from gateway.site_devices import model_of


def source_alarm(source: str) -> str:
    """A line, or a unit on it, is silent."""
    return f"source:{source}"


def own_alarms(site: Site) -> dict[str, tuple[str, str]]:
    """{alarm: (title, condition)}. Every one is of severity high."""
    found = {source_alarm(name): (f"{name} 无声 silent", "silent") for name in (*site.buses, *site.devices)}
    for name, device in site.devices.items():
        if model_of(device).setting:
            found[f"settings:{name}"] = (f"{name} 设置被改 settings changed", "settings")
    for name, output in site.outputs.items():
        if output.proof:
            found[f"proof:{name}"] = (f"{name} 未到位 not proved", "proof")
    return found
