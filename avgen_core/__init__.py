"""AVGen's engine: autoregressive video diffusion without ComfyUI. `python -m avgen_core --help` runs it."""
