"""AVGen: autoregressive video diffusion for ComfyUI."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """Called by ComfyUI; the nodes are imported here, so that tests can collect this folder without a host."""
    from .nodes import AVGenExtension

    return AVGenExtension()
