"""The pack's own socket types; everything else travels on ComfyUI's native ones."""

from comfy_api.latest import io

Model = io.Custom("AVGEN_MODEL")
Prompts = io.Custom("AVGEN_PROMPTS")
Plan = io.Custom("AVGEN_PLAN")
Run = io.Custom("AVGEN_RUN")
Tokens = io.Custom("AVGEN_TOKENS")
