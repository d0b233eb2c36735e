"""A broker of one's own: mosquitto where it is installed, else the one embedded in iotcore. The only iotcore importer.

Both listen on 127.0.0.1 alone and trust everybody: for the demo and for tests, never for a centre. iotcore keeps
nothing on disk and speaks MQTT 5 only on the listener opened here; persistence and ACLs need mosquitto.
"""

import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

from gateway.clock import SystemClock, sleep_s

HOST = "127.0.0.1"
START_TRIES = 3  # the port was free when it was chosen; somebody may have been quicker
_START_S = 10.0
_STOP_S = 5.0

_MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {folder}/
autosave_interval 5
max_queued_messages 100000
max_inflight_messages 100
set_tcp_nodelay true
log_dest file {folder}/mosquitto.log
{user}{extra}"""

_IOTCORE = """\
id = 0
[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v5.1]
name = "v5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 1048576
max_inflight_count = 100
dynamic_filters = true
"""


class BrokerError(Exception):
    """No broker could be started: found, expected, what to do."""


class Broker:
    """One broker process with a folder and, for its whole life, one port.

    kind: "mosquitto", "embedded", or "auto" (mosquitto when it is there). folder: made when missing; mosquitto keeps
    its sessions and messages there. extra: further lines of mosquitto's configuration. Raises BrokerError.
    """

    def __init__(self, folder: Path, kind: str = "auto", *, port: int = 0, extra: str = "") -> None:
        self.kind = ("mosquitto" if mosquitto_path() else "embedded") if kind == "auto" else kind
        self._folder = folder.absolute()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._extra = extra
        self._given_port = port
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._clock = SystemClock()

    @property
    def url(self) -> str:
        return f"mqtt://{HOST}:{self.port}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> "Broker":
        """Returns when it takes connections."""
        for _ in range(START_TRIES):
            if self._launch():
                return self
            if self._given_port:
                break
            self.port = 0
        raise BrokerError(
            f"{self.kind} did not take connections on {HOST}:{self.port}; expected it within {_START_S:.0f} s; "
            f"see {self._folder}/broker.log"
        )

    def _launch(self) -> bool:
        self.port = self.port or free_port()
        with open(self._folder / "broker.log", "ab") as log:
            command = self._command()
            environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
            pipe = subprocess.PIPE if self.kind == "embedded" else subprocess.DEVNULL
            self._process = subprocess.Popen(command, stdin=pipe, stdout=log, stderr=log, env=environment)
        end_s = self._clock.mono_s() + _START_S
        while self._process.poll() is None and self._clock.mono_s() < end_s:
            if answers(self.port):
                sleep_s(0.05)  # if it was somebody else's answer, ours has given up by now
                return self.running
            sleep_s(0.02)
        self.kill()
        return False

    def _command(self) -> list[str]:
        if self.kind == "embedded":
            settings = self._folder / "iotcore.toml"
            settings.write_text(_IOTCORE.format(port=self.port))
            return [sys.executable, "-m", "simulator.broker", str(settings)]
        program = mosquitto_path()
        if program is None:
            raise BrokerError("no mosquitto on PATH; expected Debian's package; install it or use the embedded broker")
        user = "user root\n" if os.geteuid() == 0 else ""  # as root it would become a user who may not write here
        settings = self._folder / "mosquitto.conf"
        settings.write_text(_MOSQUITTO.format(port=self.port, folder=self._folder, user=user, extra=self._extra))
        return [program, "-c", str(settings)]

    def stop(self) -> None:
        """A clean end: mosquitto writes what it holds. Safe to call twice."""
        self._end(kill=False)

    def kill(self) -> None:
        """The end that nobody prepared: what was not saved is gone."""
        self._end(kill=True)

    def _end(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_S)
        if process.stdin is not None:
            process.stdin.close()

    def __enter__(self) -> "Broker":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def mosquitto_path() -> str | None:
    """Debian puts it into /usr/sbin, which is not on everybody's PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether something takes connections on this port."""
    try:
        with socket.create_connection((HOST, port), timeout=0.2):
            return True
    except OSError:
        return False


def _serve(settings: str) -> None:
    """The child: serves until it is ended or its parent's pipe closes, because rumqttd has no way to stop."""
    from iotcore import IotCoreBroker

    def end_with_parent() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    IotCoreBroker(config_path=settings).run_forever()


if __name__ == "__main__":
    _serve(sys.argv[1])
