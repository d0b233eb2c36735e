"""A node's firmware as a program: run.py PROJECT BOARD PORT FLASH CAUSE

Under the `micropython` command it is what runs on a board, with the `machine` of this folder; under CPython it is the
same with the few names that only MicroPython has.
"""

import sys

project, board, port, flash, cause = sys.argv[1:6]
sys.path[0] = project + "/simulator/node_vm"
sys.path.insert(1, project)
if sys.implementation.name != "micropython":
    import micropython_names  # noqa: F401

import machine

machine.box.port = port
machine.box.cause = int(cause)
sys.modules["board"] = getattr(__import__("drivers.node.boards." + board).node.boards, board)

from drivers.node.main import run

run(flash)
