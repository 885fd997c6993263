"""A real, headless ComfyUI with the pack in it, for the demo and the tests.

    with ComfyServer(where.comfyui, where.python) as server:
        run = server.run(workflow, on_event=print)
        data = server.fetch(run.files[0])

Needs `websocket-client`; the server itself runs in the interpreter that is given.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websocket

PACK = Path(__file__).resolve().parent.parent
PACK_NAME = "AVGen"
FOLDERS = ("custom_nodes", "models", "input", "output", "temp", "user/default")
# Else the page greets a new user with a dialog that covers the graph.
PAGE_SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Notification.ShowVersionUpdates": False,
    "Comfy.Minimap.Visible": False,
    "Comfy.Workflow.Persist": False,
}
LOG_TAIL = 4000

Workflow = dict[str, dict[str, Any]]
EventHandler = Callable[[str, dict[str, Any]], None]


class ServerError(RuntimeError):
    """The server did not start, stopped, or did not answer."""


class Rejected(ServerError):
    """The server refused a workflow before running it."""

    def __init__(self, error: dict[str, Any], node_errors: dict[str, Any]) -> None:
        reasons = [
            f"{problem['class_type']} (node {node}): {reason['message']}: {reason['details']}"
            for node, problem in node_errors.items()
            for reason in problem["errors"]
        ]
        super().__init__("\n".join(reasons) or f"{error.get('message')}: {error.get('details')}")
        self.error, self.node_errors = error, node_errors


@dataclass(frozen=True)
class Event:
    seconds: float
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Preview:
    image: bytes
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Text:
    """A message that a node showed while it ran."""

    node: str
    text: str


@dataclass(frozen=True)
class OutputFile:
    """One file that a node saved, and where it lies under the server's folders."""

    filename: str
    subfolder: str
    type: str


@dataclass
class Run:
    """Everything the server said about one queued workflow."""

    prompt_id: str
    status: str = "pending"  # then success, error or interrupted
    error: dict[str, Any] | None = None
    events: list[Event] = field(default_factory=list)
    previews: list[Preview] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.status == "success"

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event.data for event in self.events if event.kind == kind]

    @property
    def executed(self) -> list[str]:
        """Nodes that really ran, in order."""
        return [data["node"] for data in self.of("executing") if data.get("node")]

    @property
    def cached(self) -> list[str]:
        return [node for data in self.of("execution_cached") for node in data["nodes"]]

    @property
    def files(self) -> list[OutputFile]:
        values = (value for shown in self.outputs.values() for value in shown.values())
        items = (item for value in values if isinstance(value, list) for item in value)
        return [
            OutputFile(item["filename"], item.get("subfolder", ""), item.get("type", "output"))
            for item in items
            if isinstance(item, dict) and "filename" in item
        ]

    @property
    def explanation(self) -> str:
        """Why the run did not succeed, in one line."""
        if self.error is None:
            return self.status
        message = str(self.error.get("exception_message", "")).strip() or self.status
        return f"{self.error.get('node_type', 'node')} (node {self.error.get('node_id', '?')}): {message}"


