"""Who speaks on a line that should be somebody else's: told by the frames that are whole in what came."""

from drivers import kiosk_line, node_frame

TAIL_BYTES = 512
"""What to keep of a line that nobody understands; a heartbeat of each kind is much shorter."""

NODE, KIOSK, PRINTER = "a node", "a kiosk that speaks LK1", "an ESC/POS printer's line"


def who(tail: bytes) -> str:
    """NODE, KIOSK, PRINTER, or "" when the bytes are none of these."""
    if node_frame.Splitter().bodies(b"\0" + tail):
        return NODE
    lines = kiosk_line.LineSplitter()
    lines.feed(tail)
    if lines.good:
        return KIOSK
    if b"\x1b@" in tail or b"\x1dV" in tail:
        return PRINTER
    return ""
