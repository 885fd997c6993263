"""ComfyUI's page, driven as a user would: load a workflow, edit a widget, press Run, look."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, ViewportSize

VIEWPORT: ViewportSize = {"width": 1600, "height": 900}
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]

READY = """() => window.app?.graph && window.app.canvas && window.app.extensionManager
    && !window.app.extensionManager.spinner && window.LiteGraph
    && Object.keys(LiteGraph.registered_node_types).length > 50"""

ENDS = ["execution_success", "execution_error", "execution_interrupted"]

WATCH = """ends => {
    window.runEnds = [];
    for (const kind of ends)
        app.api.addEventListener(kind, event => window.runEnds.push({kind, ...event.detail}));
}"""

# Sets the view itself: the page's own "fit view" animates and right after a load frames a stale node.
FIT = """async () => {
    const repaint = () => new Promise(done => requestAnimationFrame(() => setTimeout(done, 30)));
    await repaint();
    const nodes = app.graph._nodes, view = app.canvas.ds, canvas = app.canvas.canvas;
    if (!nodes.length) return;
    const left = Math.min(...nodes.map(n => n.pos[0])), top = Math.min(...nodes.map(n => n.pos[1] - 30));
    const right = Math.max(...nodes.map(n => n.pos[0] + n.size[0]));
    const bottom = Math.max(...nodes.map(n => n.pos[1] + n.size[1]));
    const margin = {left: 90, top: 150, right: 40, bottom: 90};
    view.scale = Math.min(1.2, (canvas.clientWidth - margin.left - margin.right) / (right - left),
        (canvas.clientHeight - margin.top - margin.bottom) / (bottom - top));
    view.offset[0] = margin.left / view.scale - left;
    view.offset[1] = margin.top / view.scale - top;
    app.canvas.setDirty(true, true);
    await repaint();
}"""

FIND_WIDGET = """const node = app.graph._nodes.find(n => n.comfyClass === nodeClass || n.type === nodeClass);
    if (!node) throw new Error(`no node ${nodeClass} in the graph`);
    const widget = node.widgets?.find(w => w.name === name);
    if (!widget) throw new Error(`${nodeClass} has no widget ${name}`);"""

# Videos are elements of the page; pictures are drawn on the canvas by their node.
SHOWN = """() => [
    ...[...document.querySelectorAll('video')].filter(video => video.readyState >= 2).map(v => v.videoWidth),
    ...app.graph._nodes.flatMap(node => node.imgs ?? []).map(image => image.naturalWidth),
].some(width => width > 0)"""


class ComfyPage:
    """One open page. `errors` collects exceptions that nothing on the page caught."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.add_init_script("localStorage.setItem('vueNodesBannerDismissed', 'true')")
        page.goto(url, wait_until="domcontentloaded")
        page.wait_for_function(READY, timeout=60_000)
        page.evaluate(WATCH, ENDS)

    def load(self, workflow: str) -> None:
        """Load a workflow in UI format, given as JSON text.

        Text, because a value would have its missing members turned into null on the way,
        which the page's own check of workflows refuses.
        """
        self.page.evaluate("text => app.loadGraphData(JSON.parse(text), true, true, 'test')", workflow)
        self.page.evaluate(FIT)

    def missing_nodes(self) -> list[str]:
        """Types in the graph that the page does not know."""
        return self.page.evaluate(
            "() => app.graph._nodes.map(n => n.type).filter(t => !(t in LiteGraph.registered_node_types))"
        )

    def widget(self, node_class: str, name: str) -> Any:
        return self.page.evaluate(
            f"([nodeClass, name]) => {{ {FIND_WIDGET} return widget.value; }}", [node_class, name]
        )

    def set_widget(self, node_class: str, name: str, value: str | int | float | bool) -> None:
        """Edit a widget of the first node of a class; text goes through the page's own text field."""
        script = f"""([nodeClass, name, value]) => {{ {FIND_WIDGET}
            const field = widget.inputEl ?? widget.element;
            if (field?.tagName === 'TEXTAREA') {{
                field.value = value;
                field.dispatchEvent(new Event('input', {{bubbles: true}}));
            }} else {{
                widget.value = value;
                widget.callback?.(value, app.canvas, node);
            }}
            app.canvas.setDirty(true, true);
        }}"""
        self.page.evaluate(script, [node_class, name, value])

    def run(self, timeout: float = 120) -> dict[str, Any]:
        """Press Run and wait for the end; the end's message, its `kind` being execution_success and so on."""
        self.page.evaluate("() => { window.runEnds.length = 0; }")
        self.page.get_by_role("button", name="Run", exact=True).first.click()
        self.page.wait_for_function("() => window.runEnds.length", timeout=timeout * 1000)
        return self.page.evaluate("() => window.runEnds[0]")

    def wait_for_result(self, timeout: float = 20) -> None:
        """Wait until a picture or video that the server made is really shown."""
        self.page.wait_for_function(SHOWN, timeout=timeout * 1000)

    def as_api(self) -> dict[str, Any]:
        """The graph as the page would queue it."""
        text = self.page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).output)")
        return json.loads(text)

    def as_ui(self) -> dict[str, Any]:
        return json.loads(self.page.evaluate("() => JSON.stringify(app.graph.serialize())"))

    def drop(self, file: Path, media_type: str) -> None:
        """Drop a file on the canvas: a workflow, or a picture or video that carries one."""
        transfer = self.page.evaluate_handle(
            """([bytes, name, type]) => { const transfer = new DataTransfer();
                transfer.items.add(new File([new Uint8Array(bytes)], name, {type})); return transfer; }""",
            [list(file.read_bytes()), file.name, media_type],
        )
        for event in ("dragover", "drop"):
            self.page.dispatch_event("#graph-canvas", event, {"dataTransfer": transfer})

    def screenshot(self, path: Path) -> None:
        self.page.wait_for_timeout(800)  # the canvas repaints, pictures arrive
        self.page.screenshot(path=path)
