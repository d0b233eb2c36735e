"""Where a node starts. On the board, /main.py is: from drivers.node.main import run; run()

/board.py says what is wired where: a copy of one of drivers/node/boards.
"""

import time

from drivers.node.node import Node

TURN_MS = 5  # the port's 1024 bytes hold 88 ms of line
FOLDER = "/"  # of the flash


def run(folder=FOLDER):
    """Never returns. The watchdog is fed here alone, after a whole turn: whatever hangs or raises resets the node."""
    import board

    node = Node(board, folder.rstrip("/"))
    watchdog = board.watchdog()
    while True:
        node.turn()
        watchdog.feed()
        time.sleep_ms(TURN_MS)
