"""Tokens in files."""

from __future__ import annotations

from comfy_api.latest import io

from ..avgen_core.systems.token_track import SUFFIX, TokenTrack
from . import host, types

TOKEN_FILES = host.SavedFiles(SUFFIX, "tokens file", "Save Tokens")


class AVGenSaveTokens(io.ComfyNode):
    """Tokens to one file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenSaveTokens",
            display_name="Save Tokens (AVGen)",
            category="AVGen/tokens",
            description="Saves tokens as one small file in the output folder.",
            inputs=[
                types.Tokens.Input("tokens", tooltip="The tokens to save."),
                io.String.Input(
                    "filename_prefix",
                    default="avgen/tokens",
                    tooltip="Folder and beginning of the file's name, below ComfyUI's output folder.",
                ),
            ],
            outputs=[types.Tokens.Output(display_name="tokens", tooltip="The same tokens.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, tokens: TokenTrack, filename_prefix: str) -> io.NodeOutput:
        path, shown = host.save_path(filename_prefix, SUFFIX)
        tokens.save(path)
        return io.NodeOutput(tokens, ui={"avgen_tokens": [shown]})


class AVGenLoadTokens(io.ComfyNode):
    """Tokens from their file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenLoadTokens",
            display_name="Load Tokens (AVGen)",
            category="AVGen/tokens",
            description="Loads saved tokens from ComfyUI's input or output folder.",
            inputs=[
                io.Combo.Input(
                    "tokens",
                    options=TOKEN_FILES.names(),
                    tooltip=f"A {SUFFIX} file in the input folder, or in the output folder (marked [output]).",
                )
            ],
            outputs=[types.Tokens.Output(display_name="tokens", tooltip="The tokens.")],
        )

    @classmethod
    def validate_inputs(cls, tokens: str = "") -> bool | str:
        """ComfyUI leaves `tokens` out when it comes through a link."""
        try:
            return bool(not tokens or TOKEN_FILES.path(tokens))
        except ValueError as error:
            return str(error)

    @classmethod
    def fingerprint_inputs(cls, tokens: str = "") -> float:
        return TOKEN_FILES.path(tokens).stat().st_mtime if tokens else 0.0

    @classmethod
    def execute(cls, tokens: str) -> io.NodeOutput:
        return io.NodeOutput(TokenTrack.load(TOKEN_FILES.path(tokens)))