class ComfyServer:
    """Starts ComfyUI on a free loopback port with a base folder of its own."""

    def __init__(
        self,
        comfyui: Path,
        python: Path,
        *,
        base: Path | None = None,
        packs: Mapping[str, Path] | None = None,
        arguments: Sequence[str] = ("--cpu",),
        start_timeout: float = 180,
    ) -> None:
        """`base` holds custom_nodes, models, input and output; a temporary folder unless given.

        `packs` maps folder names in custom_nodes to the packs linked there; this pack unless given.
        """
        self.comfyui, self.python = Path(comfyui), Path(python)
        self.is_base_temporary = base is None
        self.base = Path(base or tempfile.mkdtemp(prefix="avgen-comfyui-"))
        self.packs = {PACK_NAME: PACK} if packs is None else dict(packs)
        self.arguments = tuple(arguments)
        self.start_timeout = start_timeout
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    # ---- life ----

    def __enter__(self) -> ComfyServer:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._prepare_base()
        self.port = free_port()
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [str(self.python), "main.py", *self._options()],
                cwd=self.comfyui,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A Ctrl-C in the terminal reaches us alone, and we stop the server in order.
                start_new_session=True,
            )
        self._wait_until_ready(self.process)

    def stop(self, grace: float = 15) -> None:
        """End the server as Ctrl-C does, so that it cleans up, and remove a temporary base folder."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(grace)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.is_base_temporary:
            shutil.rmtree(self.base, ignore_errors=True)

    def _prepare_base(self) -> None:
        for folder in FOLDERS:
            (self.base / folder).mkdir(parents=True, exist_ok=True)
        settings = self.base / "user" / "default" / "comfy.settings.json"
        if not settings.exists():
            settings.write_text(json.dumps(PAGE_SETTINGS), "utf-8")
        for name, pack in self.packs.items():
            link = self.base / "custom_nodes" / name
            if not link.exists():
                link.symlink_to(pack, target_is_directory=True)

    def _options(self) -> list[str]:
        return [
            *("--listen", "127.0.0.1", "--port", str(self.port)),
            *("--base-directory", str(self.base), "--database-url", "sqlite:///:memory:"),
            *("--disable-auto-launch", "--disable-api-nodes"),
            *self.arguments,
        ]

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self.start_timeout
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ServerError(f"ComfyUI ended with status {process.returncode}:\n{self._last_words()}")
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                self.get("/system_stats", timeout=2)
                return
            time.sleep(0.1)
        raise ServerError(f"ComfyUI was not ready after {self.start_timeout:g} s:\n{self._last_words()}")

    # ---- what it says ----

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_path(self) -> Path:
        return self.base / "server.log"

    def log(self) -> str:
        return self.log_path.read_text("utf-8", errors="replace") if self.log_path.exists() else ""

    def _last_words(self) -> str:
        return self.log()[-LOG_TAIL:]

    def request(self, path: str, data: object = None, timeout: float = 60) -> bytes:
        request = urllib.request.Request(self.url + path)
        if data is not None:
            request.data = json.dumps(data).encode()
            request.add_header("Content-Type", "application/json")
        # Never through a proxy that the user may have set: the server is on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=timeout) as reply:
            return reply.read()

    def get(self, path: str, timeout: float = 60) -> Any:
        return json.loads(self.request(path, timeout=timeout))

    def fetch(self, file: OutputFile) -> bytes:
        query = urllib.parse.urlencode(vars(file))
        return self.request(f"/view?{query}")

    def path_of(self, file: OutputFile) -> Path:
        return self.base / file.type / file.subfolder / file.filename

    def interrupt(self) -> None:
        self.request("/interrupt", {})

    def peak_memory_mb(self) -> int:
        """Most resident memory the server ever held (Linux only)."""
        if self.process is None:
            raise ServerError("the server was not started")
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1024

    # ---- running workflows ----

    def run(
        self,
        workflow: Workflow,
        *,
        timeout: float = 600,
        on_event: EventHandler | None = None,
        ui_workflow: dict[str, Any] | None = None,
    ) -> Run:
        """Queue a workflow in API format and follow it to its end.

        `ui_workflow` goes into the saved files' metadata, as the page does it.
        """
        client = uuid.uuid4().hex
        address = f"ws://127.0.0.1:{self.port}/ws?clientId={client}"
        connection = websocket.create_connection(address, timeout=timeout, http_no_proxy=["127.0.0.1"])
        try:
            # Only heard if it is the first message.
            features = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
            connection.send(json.dumps(features))
            run = Run(self._queue(workflow, client, ui_workflow))
            self._follow(run, connection, timeout, on_event)
        finally:
            connection.close()
        run.outputs = self.get(f"/history/{run.prompt_id}").get(run.prompt_id, {}).get("outputs", {})
        return run

    def _queue(self, workflow: Workflow, client: str, ui_workflow: dict[str, Any] | None) -> str:
        body: dict[str, Any] = {"prompt": workflow, "client_id": client}
        if ui_workflow is not None:
            body["extra_data"] = {"extra_pnginfo": {"workflow": ui_workflow}}
        try:
            reply = json.loads(self.request("/prompt", body))
        except urllib.error.HTTPError as error:
            if error.code != 400:
                raise
            refusal = json.loads(error.read())
            raise Rejected(refusal.get("error") or {}, refusal.get("node_errors") or {}) from None
        # An invalid branch beside a valid one is dropped without refusing the rest.
        if reply.get("node_errors"):
            self.interrupt()
            raise Rejected({}, reply["node_errors"])
        return reply["prompt_id"]

    def _follow(self, run: Run, connection: websocket.WebSocket, timeout: float, on_event: EventHandler | None) -> None:
        begun = time.monotonic()
        while True:
            seconds = time.monotonic() - begun
            connection.settimeout(max(timeout - seconds, 0.01))
            try:
                message = connection.recv()
            except websocket.WebSocketTimeoutException:
                self.interrupt()
                raise ServerError(f"no end after {timeout:g} s; last heard: {run.events[-3:]}") from None
            except (websocket.WebSocketConnectionClosedException, ConnectionError):
                message = ""
            if not message:
                raise ServerError(f"the server went away:\n{self._last_words()}")
            if isinstance(message, bytes):
                add_binary(run, message)
                continue
            event = parse_event(message, seconds)
            if event.data.get("prompt_id", run.prompt_id) != run.prompt_id:
                continue
            run.events.append(event)
            note_end(run, event)
            if on_event is not None:
                on_event(event.kind, event.data)
            if event.kind == "executing" and "prompt_id" in event.data and event.data.get("node") is None:
                return  # the last word of a run; its history is complete by now


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def parse_event(message: str, seconds: float) -> Event:
    content = json.loads(message)
    return Event(seconds, content["type"], content.get("data") or {})


def note_end(run: Run, event: Event) -> None:
    if event.kind == "execution_success":
        run.status = "success"
    elif event.kind in ("execution_error", "execution_interrupted"):
        run.status, run.error = event.kind.removeprefix("execution_"), event.data


def add_binary(run: Run, message: bytes) -> None:
    """A kind, then for an image its format (1) or the length of its metadata (4), for a text that of its node (3)."""
    kind, second = struct.unpack(">II", message[:8])
    if kind == 1:
        run.previews.append(Preview(message[8:], {}))
    elif kind == 3:
        run.texts.append(Text(message[8 : 8 + second].decode(), message[8 + second :].decode()))
    elif kind == 4:
        run.previews.append(Preview(message[8 + second :], json.loads(message[8 : 8 + second])))
